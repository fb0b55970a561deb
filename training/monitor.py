"""The monitor's loop: read scores, payments and labels into the state, and publish what can be judged.

Where a partition is read from is in the state, beside its records, so nothing is taken twice. Whatever surprises, the
partitions are taken up again from there.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import redis
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream.clients import Contact
from stream.errors import TenfoldError
from stream.framing import Framing
from stream.health import Health
from stream.lost_client import Watch, closed_unless_lost
from stream.outage import Outage
from stream.pseudonyms import Pseudonyms
from training.archive import ArchiveError, Kind
from training.archive_kafka import Place, where_to_start
from training.archive_records import Records
from training.monitor_kafka import Logs
from training.monitor_metrics import MonitorMetrics
from training.monitor_publish import Publisher
from training.monitor_records import keep
from training.monitor_state import Append, Mark, State

log = logging.getLogger(__name__)

_CONSUME = 10_000  # librdkafka's most for a call
_POLL_S = 0.2
_RETRY_S = 2.0
_LOOK_EVERY_S = 5.0  # for days that can be judged
_PUBLISH_S = 1.0  # then reading goes on, also when a whole past is to be judged


class MonitorLostError(TenfoldError):
    """The consumer cannot go on; the message says why."""


@dataclass
class Taken:
    """A partition that is being read."""

    kind: Kind
    topic_id: str
    position: int  # the next offset to be read
    newest_ms: int  # Kafka timestamp of what was read
    mark: Mark | None  # what the state has
    records: Records  # read since

    @property
    def next_mark(self) -> Mark:
        """What the state has once the records are in it."""
        return Mark(self.topic_id, self.position, self.newest_ms)


class Monitor:
    """Reads the partitions that the group gives to this process until it is told to stop."""

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        framing: Framing,
        state: State,
        publisher: Callable[[Mapping[Kind, Sequence[Place]]], Publisher],
        consumer: Consumer,
        contact: Contact,
        watch: Watch,
        logs: Logs,
        metrics: MonitorMetrics,
        health: Health,
        outage: Outage,
        clock: Callable[[], float],
        stop: threading.Event,
        pseudonyms: Pseudonyms,
    ) -> None:
        self._kinds, self._framing, self._state, self._publisher = kinds, framing, state, publisher
        self._consumer, self._contact, self._watch, self._logs = consumer, contact, watch, logs
        self._metrics, self._health, self._outage = metrics, health, outage
        self._clock, self._stop, self._pseudonyms = clock, stop, pseudonyms
        self._given: list[Place] | None = None  # by the group; None while it has not said
        self._taken: dict[Place, Taken] = {}  # of what is given, once it is taken up
        self._replaced = False  # by another monitor, and whatever its consumer calls is of no interest any more
        self._retry_at = self._look_at = self._probe_at = float("-inf")
        [scores] = (topic for topic, kind in kinds.items() if kind is Kind.SCORES)
        self._publishes_with: Place = (scores, 0)  # whoever owns this one publishes

    def run(self) -> None:
        """Run until the stop event is set, then leave the group.

        Raises:
            stream.outage.OutageError: Kafka, Redis or the table's place was away for longer than the settings allow.
            stream.lost_client.ClientLostError: run another monitor, with new clients.
            MonitorLostError: the consumer had a fatal error; another process has its instance id, for example.
        """
        topics = list(self._kinds)
        self._consumer.subscribe(topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)
        with closed_unless_lost(self._consumer, self._give_up):
            while not self._stop.is_set():
                self._turn()
            self._health.why_not_ready = "stopping"

    def _turn(self) -> None:
        self._health.turn()
        try:
            self._see_whether_kafka_answers()
            if self._given and not self._taken and self._clock() >= self._retry_at:
                self._take_up(self._given)
            self._add(self._consumer.consume(_CONSUME, _POLL_S))
            self._save()
            if self._publishes_with in self._taken and self._clock() >= self._look_at:
                self._publish()
        except (KafkaException, redis.RedisError) as error:
            self._failed(error)
            self._start_over()
        except ArchiveError as error:
            self._failed(error)
            self._look_at = self._retry_at
        self._say_how_it_stands()

    # --- reading

    def _add(self, messages: Sequence[Message]) -> None:
        for message in messages:
            problem, topic, partition, offset = message.error(), message.topic(), message.partition(), message.offset()
            if problem is not None and problem.code() != KafkaError._PARTITION_EOF:
                self._see_to(problem, message)
                continue
            if topic is None or partition is None or offset is None:
                continue
            taken = self._taken.get((topic, partition))
            if taken is None or offset < taken.position:
                continue  # fetched before the partition was taken up here
            if problem is not None:
                taken.position = offset  # behind the markers of transactions, which are no records
                continue
            at_ms = message.timestamp()[1]
            taken.position, taken.newest_ms = offset + 1, max(taken.newest_ms, at_ms)
            taken.records.offsets.append(offset)
            taken.records.timestamps_ms.append(at_ms)
            taken.records.keys.append(message.key())
            taken.records.values.append(message.value())
            taken.records.headers.append({})

    def _see_to(self, problem: KafkaError, message: Message) -> None:
        said = {"error": problem.str(), "topic": message.topic(), "partition": message.partition()}
        log.warning("the consumer reports a problem", extra=said)
        if problem.fatal() or problem.code() in {KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID}:
            raise MonitorLostError(f"the monitor's consumer cannot go on: {problem.str()}")
        if problem.code() == KafkaError._AUTO_OFFSET_RESET:
            self._start_over()

    def _save(self) -> None:
        """Put what was read into the state; partitions that another process has moved are taken up again."""
        moving = {place: taken for place, taken in self._taken.items() if taken.mark != taken.next_mark}
        if not moving:
            return
        requests = []
        for place, taken in moving.items():
            kept = keep(taken.kind, taken.records, self._pseudonyms)
            for reason, count in kept.refused.items():
                self._metrics.refused.labels(place[0], reason).inc(count)
            requests.append(Append(place, taken.mark, taken.next_mark, kept.by_day))
        moved = self._state.append(requests)
        self._outage.over()
        if not all(moved):
            log.warning("the state was moved by another process")
            self._start_over()
            return
        for (topic, _), taken in moving.items():
            self._metrics.records.labels(topic).inc(len(taken.records))
            taken.mark, taken.records = taken.next_mark, Records(framing=self._framing)
        # for those who look at the group; the state's own marks say where to go on
        self._consumer.commit(
            offsets=[TopicPartition(*place, taken.position) for place, taken in moving.items()], asynchronous=True
        )

    # --- publishing

    def _publish(self) -> None:
        places = {kind: self._logs.partitions(topic) for topic, kind in self._kinds.items()}
        passed_ms = self._passed_ms([place for its in places.values() for place in its])
        if passed_ms is None:
            return
        publisher, begun = self._publisher(places), self._clock()
        while more := publisher.publish_next(passed_ms):
            if self._clock() - begun > _PUBLISH_S:
                break
        self._look_at = self._clock() + (0.0 if more else _LOOK_EVERY_S)
        self._outage.over()

    def _passed_ms(self, places: Sequence[Place]) -> int | None:
        """Return an instant of Kafka's timestamps before which all records are in the state, if there is one.

        A partition has passed what its newest record has, and everything where its log has ended. The newest of all
        says what instant it is.
        """
        marks = [mark for mark in self._state.marks(places) if mark is not None]
        if len(marks) < len(places):
            return None
        ends = self._logs.ends(places)
        waiting = [mark.newest_ms for mark, end in zip(marks, ends, strict=True) if mark.offset < end]
        return min([max(mark.newest_ms for mark in marks), *waiting])

    # --- partitions come and go

    def _take_up(self, given: Sequence[Place]) -> None:
        """Find out where partitions are to be read from, and have them read."""
        ids = {topic: self._logs.topic_id(topic) for topic in sorted({topic for topic, _ in given})}
        lows, highs, taken = self._logs.first_offsets(given), self._logs.ends(given), {}
        for place, mark, low, high in zip(given, self._state.marks(given), lows, highs, strict=True):
            topic, partition = place
            offset, topic_id = (-1, "") if mark is None else (mark.offset, mark.topic_id)
            start = where_to_start(offset, topic_id, ids[topic], low, high)
            said = {"topic": topic, "partition": partition, "offset": start.offset}
            if start.lost:
                self._metrics.lost.labels(topic).inc(start.lost)
                log.error("records were lost", extra={**said, "records": start.lost})
            else:
                log.info("reading", extra=said)
            newest_ms = mark.newest_ms if mark is not None and mark.topic_id == ids[topic] else 0
            taken[place] = Taken(
                self._kinds[topic], ids[topic], start.offset, newest_ms, mark, Records(framing=self._framing)
            )
        positions = [TopicPartition(*place, its.position) for place, its in taken.items()]
        self._consumer.assign(positions)
        self._taken = taken
        self._outage.over()

    def _start_over(self) -> None:
        """Drop what is in memory and take all partitions up again."""
        self._taken = {}
        if self._given is not None:
            self._consumer.assign([])

    def _assigned(self, _: Consumer, given: list[TopicPartition]) -> None:
        log.info("partitions assigned", extra={"partitions": _written(given)})
        self._given, self._retry_at = [(each.topic, each.partition) for each in given], float("-inf")
        self._start_over()  # nothing is fetched until it is known where to start
        self._metrics.partitions.set(len(given))

    def _revoked(self, _: Consumer, taken: list[TopicPartition]) -> None:
        log.info("partitions revoked", extra={"partitions": _written(taken)})
        self._let_go()

    def _give_up(self) -> None:
        self._let_go()  # what is in memory is read again
        self._replaced = True

    def _let_go(self) -> None:
        if self._replaced:
            return
        self._taken, self._given = {}, None
        self._metrics.partitions.set(0)
        self._metrics.lag.clear()
        self._metrics.hide()

    # --- what fails, and what the outside is told

    def _failed(self, error: Exception) -> None:
        log.warning("not now", extra={"error": str(error)})
        self._retry_at = self._clock() + _RETRY_S
        self._outage.failed(error)

    def _see_whether_kafka_answers(self) -> None:
        # while nothing is read, too: a consumer without brokers waits for its group, and reports no error
        if (self._taken and not self._contact.lost) or self._clock() < self._probe_at:
            return
        self._probe_at = self._clock() + _RETRY_S
        try:
            self._watch.ask(self._publishes_with[0])
        except KafkaException:
            self._contact.lost = True
            self._watch.unanswered()
            raise
        self._watch.answered()
        self._contact.lost = False

    def _say_how_it_stands(self) -> None:
        self._health.why_not_ready = self._why_not_ready()
        self._metrics.publishing.set(self._publishes_with in self._taken)
        for (topic, partition), taken in self._taken.items():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
            self._metrics.lag.labels(topic, partition).set(max(high - taken.position, 0))

    def _why_not_ready(self) -> str | None:
        if self._contact.lost:
            return "Kafka does not answer"
        if self._given is None:
            return "waiting for the group to assign partitions"
        if self._given and not self._taken:
            return "partitions are being taken up"
        return None


def _written(places: Sequence[TopicPartition]) -> list[str]:
    return [f"{place.topic}/{place.partition}" for place in places]
