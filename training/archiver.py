"""The archiver's loop: read, keep until there is a file worth writing, write it, commit.

Offsets are committed once the files that hold them are in place. Whoever is killed in between leaves files whose
records are archived again, under the same or overlapping names, and readers drop what they have seen. Whatever
surprises, what is in memory is dropped, and read again from the committed offset.
"""

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import pyarrow.compute as pc
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream.clients import Contact
from stream.errors import TenfoldError
from stream.framing import Framing
from stream.health import Health
from stream.lost_client import Watch, closed_unless_lost
from stream.outage import Outage
from training.archive import Archive, ArchiveError, Kind
from training.archive_buffer import Buffer
from training.archive_kafka import Place, by_partition, commit, set_lag, take_up
from training.archive_metrics import ArchiveMetrics
from training.archive_writer import write_rows

log = logging.getLogger(__name__)

_CONSUME = 10_000  # librdkafka's most for a call
_POLL_S = 0.2
_RETRY_S = 2.0
_LAG_EVERY_S = 1.0
_FILES_IN_MEMORY = 4  # together the partitions hold at most about so many times the rows of a file


class ConsumerLostError(TenfoldError):
    """The consumer cannot go on; the message says why."""


class Limits(NamedTuple):
    """When a partition's records become files."""

    max_rows: int
    max_age_s: float  # since the first of them was read


