"""``tenfold monitor``: put the monitor's parts together and run."""

import logging
import threading
import time
from collections.abc import Sequence

from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from prometheus_client import CollectorRegistry
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from stream import health, logs
from stream.clients import Contact, common_config, consumer_config, open_client, open_in_contact
from stream.errors import UsageError
from stream.lost_client import Watch, kafka_answers, run_replacing
from stream.outage import Outage
from stream.redis_client import connect
from stream.settings import Settings
from stream.topics import require_topics
from training.archive import Archive, open_archive
from training.archive_command import kinds_of, url_of
from training.monitor import Monitor
from training.monitor_kafka import Logs
from training.monitor_metrics import MonitorMetrics
from training.monitor_publish import Publisher, kept_days
from training.monitor_state import State

log = logging.getLogger(__name__)


def label_delays_of(text: str) -> list[int]:
    """Read ``1,3,7``: days, each once, in order.

    Raises:
        UsageError: it is nothing of the kind.
    """
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and 0 < int(part) <= 365 for part in parts):
        raise UsageError(f"--label-delays {text!r}: give days between 1 and 365, such as 1,3,7")
    return sorted({int(part) for part in parts})


def table_of(to: str | None, settings: Settings) -> Archive:
    """Return the place of the table: what was given, else ``quality`` beside the archive.

    Raises:
        training.archive.ArchiveError: there is no such place, or neither is given.
        UsageError: nothing is beside the archive.
    """
    if to:
        return open_archive(to)
    return open_archive(url_of(None, settings)).beside("quality")


def monitor_config(settings: Settings) -> dict[str, object]:
    """Return the configuration of the monitor's consumer: a group of its own beside the scorer's."""
    return {
        **consumer_config(settings),
        "group.id": settings.monitor_group,
        "enable.partition.eof": True,  # says where a log ends behind the markers of transactions
        # a rebalance waits so long for a day that is being judged
        "max.poll.interval.ms": int(settings.kafka.get("max.poll.interval.ms", 300_000)),
    }


def run(settings: Settings, table: Archive, label_delays: Sequence[int], stop: threading.Event) -> None:
    """Watch how good the scores are until ``stop`` is set.

    Args:
        settings: of Kafka and Redis.
        table: where the daily table goes.
        label_delays: after how many days the labels are looked at.
        stop: ends it.

    Raises:
        stream.topics.TopicsError: broker or topic is missing.
        stream.settings.SettingsError: a setting cannot be used.
        stream.outage.OutageError: Kafka, Redis or the table's place went away and did not come back.
        training.monitor.MonitorLostError: another process has this one's instance id.
    """
    logs.configure(settings.log_level, settings.log_format)
    kinds = kinds_of(settings)
    consumer, contact = open_in_contact(Consumer, monitor_config(settings))
    require_topics(consumer, settings, kinds)

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    metrics = MonitorMetrics(registry)
    vital = health.Health()
    metrics.ready.set_function(lambda: vital.reason is None)
    with connect(settings) as client:
        state = State(client, settings.group_id, kept_days(label_delays))
        outage = Outage(settings.outage_limit_s, time.monotonic)

        def monitor(consumer: Consumer, contact: Contact) -> Monitor:
            admin = open_client(AdminClient, common_config(settings))
            return Monitor(
                kinds,
                settings.input_framing,
                state,
                lambda places: Publisher(state, places, label_delays, table, metrics),
                consumer,
                contact,
                Watch([admin, consumer], lambda: kafka_answers(settings)),
                Logs(admin),
                metrics,
                vital,
                outage,
                time.monotonic,
                stop,
                settings.pseudonyms,
            )

        with health.serving(settings, registry, vital):
            log.info("monitor started", extra={"table": table.url(""), "group": settings.monitor_group})
            run_replacing(
                monitor(consumer, contact), lambda: monitor(*open_in_contact(Consumer, monitor_config(settings)))
            )
    log.info("monitor stopped")
