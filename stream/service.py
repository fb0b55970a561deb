"""The scorer's loop: fetch, score, publish, save; and what to do when any of it fails.

One micro-batch is published and saved in a thread while the next one is read and scored. Whatever surprises, the way
is the same: what is in flight is settled, batches not published are dropped, and each of their partitions that is
still owned is taken up again where the table of recovery says (:mod:`stream.recovery`).
"""

import logging
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue

import numpy as np
import redis
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from models.window import UnknownWindowFormatError
from stream.catch_up import CancelledError, NotTakenUpError, OffsetNotStableError, Recoverer
from stream.clients import Contact
from stream.contract import timestamp
from stream.errors import TenfoldError
from stream.health import Health
from stream.metrics import Metrics
from stream.microbatch import MarkMovedError, MicroBatch, Model, ScoredBatch, score_batch
from stream.partitioner import partitions_of
from stream.publisher import NotPublishedError, ProducerLostError, Publisher
from stream.settings import Settings
from stream.window_store import Mark, WindowStore

log = logging.getLogger(__name__)

_POLL_S = 0.1
_RECOVERY_THREADS = 8
_LAG_EVERY_S = 1.0
_PROBE_S = 1.0
_COMMIT_S = 10.0
_UNSTABLE_S = 0.25
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.05, 5.0
_QUIET_S = 60.0  # failures further apart than this are not one outage
_FENCED_AGAIN_S = 60.0


class OutageError(TenfoldError):
    """Kafka or Redis did not come back within ``TENFOLD_OUTAGE_LIMIT_S``."""


class FencedError(TenfoldError):
    """Another process runs under this one's name."""


class SaveConflictError(Exception):
    """Published, but the windows were not where the batch began: somebody else's, or lost."""


@dataclass
class _Owned:
    """A partition of this process. ``mark`` is what its next batch starts from, ``None`` while it is taken up."""

    mark: Mark | None = None
    revoked: threading.Event = field(default_factory=threading.Event)
    taking_up: Future[Mark] | None = None
    attempts: int = 0
    newest_ms: int | None = None  # Kafka timestamp of the last record taken
    rebuild: bool = False  # its windows were written by another release


