"""The micro-batches on their way, one stage a thread.

While the loop fetches and decodes a batch, the one before it is scored, and the one before that is published and saved.
Each stage takes the batches in order, and a batch whose predecessor did not get through does not get through either.
The windows of a batch are read once all but its predecessor are saved; the predecessor's it takes from memory.
"""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import redis

from models.window import UnknownWindowFormatError
from stream.answers import Answers, answer
from stream.champion import Serving
from stream.contract import timestamp
from stream.errors import TenfoldError
from stream.metrics import Metrics
from stream.microbatch import Fetched, MarkMovedError, MicroBatch, Prepared, Scored, fetch, score
from stream.publisher import NotPublishedError, ProducerLostError, Publisher
from stream.shadow import Challenge
from stream.suppression_watch import Suppressed
from stream.window_store import WindowStore

T = TypeVar("T")


class FencedError(TenfoldError):
    """Another process runs under this one's name."""


class SaveConflictError(Exception):
    """Published, but the windows were not where the batch began: somebody else's, or lost."""


class DroppedError(Exception):
    """The batch before did not get through."""


class Settled(NamedTuple):
    """Batches that are not on their way any more, in order."""

    through: list[MicroBatch]
    failed: list[MicroBatch]  # their partitions have to be taken up again
    error: Exception | None  # why the first of these failed


class _Underway(NamedTuple):
    prepared: Prepared
    scored: Future[Scored]
    finished: Future[None]
    challenge: Challenge | None  # where there is a challenger