class Archiver:
    """Archives the partitions that the group gives to this process until it is told to stop."""

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        framing: Framing,
        archive: Archive,
        limits: Limits,
        consumer: Consumer,
        contact: Contact,
        watch: Watch,
        topic_id: Callable[[str], str],
        metrics: ArchiveMetrics,
        health: Health,
        outage: Outage,
        clock: Callable[[], float],
        stop: threading.Event,
    ) -> None:
        self._kinds, self._framing, self._archive, self._limits = kinds, framing, archive, limits
        self._consumer, self._contact, self._watch, self._topic_id = consumer, contact, watch, topic_id
        self._metrics, self._health, self._outage = metrics, health, outage
        self._clock, self._stop = clock, stop
        self._given: list[Place] | None = None  # by the group; None while it has not said
        self._buffers: dict[Place, Buffer] = {}  # of what is given, once it is taken up
        self._paused = False  # reading, while what is in memory cannot be written
        self._replaced = False  # by another archiver, and whatever its consumer calls is of no interest any more
        self._retry_at = self._probe_at = self._next_lag_look = float("-inf")

    def run(self) -> None:
        """Run until the stop event is set, then write what is in memory and leave the group.

        Raises:
            stream.outage.OutageError: Kafka or the archive was away for longer than the settings allow.
            stream.lost_client.ClientLostError: run another archiver, with new clients.
            ConsumerLostError: the consumer had a fatal error; another process has its instance id, for example.
        """
        topics = list(self._kinds)
        self._consumer.subscribe(topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
        with closed_unless_lost(self._consumer, self._give_up):
            while not self._stop.is_set():
                self._turn()
            self._health.why_not_ready = "stopping"
            self._write_or_drop()

    def _turn(self) -> None:
        self._health.turn()
        self._see_whether_kafka_answers()
        if self._given and not self._buffers and self._clock() >= self._retry_at:
            self._take_up(self._given)
        self._add(self._consumer.consume(_CONSUME, _POLL_S))
        if not self._paused or self._clock() >= self._retry_at:
            self._write(self._due())
        self._say_how_it_stands()

    def _add(self, messages: Sequence[Message]) -> None:
        found, problems = by_partition(messages, self._buffers, self._framing)
        now = self._clock()
        for place, records in found.items():
            topic, partition = place
            for reason, count in self._buffers[place].add(records, now).items():
                self._metrics.refused.labels(topic, reason).inc(count)
                said = {"topic": topic, "partition": partition, "reason": reason, "records": count}
                log.warning("malformed records are not archived", extra=said)
        for problem, message in problems:
            said = {"error": problem.str(), "topic": message.topic(), "partition": message.partition()}
            log.warning("the consumer reports a problem", extra=said)
            if problem.fatal() or problem.code() in {KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID}:
                raise ConsumerLostError(f"the archiver's consumer cannot go on: {problem.str()}")
            if problem.code() == KafkaError._AUTO_OFFSET_RESET:
                self._start_over()

    # --- writing

    def _due(self) -> set[Place]:
        """Return the partitions whose records are enough for a file, or old enough, or too many to keep."""
        now, (max_rows, max_age_s) = self._clock(), self._limits
        due = {
            place
            for place, buffer in self._buffers.items()
            if buffer.rows >= max_rows or (buffer.since is not None and now - buffer.since >= max_age_s)
        }
        if sum(buffer.rows for buffer in self._buffers.values()) >= _FILES_IN_MEMORY * max_rows:
            due.add(max(self._buffers, key=lambda place: self._buffers[place].rows))
        return due

    def _write(self, due: Collection[Place]) -> None:
        """Write what is in memory of partitions and commit it. What cannot be written now is tried again."""
        if not due:
            return
        try:
            for topic in sorted({topic for topic, _ in due}):
                now_id = self._topic_id(topic)
                if any(buffer.topic_id != now_id for place, buffer in self._buffers.items() if place[0] == topic):
                    log.warning("the topic was deleted and made again", extra={"topic": topic})
                    self._start_over()
                    return
            self._write_and_commit(due)
        except (ArchiveError, KafkaException) as error:
            self._failed("files cannot be written or committed", error)
            self._consumer.pause(self._consumer.assignment())
            self._paused = True
            return
        self._outage.over()
        if self._paused:
            self._consumer.resume(self._consumer.assignment())
            self._paused = False

    def _write_and_commit(self, due: Collection[Place]) -> None:
        for place in sorted(due):
            topic, _ = place
            for name, rows in self._buffers[place].files():
                written = write_rows(self._archive, name, rows)
                if written.size:
                    self._metrics.files.labels(topic).inc()
                    self._metrics.bytes.labels(topic).inc(written.size)
                    self._metrics.rows.labels(topic).inc(len(rows))
                    if self._kinds[topic] is Kind.LABELS:
                        frauds = pc.sum(rows["is_fraud"]).as_py()
                        self._metrics.labels.labels("true").inc(frauds)
                        self._metrics.labels.labels("false").inc(len(rows) - frauds)
                log.info("archived", extra={"file": written.name.path, "rows": len(rows)})
        commit(self._consumer, [self._buffers[place] for place in due])

    def _write_or_drop(self) -> None:
        """Write what is in memory before the partitions are another's; if that fails, the other one reads it again."""
        due = [place for place, buffer in self._buffers.items() if buffer.since is not None]
        try:
            if due:
                self._write_and_commit(due)
        except (ArchiveError, KafkaException) as error:
            log.warning("records in memory are dropped, to be read again", extra={"error": str(error)})
        self._buffers = {}

    # --- partitions come and go

    def _take_up(self, given: Sequence[Place]) -> None:
        try:
            self._buffers = take_up(self._consumer, given, self._kinds, self._topic_id, self._metrics)
        except KafkaException as error:
            self._failed("partitions cannot be taken up", error)
        else:
            self._outage.over()

    def _start_over(self) -> None:
        """Drop what is in memory and take all partitions up again."""
        self._buffers, self._paused = {}, False
        self._consumer.assign([])

    def _assigned(self, _: Consumer, given: list[TopicPartition]) -> None:
        log.info("partitions assigned", extra={"partitions": _written(given)})
        self._start_over()  # nothing is fetched until it is known where to start
        self._given, self._retry_at = [(each.topic, each.partition) for each in given], float("-inf")
        self._metrics.partitions.set(len(given))

    def _revoked(self, _: Consumer, taken: list[TopicPartition]) -> None:
        log.info("partitions revoked", extra={"partitions": _written(taken)})
        self._write_or_drop()
        self._let_go()

    def _lost(self, _: Consumer, taken: list[TopicPartition]) -> None:
        said = {"partitions": _written(taken)}
        log.warning("partitions lost: the group has gone on without this process", extra=said)
        self._let_go()

    def _give_up(self) -> None:
        self._let_go()  # what is in memory is read again
        self._replaced = True

    def _let_go(self) -> None:
        if self._replaced:
            return
        self._buffers, self._given = {}, None
        self._metrics.partitions.set(0)
        self._metrics.lag.clear()

    # --- what fails, and what the outside is told

    def _failed(self, what: str, error: Exception) -> None:
        log.warning(what, extra={"error": str(error)})
        self._retry_at = self._clock() + _RETRY_S
        self._outage.failed(error)

    def _see_whether_kafka_answers(self) -> None:
        # while nothing is read, too: a consumer without brokers waits for its group, and reports no error
        reads = self._buffers and not self._paused and not self._contact.lost
        if reads or self._clock() < self._probe_at:
            return
        self._probe_at = self._clock() + _RETRY_S
        try:
            self._watch.ask(next(iter(self._kinds)))
        except KafkaException as error:
            self._contact.lost = True
            self._failed("Kafka does not answer", error)
            self._watch.unanswered()
            return
        self._watch.answered()
        if self._contact.lost:
            self._contact.lost = False
            self._outage.over()

    def _say_how_it_stands(self) -> None:
        self._health.why_not_ready = self._why_not_ready()
        self._metrics.waiting_rows.set(sum(buffer.rows for buffer in self._buffers.values()))
        if self._clock() >= self._next_lag_look:
            self._next_lag_look = self._clock() + _LAG_EVERY_S
            set_lag(self._consumer, self._buffers, self._metrics)

    def _why_not_ready(self) -> str | None:
        if self._contact.lost:
            return "Kafka does not answer"
        if self._given is None:
            return "waiting for the group to assign partitions"
        if self._given and not self._buffers:
            return "partitions are being taken up"
        return "files cannot be written or committed" if self._paused else None


def _written(places: Sequence[TopicPartition]) -> list[str]:
    return [f"{place.topic}/{place.partition}" for place in places]
