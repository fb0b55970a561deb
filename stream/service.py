"""The scorer's loop: fetch, score, publish, save; and what to do when any of it fails.

Micro-batches are scored, published and saved beside the loop while it reads the next one (:mod:`stream.pipeline`).
Whatever surprises, the way is the same: what is under way is settled, batches that were not published are dropped, and
each of their partitions that is still owned is taken up again where the table of recovery says
(:mod:`stream.assignment`, :mod:`stream.recovery`).
"""

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress

import numpy as np
import redis
from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream.assignment import Assignment
from stream.errors import TenfoldError
from stream.health import Health
from stream.in_touch import InTouch
from stream.lost_client import ClientLostError, leave_behind
from stream.metrics import Metrics
from stream.microbatch import MicroBatch, Prepared, prepare
from stream.outage import Outage, OutageError
from stream.partitioner import partitions_of
from stream.pipeline import FencedError, Pipeline
from stream.pseudonyms import Pseudonyms
from stream.settings import Settings
from stream.window_store import Mark

log = logging.getLogger(__name__)

_POLL_S = 0.1
_LAG_EVERY_S = 1.0
_ENDS_S = 0.2  # partitions that are being taken up wait as long

#: Batches under way while the next one is fetched, when there is much to do: one is scored, the other published.
#: When there is little, one at a time is soonest done: its records do not wait for another batch's commit.
_ROOM = 2