class Pipeline:
    """Scores, publishes and saves batches beside the loop; all its methods are for the loop.

    At least once, the commit is the consumer's, and a consumer serves one thread at a time: so there ``beside`` is
    false, and the loop does it all itself.
    """

    def __init__(
        self,
        open_publisher: Callable[[], Publisher],
        store: WindowStore,
        serving: Callable[[], Serving],  # asked once a batch
        metrics: Metrics,
        *,
        beside: bool,
        suppressed: Suppressed | None = None,
    ) -> None:
        self._suppressed = suppressed
        self._open_publisher, self._store, self._serving, self._metrics = open_publisher, store, serving, metrics
        self._fetching: Executor = ThreadPoolExecutor(1, "load") if beside else _Here()
        self._scoring: Executor = ThreadPoolExecutor(1, "score") if beside else _Here()
        self._publishing: Executor = ThreadPoolExecutor(1, "publish") if beside else _Here()
        self._publisher: Publisher | None = None
        self._underway: deque[_Underway] = deque()
        self._truncate = False  # large dead letters, since the broker has refused one whole; it will not take the next

    @property
    def grounded(self) -> bool:
        """Whether there is no producer: :meth:`open` one before anything is fetched."""
        return self._publisher is None

    def open(self) -> None:
        """Open a producer if there is none.

        Raises:
            ProducerLostError: Kafka does not let it begin.
            FencedError: another process has this one's name.
        """
        if self._publisher is None:
            try:
                self._publisher = self._open_publisher()
            except ProducerLostError as error:
                self._lose(error)
                raise

    def submit(self, prepared: Prepared) -> None:
        """Score, publish and save a batch that starts where the last one ends."""
        if self._publisher is None:
            raise AssertionError("a batch is submitted with a producer")
        before = self._underway[-1] if self._underway else None
        one_before = self._underway[-2] if len(self._underway) > 1 else None
        serving = self._serving()
        challenge = serving.shadow.challenge() if serving.shadow else None
        fetched = self._fetching.submit(self._fetch, prepared, serving, before, one_before)
        scored = self._scoring.submit(self._score, prepared, serving, challenge, fetched, before)
        finished = self._publishing.submit(self._finish, scored, serving, challenge, before, self._publisher)
        self._underway.append(_Underway(prepared, scored, finished, challenge))

    def settle(self, room: int = 0) -> Settled:
        """Wait until no more than ``room`` batches are on their way; once one has failed, for all of them.

        Raises:
            FencedError: another process has this one's name.
            ModelFailedError: the model scores nothing any more.
        """
        settled = Settled([], [], None)
        while self._underway and (settled.failed or len(self._underway) > room or self._underway[0].finished.done()):
            prepared, _, finished, challenge = self._underway.popleft()
            try:
                finished.result()
            except (
                DroppedError,
                MarkMovedError,
                NotPublishedError,
                ProducerLostError,
                SaveConflictError,
                UnknownWindowFormatError,
                redis.RedisError,
            ) as error:
                if challenge and isinstance(error, NotPublishedError) and error.shadow:
                    challenge.shadow.refuse(error)
                settled.failed.append(prepared.batch)
                settled = settled._replace(error=settled.error or error)
            else:
                settled.through.append(prepared.batch)
        self._learn(settled)
        return settled

    def close(self) -> None:
        """Let go of the producer."""
        self._fetching.shutdown()
        self._scoring.shutdown()
        self._publishing.shutdown()
        self._close_publisher()

    def _learn(self, settled: Settled) -> None:
        if isinstance(settled.error, ProducerLostError):
            self._lose(settled.error)
        elif isinstance(settled.error, NotPublishedError) and settled.error.dead_letter_too_large:
            self._truncate = True
            self._close_publisher()  # the refused record left a gap in its sequence, which may fail its next batch

    def _fetch(
        self, prepared: Prepared, serving: Serving, before: _Underway | None, one_before: _Underway | None
    ) -> Fetched:
        if one_before is not None:
            _through(one_before.finished)
        touched = None if before is None else before.prepared
        return fetch(prepared, self._store, before=touched, timer=self._metrics.timer, tables=serving.tables)

    def _score(
        self,
        prepared: Prepared,
        serving: Serving,
        challenge: Challenge | None,
        fetching: Future[Fetched],
        before: _Underway | None,
    ) -> Scored:
        known = None if before is None else _through(before.scored)
        fetched, begun = fetching.result(), time.perf_counter()
        scored = score(prepared, fetched, serving.model, before=known, timer=self._metrics.timer)
        if challenge is not None:
            challenge.begin(prepared, fetched, scored, time.perf_counter() - begun)
        return scored

    def _finish(
        self,
        scoring: Future[Scored],
        serving: Serving,
        challenge: Challenge | None,
        before: _Underway | None,
        publisher: Publisher,
    ) -> None:
        if before is not None:
            _through(before.finished)
        scored = scoring.result()
        reasons = serving.reasons.of(scored) if serving.reasons else {}
        with self._metrics.timer("encode"):
            now_ms, spec = time.time_ns() // 1_000_000, serving.model.spec
            suppressed = self._suppressed.of(scored, spec.threshold, now_ms) if self._suppressed else frozenset()
            answers = answer(scored, spec, timestamp(now_ms), reasons, suppressed, truncate=self._truncate)
        shadowed = None if challenge is None else challenge.outcome(scored)
        shadow_scores = [] if shadowed is None else shadowed.scores
        offsets = {partition: end.offset for partition, end in scored.batch.ends.items()}
        with self._metrics.timer("publish"):
            publisher.publish(answers.scores, answers.dead_letters, offsets, scored.batch.group, shadow_scores)
        self._count(scored, answers)
        self._metrics.suppressed.inc(len(suppressed))
        if serving.drift is not None:
            serving.drift.count(scored)
        if challenge is not None and shadowed is not None:
            challenge.shadow.published(scored, serving.model.spec.threshold, shadowed)
        with self._metrics.timer("save"):
            saved = self._store.save(scored.saves)
        if not all(saved):
            raise SaveConflictError("the windows of this batch were moved or lost while it was published")

    def _count(self, scored: Scored, answers: Answers) -> None:
        metrics, batch = self._metrics, scored.batch
        metrics.latency.observe((time.time_ns() / 1e6 - np.array(batch.timestamps_ms, np.float64)) / 1000)
        metrics.batch_events.observe(len(batch))
        metrics.events.inc(len(batch))
        metrics.scores.inc(len(answers.scores))
        metrics.anomalies.inc(answers.anomalies)
        metrics.insufficient_history.inc(answers.insufficient)
        metrics.fraud_probability.observe(scored.probabilities)
        metrics.window_hits.inc(scored.window_hits)
        metrics.window_misses.inc(scored.window_misses)
        metrics.profiles_missing.inc(scored.profiles_missing)
        metrics.profiles_stale.inc(scored.profiles_stale)
        for reason in answers.reasons:
            metrics.dead_letters.labels(reason).inc()

    def _lose(self, error: ProducerLostError) -> None:
        self._close_publisher()
        # fenced otherwise, it may just have been away for longer than its transaction may be open; a twin of the same
        # name is found by the group, which lets only one of them in
        if error.fenced_instance:
            raise FencedError(
                f"another process runs under this one's name ({error}): give each its own TENFOLD_INSTANCE_ID"
            ) from error

    def _close_publisher(self) -> None:
        if self._publisher is not None:
            self._publisher.close()
            self._publisher = None


class _Here(Executor):
    """Runs what is submitted at once, in the caller's thread."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(function(*arguments, **options))
        except Exception as error:  # noqa: BLE001 -- whoever asks for the result gets it
            done.set_exception(error)
        return done


def _through(stage: Future[T]) -> T:
    """Return the result of a stage of a batch before; without one, nothing that builds on it may go on."""
    error = stage.exception()
    if error is not None:
        raise DroppedError("the batch before did not get through") from error
    return stage.result()