class Service:
    """Scores the partitions that the group gives to this process until it is told to stop."""

    def __init__(
        self,
        settings: Settings,
        consumer: Consumer,
        open_publisher: Callable[[], Publisher],
        contact: Contact,
        recoverer: Recoverer,
        store: WindowStore,
        model: Model,
        metrics: Metrics,
        health: Health,
        stop: threading.Event,
    ) -> None:
        self._settings, self._consumer, self._store, self._model = settings, consumer, store, model
        self._open_publisher, self._recoverer = open_publisher, recoverer
        self._metrics, self._health, self._stop = metrics, health, stop
        self._contact = contact
        self._publisher: Publisher | None = None
        self._owned: dict[int, _Owned] = {}
        self._joined = False
        self._in_flight: tuple[ScoredBatch, Future[None]] | None = None
        self._finisher = ThreadPoolExecutor(1, "publish")
        self._recovery = ThreadPoolExecutor(_RECOVERY_THREADS, "recovery")
        self._commits: SimpleQueue[tuple[_Owned, TopicPartition, Future[None]]] = SimpleQueue()
        self._away: str | None = None  # who does not answer
        self._truncate = False
        self._first_failure = self._last_failure = -_QUIET_S
        self._fenced_at = -_FENCED_AGAIN_S
        self._partition_count = 0
        self._next_lag_look = self._next_probe = 0.0

    def run(self) -> None:
        """Run until the stop event is set, then finish what is in flight and leave the group.

        Raises:
            OutageError: Kafka or Redis was away for longer than the settings allow.
            FencedError: another process has this one's instance id.
        """
        self._consumer.subscribe(
            [self._settings.input_topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )
        with ExitStack() as closing:
            closing.callback(self._close_publisher)
            closing.callback(self._recovery.shutdown)
            closing.callback(self._finisher.shutdown)
            closing.callback(self._consumer.close)  # leaves the group, unless it is a static member
            closing.callback(self._commit_what_is_asked)  # with a no: nobody waits for it any longer
            closing.callback(self._stop.set)
            while not self._stop.is_set():
                self._turn()
            self._health.why_not_ready = "stopping"
            self._settle()

    def _turn(self) -> None:
        self._health.turn()
        in_touch = self._in_touch()
        self._say_whether_ready()
        if not in_touch:
            self._take_up_again([partition for partition, owned in self._owned.items() if owned.mark], None)
            self._fetch()  # nothing but the group's callbacks: all is paused
            return
        self._commit_what_is_asked()
        self._go_on_where_taken_up()
        if self._in_flight and self._in_flight[1].done():
            self._settle()
        self._look_at_lag()
        batch = self._fetch()
        if batch is None:
            return
        try:
            scored = self._score(batch)
        except (MarkMovedError, UnknownWindowFormatError, redis.RedisError) as error:
            self._settle()
            self._drop(batch, error)
            return
        if self._settle() and self._still_starts(batch):
            self._submit(scored)
        else:
            self._drop(batch, None)

    def _still_starts(self, batch: MicroBatch) -> bool:
        """Return whether every partition of a batch still is where the batch starts."""
        return all(
            partition in self._owned and self._owned[partition].mark == start
            for partition, start in batch.starts.items()
        )

    # --- fetch and score

    def _fetch(self) -> MicroBatch | None:
        """Return what the consumer has, at most a batch; wait for the first record only."""
        try:
            first = self._consumer.poll(_POLL_S)
        except KafkaException as error:  # out of a callback: the group will call it again
            self._failed(error)
            return None
        if first is None:
            return None
        more = self._settings.batch_size - 1
        messages = [first, *(self._consumer.consume(more, 0) if more else [])]
        # taken right after the fetch: at commit time it would open the fence for partitions that have moved on
        group = self._consumer.consumer_group_metadata()
        return self._batch_of(messages, group)

    def _batch_of(self, messages: list[Message], group: object) -> MicroBatch | None:
        starts: dict[int, Mark] = {}
        batch = MicroBatch(self._settings.input_topic, [], [], [], [], [], starts, group)
        for message in messages:
            problem = message.error()
            if problem is not None:
                self._on_consumer_error(problem, message.partition())
                continue
            partition, offset = message.partition(), message.offset()
            owned = self._owned.get(partition) if partition is not None else None
            if owned is None or owned.mark is None or partition is None or offset is None:
                continue  # not ours, or not yet: it is read again once the partition is taken up
            if offset < owned.mark.offset:
                continue  # fetched before the partition was taken up here
            starts[partition] = owned.mark
            batch.partitions.append(partition)
            batch.offsets.append(offset)
            batch.timestamps_ms.append(message.timestamp()[1])
            batch.keys.append(message.key())
            batch.values.append(message.value())
        return batch if starts else None

    def _on_consumer_error(self, problem: KafkaError, partition: int | None) -> None:
        if problem.code() == KafkaError._AUTO_OFFSET_RESET and partition is not None:
            owned = self._owned.get(partition)
            if owned is not None and owned.mark is not None:
                self._settle()
                self._take_up_again([partition], KafkaException(problem))
            return
        log.warning("the consumer reports a problem", extra={"error": problem.str(), "partition": partition})
        if problem.fatal():
            if problem.code() == KafkaError.FENCED_INSTANCE_ID:
                raise self._fenced()
            raise OutageError(f"the consumer cannot go on: {problem.str()}")

    def _score(self, batch: MicroBatch) -> ScoredBatch:
        before = self._in_flight[0] if self._in_flight else None
        scored = score_batch(
            batch,
            self._store,
            self._model,
            before=before,
            scored_at=timestamp(time.time_ns() // 1_000_000),
            timer=self._metrics.timer,
            truncate=self._truncate,
        )
        if self._settings.partitioner != "any" and self._partition_count:
            expected = partitions_of(scored.users, self._partition_count, self._settings.partitioner)
            self._metrics.misplaced.inc(int((expected != np.array(scored.partitions, np.int64)).sum()))
        return scored

    # --- publish and save, beside the next batch

    def _submit(self, scored: ScoredBatch) -> None:
        newest_ms = dict(zip(scored.batch.partitions, scored.batch.timestamps_ms, strict=True))
        for partition, end in scored.batch.ends.items():
            owned = self._owned[partition]
            owned.mark, owned.newest_ms = end, newest_ms[partition]
        if self._settings.delivery == "exactly-once":
            self._in_flight = scored, self._finisher.submit(self._finish, scored)
            return
        done: Future[None] = Future()  # the commit is the consumer's, and a consumer serves one thread at a time
        try:
            self._finish(scored)
            done.set_result(None)
        except (ProducerLostError, NotPublishedError, SaveConflictError, redis.RedisError) as error:
            done.set_exception(error)
        self._in_flight = scored, done
        self._settle()

    def _finish(self, scored: ScoredBatch) -> None:
        batch, metrics, publisher = scored.batch, self._metrics, self._publisher
        if publisher is None:
            raise AssertionError("nothing is fetched without a publisher")
        offsets = {partition: end.offset for partition, end in batch.ends.items()}
        with metrics.timer("publish"):
            publisher.publish(scored.scores, scored.dead_letters, offsets, batch.group)
        readable_at_ms = time.time_ns() / 1e6
        with metrics.timer("save"):
            saved = self._store.save(scored.saves)
        metrics.latency.observe((readable_at_ms - np.array(batch.timestamps_ms, np.float64)) / 1000)
        metrics.batch_events.observe(len(batch))
        metrics.events.inc(len(batch))
        metrics.scores.inc(len(scored.scores))
        metrics.anomalies.inc(scored.anomalies)
        metrics.insufficient_history.inc(scored.insufficient)
        metrics.window_hits.inc(scored.window_hits)
        metrics.window_misses.inc(scored.window_misses)
        for reason in scored.reasons:
            metrics.dead_letters.labels(reason).inc()
        if not all(saved):
            raise SaveConflictError("the windows of this batch were moved or lost while it was published")

    def _settle(self) -> bool:
        """Wait for the batch in flight; say whether it is published and saved, or whether there was none."""
        if self._in_flight is None:
            return True
        (scored, finishing), self._in_flight = self._in_flight, None
        try:
            finishing.result()
        except ProducerLostError as error:
            self._drop(scored.batch, error)
            self._without_publisher(error)
        except NotPublishedError as error:
            self._truncate |= error.too_large  # until a batch gets through
            self._drop(scored.batch, error)
        except (SaveConflictError, redis.RedisError) as error:
            self._take_up_again(scored.batch.starts, error)
        else:
            self._truncate = False
            self._last_failure = -_QUIET_S  # whatever was in the way is over
            for partition in scored.batch.starts:
                if partition in self._owned:
                    self._owned[partition].attempts = 0
            return True
        return False

    def _drop(self, batch: MicroBatch, error: Exception | None) -> None:
        """Take up again the partitions of a batch that was not published; its events are read again."""
        self._metrics.batches_dropped.inc()
        self._take_up_again(batch.starts, error)

    def _without_publisher(self, error: ProducerLostError) -> None:
        now = time.monotonic()
        if error.fenced_instance or (error.fenced and now - self._fenced_at < _FENCED_AGAIN_S):
            raise self._fenced()
        if error.fenced:
            self._fenced_at = now
        self._close_publisher()
        self._next_probe = 0.0  # another one at once

    def _close_publisher(self) -> None:
        if self._publisher is not None:
            self._publisher.close()
            self._publisher = None

    def _in_touch(self) -> bool:
        """Return whether Kafka and Redis answer and there is a producer; see to it that they come back."""
        now = time.monotonic()
        if now < self._next_probe:
            return self._away is None
        self._next_probe = now + _PROBE_S
        try:
            if self._contact.lost:
                self._consumer.list_topics(self._settings.input_topic, _PROBE_S)
                self._contact.lost = False
            if self._publisher is None:
                self._publisher = self._open_publisher()
            self._store.ping()
        except (KafkaException, ProducerLostError, redis.RedisError) as error:
            self._away = "Redis" if isinstance(error, redis.RedisError) else "Kafka"
            log.warning(f"{self._away} does not answer", extra={"error": str(error)})
            self._failed(error)
            if isinstance(error, ProducerLostError) and error.fenced:
                self._without_publisher(error)
        else:
            self._away = None
        return self._away is None

    def _fenced(self) -> FencedError:
        name = self._settings.instance_id or "the same transactional id"
        return FencedError(f"another process runs as {name}: give each its own TENFOLD_INSTANCE_ID")

    # --- partitions come, go, and are taken up

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._metrics.rebalances.labels("assigned").inc()
        log.info("partitions assigned", extra={"partitions": [tp.partition for tp in partitions]})
        positions = [TopicPartition(tp.topic, tp.partition, 0) for tp in partitions]
        consumer.assign(positions)
        consumer.pause(positions)  # until it is known where to start
        self._joined = True
        self._owned = {tp.partition: _Owned() for tp in partitions}
        for partition in self._owned:
            self._take_up(partition, delay_s=0)
        self._metrics.partitions.set(len(partitions))

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._metrics.rebalances.labels("revoked").inc()
        log.info("partitions revoked", extra={"partitions": [tp.partition for tp in partitions]})
        self._settle()
        self._let_go()

    def _lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._metrics.rebalances.labels("lost").inc()
        log.warning(
            "partitions lost: the group has gone on without this process",
            extra={"partitions": [tp.partition for tp in partitions]},
        )
        self._settle()  # the broker refuses it: the generation is over
        self._let_go()

    def _let_go(self) -> None:
        for owned in self._owned.values():
            owned.revoked.set()
        self._owned, self._joined = {}, False
        self._metrics.partitions.set(0)
        self._metrics.lag_records.clear()
        self._metrics.lag_seconds.clear()

    def _take_up_again(self, partitions: Collection[int], error: Exception | None) -> None:
        if error is not None:
            log.warning("taking partitions up again", extra={"partitions": list(partitions), "error": str(error)})
            self._failed(error)
        for partition in partitions:
            owned = self._owned.get(partition)
            if owned is None or owned.taking_up is not None:
                continue
            owned.rebuild |= isinstance(error, UnknownWindowFormatError)
            owned.mark = None
            owned.attempts += 1
            self._consumer.pause([TopicPartition(self._settings.input_topic, partition)])
            self._take_up(partition, delay_s=_backoff_s(owned.attempts))

    def _take_up(self, partition: int, delay_s: float) -> None:
        owned = self._owned[partition]

        def cancelled() -> bool:
            return owned.revoked.is_set() or self._stop.is_set()

        def take_up() -> Mark:
            if owned.revoked.wait(delay_s) or cancelled():
                raise CancelledError
            commit = partial(self._commit_from_elsewhere, owned)
            return self._recoverer.take_up(partition, commit, cancelled, rebuild=owned.rebuild)

        owned.taking_up = self._recovery.submit(take_up)

    def _commit_from_elsewhere(self, owned: _Owned, partition: int, offset: int) -> None:
        """Let the loop commit an offset, and wait until it has."""
        done: Future[None] = Future()
        self._commits.put((owned, TopicPartition(self._settings.input_topic, partition, offset), done))
        try:
            done.result(_COMMIT_S)
        except TimeoutError:
            raise NotTakenUpError("the group's first offset could not be committed in time") from None

    def _commit_what_is_asked(self) -> None:
        while not self._commits.empty():
            owned, position, done = self._commits.get_nowait()
            if owned.revoked.is_set() or self._stop.is_set():  # it is another's to commit now
                done.set_exception(CancelledError())
                continue
            try:
                self._consumer.commit(offsets=[position], asynchronous=False)
            except KafkaException as error:
                done.set_exception(error)
            else:
                done.set_result(None)

    def _go_on_where_taken_up(self) -> None:
        for partition, owned in self._owned.items():
            if owned.taking_up is None or not owned.taking_up.done():
                continue
            taken_up, owned.taking_up = owned.taking_up, None
            try:
                mark = taken_up.result()
                self._go_on(partition, mark)
                owned.mark, owned.rebuild = mark, False
            except OffsetNotStableError as error:
                log.info("waiting to take a partition up", extra={"partition": partition, "why": str(error)})
                self._take_up(partition, delay_s=_UNSTABLE_S)
            except (NotTakenUpError, redis.RedisError, UnknownWindowFormatError, KafkaException) as error:
                self._take_up_again([partition], error)
            except CancelledError:
                continue

    def _go_on(self, partition: int, mark: Mark) -> None:
        position = TopicPartition(self._settings.input_topic, partition, mark.offset)
        self._consumer.seek(position)  # after an abort the consumer's position is already behind the batch
        self._consumer.resume([position])
        if not self._partition_count:
            topic = self._consumer.list_topics(self._settings.input_topic, 5).topics[self._settings.input_topic]
            self._partition_count = len(topic.partitions)
        log.info("scoring", extra={"partition": partition, "offset": mark.offset, "epoch": mark.epoch})

    # --- what the outside is told

    def _failed(self, error: Exception) -> None:
        """Count a failure; give up when failures have not ended for as long as the settings allow."""
        now = time.monotonic()
        if now - self._last_failure > _QUIET_S:
            self._first_failure = now
        self._last_failure = now
        if now - self._first_failure > self._settings.outage_limit_s:
            raise OutageError(
                f"gave up after {self._settings.outage_limit_s:.0f} s (TENFOLD_OUTAGE_LIMIT_S): {error}"
            ) from error

    def _say_whether_ready(self) -> None:
        recovering = [partition for partition, owned in self._owned.items() if owned.mark is None]
        self._metrics.recovering_partitions.set(len(recovering))
        if self._away is not None:
            self._health.why_not_ready = f"{self._away} does not answer"
        elif not self._joined:
            self._health.why_not_ready = "waiting for the group to assign partitions"
        elif recovering:
            self._health.why_not_ready = f"taking up partitions {', '.join(map(str, recovering))}"
        else:
            self._health.why_not_ready = None
        self._metrics.ready.set(self._health.why_not_ready is None)

    def _look_at_lag(self) -> None:
        now = time.monotonic()
        if now < self._next_lag_look:
            return
        self._next_lag_look = now + _LAG_EVERY_S
        for partition, owned in self._owned.items():
            if owned.mark is None:
                continue
            position = TopicPartition(self._settings.input_topic, partition)
            _, end = self._consumer.get_watermark_offsets(position, cached=True)
            lag = max(end - owned.mark.offset, 0)
            self._metrics.lag_records.labels(partition).set(lag)
            if owned.newest_ms is not None:
                age_s = max(time.time() - owned.newest_ms / 1000, 0) if lag else 0
                self._metrics.lag_seconds.labels(partition).set(age_s)


def _backoff_s(attempts: int) -> float:
    return float(min(_FIRST_BACKOFF_S * 2 ** (attempts - 1), _LONGEST_BACKOFF_S)) if attempts > 1 else 0.0