class Service:
    """Scores the partitions that the group gives to this process until it is told to stop."""

    def __init__(
        self,
        settings: Settings,
        consumer: Consumer,
        assignment: Assignment,
        pipeline: Pipeline,
        pseudonyms: Pseudonyms,
        in_touch: InTouch,
        metrics: Metrics,
        health: Health,
        outage: Outage,
        stop: threading.Event,
    ) -> None:
        self._settings, self._consumer, self._assignment = settings, consumer, assignment
        self._pipeline, self._pseudonyms, self._in_touch = pipeline, pseudonyms, in_touch
        self._metrics, self._health, self._outage, self._stop = metrics, health, outage, stop
        self._reached: dict[int, int] = {}  # by partition: offset up to which nothing is left to score
        self._newest_ms: dict[int, int] = {}  # by partition: Kafka timestamp of the last record taken
        self._replaced = False  # by another service, and whatever its consumer calls is of no interest any more
        self._room = 0  # batches that may be under way while the next one is fetched
        self._next_lag_look = 0.0

    def run(self) -> None:
        """Run until the stop event is set, then finish what is under way and leave the group.

        Raises:
            stream.outage.OutageError: Kafka or Redis was away for longer than the settings allow.
            stream.lost_client.ClientLostError: run another service, with a new consumer.
            stream.pipeline.FencedError: another process has this one's instance id.
            stream.microbatch.ModelFailedError: the model scores nothing any more.
        """
        self._consumer.subscribe(
            [self._settings.input_topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )
        with ExitStack() as closing:
            closing.callback(self._pipeline.close)
            closing.callback(self._assignment.close)
            closing.callback(self._consumer.close)  # leaves the group, unless it is a static member
            closing.callback(self._assignment.let_go)
            try:
                while not self._stop.is_set():
                    self._turn()
                self._health.why_not_ready = "stopping"
                self._settle()
            except TenfoldError:  # this is the end; nobody is to be patient with Kafka any longer
                self._stop.set()
                raise
            except ClientLostError:
                closing.pop_all()
                self._replaced = True
                leave_behind(self._consumer)
                self._assignment.let_go()
                self._assignment.close()
                self._pipeline.close()
                raise

    def _turn(self) -> None:
        self._health.turn()
        in_touch = self._in_touch.look()
        self._say_whether_ready()
        if self._health.why_not_ready is None:
            self._outage.over()  # a batch may be long in coming; but where one waits, no answer is proof
        if not in_touch:
            self._settle()  # first, or its offsets might be committed behind the back of those who look for them
            self._assignment.take_up_again(self._assignment.ready)
            self._look_at_lag()
            self._fetch()  # nothing but the group's callbacks: all is paused
            return
        self._assignment.go_on()
        all_through = self._settle(self._room)
        self._look_at_lag()
        if not all_through:
            return
        batch = self._fetch()
        if batch is None:
            return
        prepared = prepare(batch, self._metrics.timer, self._pseudonyms)
        if self._pipeline.grounded or not self._still_starts(batch):  # something has happened while it was fetched
            self._drop(batch)
            return
        ends = batch.ends
        self._assignment.move(ends)
        self._reached.update({partition: end.offset for partition, end in ends.items()})
        self._newest_ms.update(zip(batch.partitions, batch.timestamps_ms, strict=True))
        self._pipeline.submit(prepared)
        self._count_misplaced(prepared)  # beside the batch: nobody waits for it
        self._room = _ROOM if 4 * len(batch) > self._settings.batch_size else 0

    def _still_starts(self, batch: MicroBatch) -> bool:
        """Return whether every partition of a batch still is where the batch starts."""
        return all(self._assignment.mark(partition) == start for partition, start in batch.starts.items())

    # --- fetch

    def _fetch(self) -> MicroBatch | None:
        """Return what the consumer has, at most a batch; wait for the first record only."""
        more = self._settings.batch_size - 1
        try:
            first = self._consumer.poll(_POLL_S)
            if first is None:
                return None
            messages = [first, *(self._consumer.consume(more, 0) if more else [])]
        except KafkaException as error:  # out of a callback: the group will call it again
            self._refuse_fatal(error.args[0])
            self._settle()
            self._assignment.take_up_again(self._assignment.ready, error)  # of which records may be lost with it
            return None
        # taken right after the fetch: at commit time it would open the fence for partitions that have moved on
        group = self._consumer.consumer_group_metadata()
        return self._batch_of(messages, group)

    def _batch_of(self, messages: Sequence[Message], group: object) -> MicroBatch | None:
        ready = self._assignment.ready
        starts: dict[int, Mark] = {}
        settings = self._settings
        batch = MicroBatch(settings.input_topic, [], [], [], [], [], starts, group, settings.input_framing)
        for message in messages:
            partition, offset, problem = message.partition(), message.offset(), message.error()
            if problem is not None:
                self._on_consumer_error(problem, partition)
            elif partition is None or offset is None or partition not in ready:
                continue  # not ours, or not yet: it is read again once the partition is taken up
            elif offset >= ready[partition].offset:  # else it was fetched before the partition was taken up here
                starts[partition] = ready[partition]
                batch.partitions.append(partition)
                batch.offsets.append(offset)
                batch.timestamps_ms.append(message.timestamp()[1])
                batch.keys.append(message.key())
                batch.values.append(message.value())
        return batch if starts else None

    def _on_consumer_error(self, problem: KafkaError, partition: int | None) -> None:
        self._refuse_fatal(problem)
        if partition is None:
            log.warning("the consumer reports a problem", extra={"error": problem.str()})
        elif self._assignment.mark(partition) is not None:
            self._settle()
            self._assignment.take_up_again([partition], KafkaException(problem), unread=True)

    def _refuse_fatal(self, problem: KafkaError) -> None:
        # of a fatal error that comes as a record, librdkafka leaves nothing but the text
        if problem.code() == KafkaError.FENCED_INSTANCE_ID or "Static consumer fenced" in problem.str():
            raise FencedError(
                f"another process runs as {self._settings.instance_id}: give each its own TENFOLD_INSTANCE_ID"
            )
        if problem.fatal() or problem.code() == KafkaError._FATAL:
            raise OutageError(f"the consumer cannot go on: {problem.str()}")

    def _count_misplaced(self, prepared: Prepared) -> None:
        if self._settings.partitioner == "any" or not self._in_touch.partition_count:
            return
        decoded = prepared.decoded
        expected = partitions_of(decoded.users, self._in_touch.partition_count, self._settings.partitioner)
        found = np.array(prepared.batch.partitions, np.int64)[decoded.rows]
        self._metrics.misplaced.inc(int((expected != found).sum()))

    # --- what did not get through

    def _settle(self, room: int = 0) -> bool:
        """Wait until no more than ``room`` batches are under way; return whether all that are not got through."""
        settled = self._pipeline.settle(room)
        for batch in settled.through:
            self._outage.over()
            self._assignment.got_through(batch.starts)
        error = settled.error
        if settled.failed:
            self._in_touch.ask_at_once()
        for batch in settled.failed:
            self._drop(batch, error)
            error = None  # one failure, whatever it takes along
        return not settled.failed

    def _drop(self, batch: MicroBatch, error: Exception | None = None) -> None:
        """Take up again the partitions of a batch; what of it was not published is read again."""
        self._metrics.batches_dropped.inc()
        self._assignment.failed(batch.ends)
        for partition, start in batch.starts.items():
            self._reached[partition] = min(self._reached.get(partition, start.offset), start.offset)
        self._assignment.take_up_again(batch.starts, error)
        self._say_whether_ready()  # now: the next turn may wait for a producer before it comes to that

    # --- partitions come and go

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._metrics.rebalances.labels("assigned").inc()
        log.info("partitions assigned", extra={"partitions": [given.partition for given in partitions]})
        self._reached.clear()
        self._in_touch.count_again()  # the group may know of partitions that were added
        self._assignment.assign(consumer, partitions)
        self._metrics.partitions.set(len(partitions))

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._metrics.rebalances.labels("revoked").inc()
        log.info("partitions revoked", extra={"partitions": [taken.partition for taken in partitions]})
        self._let_go()

    def _lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._metrics.rebalances.labels("lost").inc()
        log.warning(
            "partitions lost: the group has gone on without this process",
            extra={"partitions": [taken.partition for taken in partitions]},
        )
        self._let_go()

    def _let_go(self) -> None:
        if self._replaced:
            return
        self._settle()  # when the partitions are lost, the broker refuses it: the generation is over
        self._assignment.let_go()
        self._newest_ms.clear()
        self._metrics.partitions.set(0)
        self._metrics.lag_records.clear()
        self._metrics.lag_seconds.clear()

    # --- what the outside is told

    def _say_whether_ready(self) -> None:
        recovering, held_up = self._assignment.recovering, self._assignment.held_up
        self._metrics.recovering_partitions.set(len(recovering))
        if self._in_touch.why_not is not None:
            self._health.why_not_ready = self._in_touch.why_not
        elif not self._assignment.joined:
            self._health.why_not_ready = "waiting for the group to assign partitions"
        elif recovering:
            self._health.why_not_ready = f"taking up partitions {', '.join(map(str, recovering))}{self._trouble()}"
        elif held_up:
            numbers = ", ".join(map(str, held_up))
            self._health.why_not_ready = f"nothing gets through of partitions {numbers}{self._trouble()}"
        else:
            self._health.why_not_ready = None

    def _trouble(self) -> str:
        trouble = self._assignment.trouble
        if trouble is None:
            return ""
        return f": {'Redis: ' if isinstance(trouble, redis.RedisError) else ''}{trouble}"

    def _look_at_lag(self) -> None:
        """Tell how much is not scored yet, of the partitions that are being taken up as well."""
        now = time.monotonic()
        if now < self._next_lag_look:
            return
        self._next_lag_look = now + _LAG_EVERY_S
        topic, ready = self._settings.input_topic, self._assignment.ready
        for position in self._consumer.position([TopicPartition(topic, partition) for partition in ready]):
            # the consumer is past the markers of transactions too, which take an offset each and are no records
            self._reached[position.partition] = max(ready[position.partition].offset, position.offset)
        known = [each for each in (*ready, *self._assignment.recovering) if each in self._reached]
        for partition, end in self._log_ends(known, fetched=bool(ready)).items():
            if end < 0:
                continue  # nobody has said yet
            lag = max(end - self._reached[partition], 0)
            self._metrics.lag_records.labels(partition).set(lag)
            if partition in self._newest_ms:
                age_s = max(time.time() - self._newest_ms[partition] / 1000, 0) if lag else 0
                self._metrics.lag_seconds.labels(partition).set(age_s)

    def _log_ends(self, partitions: Sequence[int], *, fetched: bool) -> dict[int, int]:
        """Return where the log ends; where something is fetched, that says it, else Kafka is asked."""
        topic = self._settings.input_topic
        if partitions and not fetched and not self._in_touch.kafka_is_away:
            asked = [TopicPartition(topic, partition, OFFSET_END) for partition in partitions]
            with suppress(KafkaException):  # then it is as the last fetch said
                return {each.partition: each.offset for each in self._consumer.offsets_for_times(asked, _ENDS_S)}
        return {
            partition: self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)[1]
            for partition in partitions
        }
