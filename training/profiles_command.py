"""``tenfold profiles``: from settings and options to what builds and publishes."""

import logging
import re
import sys
import threading
from contextlib import closing
from datetime import date, timedelta

import redis
from confluent_kafka import KafkaException
from prometheus_client import CollectorRegistry
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from pydantic import ValidationError

from models.bundle import SPEC, BundleError, resolve_model
from models.context import ProfileDefinition
from models.spec import BundleSpec
from stream import health, logs
from stream.errors import TenfoldError, UsageError
from stream.plurals import count_of
from stream.redis_client import connect
from stream.settings import Settings
from training.archive import open_archive
from training.archive_command import url_of
from training.profiles_metrics import ProfileMetrics
from training.profiles_run import LOOK_S, Done, Publisher, run
from training.profiles_table import Built, tables_beside

log = logging.getLogger(__name__)


class ProfileError(TenfoldError):
    """Profiles cannot be published now; the message says why and what to do."""


def definition_in_force(settings: Settings) -> ProfileDefinition:
    """Return the definition that the bundle in force was trained with.

    Raises:
        ProfileError: there is no bundle, or it does not say.
    """
    try:
        directory = resolve_model(settings.model, settings.model_store)
        spec = BundleSpec.model_validate_json((directory / SPEC).read_bytes())
    except (BundleError, OSError, ValidationError) as error:
        raise ProfileError(f"the model does not say what profiles it needs ({error}): see TENFOLD_MODEL") from None
    return ProfileDefinition(spec.zone, spec.label_delay_days)


def open_publisher(settings: Settings, archive: str | None, to: str | None) -> Publisher:
    """Return a publisher of the tables that the bundle in force needs.

    Args:
        settings: of Kafka, Redis, the model.
        archive: directory or URL of the archive; the settings' by default.
        to: directory or URL of the tables' files; ``profiles`` beside the archive by default.

    Raises:
        ProfileError: the model does not say what it needs.
        training.archive.ArchiveError: there is no place of that URL.
    """
    source = open_archive(url_of(archive, settings), settings.pseudonyms)
    place = open_archive(to, settings.pseudonyms) if to else tables_beside(source)
    return Publisher(settings, source, place, definition_in_force(settings), connect(settings))


def wait_and_publish(publisher: Publisher, day: date, stop: threading.Event, *, force: bool) -> Done | None:
    """Publish a table once the archiver has passed its day's midnight, or at once; ``None`` if ``stop`` was set before.

    Raises:
        ProfileError: Kafka or Redis does not answer.
        TenfoldError: the day has not begun, the archive cannot be read, or the table cannot be written.
    """
    told: list[str] = []
    try:
        while not force and (behind := publisher.behind(day)):
            if behind != told:
                print(f"waiting for the archiver on {', '.join(behind)}", file=sys.stderr, flush=True)
                told = behind
            if stop.wait(LOOK_S):
                return None
        return publisher.publish(day)
    except KafkaException as error:
        raise ProfileError(f"Kafka does not say where the archiver stands ({error.args[0].str()}): try again") from None
    except redis.RedisError as error:
        raise ProfileError(f"Redis does not take the table ({error}): publish again; see TENFOLD_REDIS_URL") from None


def built_lines(built: Built) -> list[str]:
    """Return what to tell of a table."""
    summary = built.summary
    merchants, users = count_of(built.merchants, "merchant"), count_of(built.users, "user")
    payments, labels = count_of(summary.transactions, "payment"), count_of(summary.labels, "label")
    lines = [
        f"profiles of {merchants} and {users} as of {built.day}: {built.url}",
        f"out of {payments} and {labels}, {count_of(summary.frauds, 'fraud')} known",
    ]
    unused = {
        ("payment", "under an id that was there before"): summary.repeated_transactions,
        ("label", "of unknown payments"): summary.labels_of_unknown,
        ("label", "contradicting one before, and counting instead"): summary.contradicting_labels,
        ("label", "repeating one before"): summary.repeated_labels,
    }
    lines += [f"{count_of(count, noun)} {which}" for (noun, which), count in unused.items() if count]
    if not summary.labels:
        lines.append("no label has landed: every fraud rate is 0 or as old as the last labels")
    return lines


def done_lines(done: Done) -> list[str]:
    """Return what to tell of a table that was published."""
    published = done.published
    held = f"Redis has {count_of(published.tables, 'table')}"
    what = "published" if published.written else "had been published already"
    return [*built_lines(done.built), f"{what} as version {published.version}; {held}"]


def built_as_dict(built: Built) -> dict[str, object]:
    """Return a table for JSON."""
    return {**built._asdict(), "day": built.day.isoformat(), "summary": built.summary._asdict()}


def done_as_dict(done: Done) -> dict[str, object]:
    """Return a published table for JSON."""
    return {**built_as_dict(done.built), "published": done.published._asdict()}


def days_of(text: str) -> timedelta:
    """Read ``24h`` or ``2d``: whole days.

    Raises:
        UsageError: it is nothing of the kind.
    """
    found = re.fullmatch(r"([1-9]\d{0,3})([hd])", text)
    every = timedelta(**{{"h": "hours", "d": "days"}[found[2]]: int(found[1])}) if found else timedelta()
    if not every or every.seconds:
        raise UsageError(f"--every {text!r} is not a number of whole days, such as 24h or 2d")
    return every


def serve(settings: Settings, publisher: Publisher, every: timedelta, stop: threading.Event) -> None:
    """Publish a table whenever a day has begun, until ``stop`` is set.

    Raises:
        stream.settings.SettingsError: the port of the metrics is taken.
    """
    logs.configure(settings.log_level, settings.log_format)
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    metrics = ProfileMetrics(registry)
    state = health.Health()
    with closing(publisher.client), health.serving(settings, registry, state):
        log.info(
            "profiles started", extra={"archive": publisher.archive.url(""), "definition": publisher.definition.name}
        )
        run(publisher, every, metrics, state, stop)
    log.info("profiles stopped")
