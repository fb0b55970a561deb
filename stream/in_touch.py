"""Who answers the scorer, Kafka and Redis; who does not is asked until it does, and complained of."""

import logging
import time
from collections.abc import Callable, Sequence

import redis
from confluent_kafka import Consumer, KafkaException

from stream.assignment import Assignment
from stream.clients import Contact
from stream.growth import note_partitions
from stream.lost_client import ASK_S, Watch
from stream.metrics import Metrics
from stream.outage import Outage
from stream.publisher import ProducerLostError
from stream.redis_client import refuses
from stream.topics import missing_topics

log = logging.getLogger(__name__)

_PROBE_S = 1.0
_COMPLAIN_EVERY_S = 30.0


class InTouch:
    """Whether Kafka and Redis answer and there is a producer, and what nothing gets through without."""

    def __init__(
        self,
        topics: Sequence[str],  # that nothing gets through without; the first is the input
        consumer: Consumer,
        contact: Contact,
        assignment: Assignment,
        open_producer: Callable[[], None],
        ping_redis: Callable[[], object],
        metrics: Metrics,
        outage: Outage,
        watch: Watch,
    ) -> None:
        self._topics, self._consumer, self._contact, self._assignment = topics, consumer, contact, assignment
        self._open_producer, self._ping_redis = open_producer, ping_redis
        self._metrics, self._outage, self._watch = metrics, outage, watch
        self._away: str | None = None  # who does not answer
        self._refused = False  # it does, with a no
        self._missing: list[str] = []  # of the topics, looked for while nothing gets through or there is no input
        self._partition_count, self._count_again = 0, True
        self._next_probe = self._next_complaint = 0.0

    @property
    def partition_count(self) -> int:
        """Partitions of the input topic, 0 while nobody has said."""
        return self._partition_count

    @property
    def kafka_is_away(self) -> bool:
        """Whether Kafka did not answer when it was asked last."""
        return self._away == "Kafka"

    @property
    def why_not(self) -> str | None:
        """Who does not answer, or what is missing; ``None`` where nothing is."""
        if self._away is not None:
            return f"{self._away} {'refuses this client' if self._refused else 'does not answer'}"
        if self._missing:
            return f"no topic {', '.join(self._missing)}: create with `tenfold topics create`"
        return None

    def count_again(self) -> None:
        """Say that the input topic may have other partitions by now."""
        self._count_again = True

    def ask_at_once(self) -> None:
        """Say that an answer is not to be relied on: there may be no producer any more."""
        self._next_probe = 0.0

    def look(self) -> bool:
        """Return whether Kafka and Redis answer and there is a producer; see to it that they come back.

        Raises:
            stream.outage.OutageError: one of them was away for longer than the settings allow.
            stream.lost_client.ClientLostError: Kafka answers, but not this consumer.
        """
        now = time.monotonic()
        if now < self._next_probe:
            return self._away is None
        self._next_probe = now + _PROBE_S
        try:
            self._ask(now)
        except (KafkaException, ProducerLostError, redis.RedisError) as error:
            self._complain("Redis" if isinstance(error, redis.RedisError) else "Kafka", error, now)
            self._outage.failed(error)
            if self.kafka_is_away:
                self._watch.unanswered()
        else:
            if self._away is not None:
                log.info("answers again", extra={"from": self._away})
            self._away = None
            self._watch.answered()
        self._tell()
        return self._away is None

    def _ask(self, now: float) -> None:
        # while nothing is scored, too: a consumer without brokers waits for its group, and reports no error
        if self._contact.lost or self._count_again or not self._partition_count or not self._assignment.ready:
            topic, before = self._topics[0], self._partition_count
            count = len(self._watch.ask(topic).topics[topic].partitions)
            self._partition_count = note_partitions(topic, before, count, self._metrics)
            self._contact.lost = self._count_again = False
        wanting = self._assignment.held_up or not self._partition_count
        self._say_what_is_missing(missing_topics(self._consumer, self._topics, ASK_S) if wanting else [], now)
        self._open_producer()
        self._ping_redis()

    def _complain(self, away: str, error: Exception, now: float) -> None:
        if away != self._away or now >= self._next_complaint:
            limit = {"gives_up_after_s": self._outage.limit_s}
            log.warning("no answer", extra={"from": away, "error": str(error), **limit})
            self._next_complaint = now + _COMPLAIN_EVERY_S
        self._away, self._refused = away, refuses(error)

    def _say_what_is_missing(self, missing: list[str], now: float) -> None:
        if missing and (missing != self._missing or now >= self._next_complaint):
            log.warning("no topic", extra={"missing": missing, "to_do": "create with `tenfold topics create`"})
            self._next_complaint = now + _COMPLAIN_EVERY_S
        self._missing = missing

    def _tell(self) -> None:
        up = self._metrics.dependency_up
        up.labels("kafka").set(not self.kafka_is_away)
        if not self.kafka_is_away:  # else Redis was not asked
            up.labels("redis").set(self._away != "Redis" and not isinstance(self._assignment.trouble, redis.RedisError))
