"""``tenfold archive``: put the archiver's parts together and run."""

import gc
import logging
import threading
import time
from datetime import date

from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from prometheus_client import CollectorRegistry
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from stream import health, logs
from stream.clients import Contact, common_config, consumer_config, open_client, open_in_contact
from stream.lost_client import Watch, kafka_answers, run_replacing
from stream.outage import Outage
from stream.progress import Counted, nobody
from stream.settings import Settings
from stream.topics import require_topics, topic_id
from training.archive import Archive, Kind, NoArchiveError, open_archive
from training.archive_metrics import ArchiveMetrics
from training.archiver import Archiver, Limits
from training.compact import Compacted, compact, remove_abandoned

log = logging.getLogger(__name__)

_TOPIC_ID_S = 5.0


def url_of(given: str | None, settings: Settings) -> str:
    """Return where the archive is: what was given, else what the settings say.

    Raises:
        NoArchiveError: neither says.
    """
    url = given or settings.archive
    if not url:
        raise NoArchiveError("which archive? Give --archive, or set TENFOLD_ARCHIVE")
    return url


def archive_of(given: str | None, settings: Settings) -> Archive:
    """Return the archive that a command reads or mends: what was given, else what the settings say.

    Raises:
        NoArchiveError: neither says, or there is none.
        ArchiveError: there is no place of that URL.
    """
    archive = open_archive(url_of(given, settings), settings.pseudonyms)
    archive.require(list(kinds_of(settings)))
    return archive


def kinds_of(settings: Settings) -> dict[str, Kind]:
    """Return the topics that are archived, and what each holds."""
    return {
        settings.input_topic: Kind.TRANSACTIONS,
        settings.labels_topic: Kind.LABELS,
        settings.output_topic: Kind.SCORES,
    }


def archiver_config(settings: Settings) -> dict[str, object]:
    """Return the configuration of the archiver's consumer: a group of its own beside the scorer's."""
    return {
        **consumer_config(settings),
        "group.id": settings.archive_group,
        # a rebalance waits so long for files that are being put
        "max.poll.interval.ms": int(settings.kafka.get("max.poll.interval.ms", 300_000)),
    }


def run(settings: Settings, url: str, limits: Limits, stop: threading.Event) -> None:
    """Archive transactions, labels and scores at ``url`` until ``stop`` is set.

    Raises:
        training.archive.ArchiveError: there is no such place.
        stream.topics.TopicsError: broker or topic is missing.
        stream.settings.SettingsError: a setting cannot be used.
        stream.outage.OutageError: Kafka or the archive went away and did not come back.
        training.archiver.ConsumerLostError: another process has this one's instance id.
    """
    logs.configure(settings.log_level, settings.log_format)
    archive = open_archive(url, settings.pseudonyms)
    kinds = kinds_of(settings)
    consumer, contact = open_in_contact(Consumer, archiver_config(settings))
    require_topics(consumer, settings, kinds)

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    metrics = ArchiveMetrics(registry)
    state = health.Health()
    metrics.ready.set_function(lambda: state.reason is None)
    outage = Outage(settings.outage_limit_s, time.monotonic)

    def archiver(consumer: Consumer, contact: Contact) -> Archiver:
        admin = open_client(AdminClient, common_config(settings))
        return Archiver(
            kinds,
            settings.input_framing,
            archive,
            limits,
            consumer,
            contact,
            Watch([admin, consumer], lambda: kafka_answers(settings)),
            lambda topic: topic_id(admin, topic, _TOPIC_ID_S),
            metrics,
            state,
            outage,
            time.monotonic,
            stop,
        )

    with health.serving(settings, registry, state):
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)  # decoding makes objects by the ten thousand, and lets go of them by itself
        log.info("archiver started", extra={"archive": archive.url(""), "group": settings.archive_group})
        run_replacing(
            archiver(consumer, contact), lambda: archiver(*open_in_contact(Consumer, archiver_config(settings)))
        )
    log.info("archiver stopped")


def compact_all(
    settings: Settings, archive: Archive, day: date | None, progress: Counted = nobody
) -> dict[str, Compacted]:
    """Merge the small files of each topic, of one UTC day or of all but the last; return what came of it by topic.

    ``progress`` counts the files that were looked at.

    Raises:
        ArchiveError: a file cannot be read, written or removed.
    """
    compacted = {}
    for topic, kind in kinds_of(settings).items():
        compacted[topic] = compact(archive, topic, kind, day, progress)
        remove_abandoned(archive, topic, time.time())
    return compacted
