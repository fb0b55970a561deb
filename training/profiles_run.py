"""``tenfold profiles publish | run``: once the archiver has passed midnight, build the day's table and publish it.

What is killed on the way leaves the tables that were there, and the next attempt does all of it again.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import duckdb
import redis
from confluent_kafka import KafkaException

from models.context import ProfileDefinition
from stream.errors import TenfoldError
from stream.health import Health
from stream.profile_layout import ProfileKeys
from stream.redis_client import Client
from stream.settings import Settings
from training.archive import Archive
from training.profiles import Topics
from training.profiles_metrics import ProfileMetrics
from training.profiles_publish import Published, newest_published, publish
from training.profiles_table import Built, build_table, read_table
from training.profiles_wait import partitions_behind

log = logging.getLogger(__name__)

#: How often is looked whether a day has begun, and whether the archiver has passed its midnight.
LOOK_S = 15.0

_TURN_S = 1.0


class NotDueError(TenfoldError):
    """The day of the table has not begun yet."""


class Done(NamedTuple):
    """A table that was built and published."""

    built: Built
    published: Published


@dataclass(frozen=True)
class Publisher:
    """Builds tables and publishes them."""

    settings: Settings
    archive: Archive
    place: Archive  # root of the tables
    definition: ProfileDefinition
    client: Client
    clock: Callable[[], float] = time.time  # seconds since the epoch

    @property
    def keys(self) -> ProfileKeys:
        """The keys of the tables."""
        return ProfileKeys(self.settings.input_topic, self.definition, self.settings.pseudonyms)

    @property
    def today(self) -> date:
        """The day that it is in the definition's zone."""
        return datetime.fromtimestamp(self.clock(), ZoneInfo(self.definition.zone)).date()

    def begin(self, day: date) -> datetime:
        """Return the instant at which a day begins."""
        return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(self.definition.zone))

    def behind(self, day: date) -> list[str]:
        """Return the partitions that the archiver has not passed the day's midnight on.

        Raises:
            NotDueError: the day has not begun.
            stream.topics.TopicsError, KafkaException: Kafka does not answer.
        """
        if day > self.today:
            raise NotDueError(f"{day} has not begun in {self.definition.zone}: a table is of what was before its day")
        topics = [self.settings.input_topic, self.settings.labels_topic]
        return partitions_behind(self.settings, topics, int(self.begin(day).timestamp()) * 1000)

    def build(self, day: date) -> Built:
        """Build the table of a day out of what is archived.

        Raises:
            training.archive.NoArchiveError, training.archive.ArchiveError: there is no archive, or it cannot be read.
            training.profiles_table.ProfileTableError: the table cannot be written.
        """
        topics = Topics(self.settings.input_topic, self.settings.labels_topic)
        self.archive.require(topics)
        return build_table(self.archive, topics, self.definition, day, self.place)

    def publish(self, day: date) -> Done:
        """Build the table of a day, and publish it.

        Raises:
            training.archive.NoArchiveError, training.archive.ArchiveError, training.profiles_table.ProfileTableError:
                as :meth:`build` does.
            training.profiles_publish.PublishError: the table is too old.
            redis.RedisError: Redis does not do its part.
        """
        built = self.build(day)
        table = read_table(self.place, self.definition, day)
        return Done(built, publish(self.client, self.keys, table, datetime.fromtimestamp(self.clock(), UTC)))


def run(publisher: Publisher, every: timedelta, metrics: ProfileMetrics, health: Health, stop: threading.Event) -> None:
    """Publish a table whenever a day has begun, until ``stop`` is set; a table that fails is tried again.

    Args:
        publisher: what does it.
        every: from one table's day to the next one's, in whole days.
        metrics: what is counted.
        health: is told that this lives, and whether there is a table.
        stop: set to end; a table at hand is finished.
    """
    newest: date | None = None

    def age_s() -> float:
        return publisher.clock() - publisher.begin(newest).timestamp() if newest else math.nan

    metrics.age.set_function(age_s)
    with ThreadPoolExecutor(1, "profiles") as worker:
        while not stop.is_set():
            attempt = worker.submit(_attempt, publisher, every, metrics)
            while wait([attempt], _TURN_S).not_done:
                health.turn()
            newest = attempt.result() or newest
            health.why_not_ready = None if newest else "no table of profiles is published yet"
            look_again = time.monotonic() + LOOK_S
            while time.monotonic() < look_again and not stop.wait(_TURN_S):
                health.turn()
    health.why_not_ready = "stopping"


def _attempt(publisher: Publisher, every: timedelta, metrics: ProfileMetrics) -> date | None:
    """Publish today's table if it is due; return the day of the newest, ``None`` if that is not known."""
    begun = time.monotonic()
    try:
        newest, today = newest_published(publisher.client, publisher.keys), publisher.today
        if newest is not None and today < newest + every:
            return newest
        behind = publisher.behind(today)
        metrics.behind.set(len(behind))
        if behind:
            return newest
        built, published = publisher.publish(today)
    except (TenfoldError, KafkaException, redis.RedisError, duckdb.Error, OSError) as error:
        metrics.errors.inc()
        log.error("no table of profiles", extra={"error": str(error)})
        return None
    metrics.duration.set(time.monotonic() - begun)
    metrics.rows.labels("merchant").set(built.merchants)
    metrics.rows.labels("user").set(built.users)
    summary = built.summary
    metrics.unused_labels.set(summary.labels_of_unknown)
    metrics.label_delay.clear()  # a table without a label has no delay
    for quantile, seconds in (("0.5", summary.label_delay_median_s), ("0.95", summary.label_delay_p95_s)):
        if seconds is not None:
            metrics.label_delay.labels(quantile).set(seconds)
    log.info("table of profiles published", extra={**published._asdict(), **summary._asdict()})
    return today
