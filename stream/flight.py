"""The one batch that is being published and saved while the next one is read and scored."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import redis

from stream.errors import TenfoldError
from stream.metrics import Metrics
from stream.microbatch import MicroBatch, ScoredBatch
from stream.publisher import NotPublishedError, ProducerLostError, Publisher
from stream.window_store import WindowStore


class FencedError(TenfoldError):
    """Another process runs under this one's name."""


class SaveConflictError(Exception):
    """Published, but the windows were not where the batch began: somebody else's, or lost."""


class Failed(NamedTuple):
    """A batch that did not get through. Its partitions have to be taken up again."""

    batch: MicroBatch
    error: Exception


class Flight:
    """Publishes and saves batches, one at a time, beside the loop.

    At least once, the commit is the consumer's, and a consumer serves one thread at a time: so there the loop waits.
    """

    def __init__(
        self, open_publisher: Callable[[], Publisher], store: WindowStore, metrics: Metrics, *, beside: bool
    ) -> None:
        self._open_publisher, self._store, self._metrics, self._beside = open_publisher, store, metrics, beside
        self._thread = ThreadPoolExecutor(1, "publish")
        self._publisher: Publisher | None = None
        self._current: tuple[ScoredBatch, Future[None]] | None = None
        self.truncate = False  # large dead letters, since the broker has refused them whole

    @property
    def batch(self) -> ScoredBatch | None:
        """The batch whose windows may not be saved yet."""
        return self._current[0] if self._current else None

    @property
    def done(self) -> bool:
        """Whether the batch only has to be settled."""
        return self._current is not None and self._current[1].done()

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

    def submit(self, scored: ScoredBatch) -> None:
        """Publish and save a batch; the one before has to be settled."""
        if self._current is not None or self._publisher is None:
            raise AssertionError("a batch is submitted after the one before is settled, and with a producer")
        finishing: Future[None]
        if self._beside:
            finishing = self._thread.submit(self._finish, scored, self._publisher)
        else:
            finishing = Future()
            try:
                self._finish(scored, self._publisher)
                finishing.set_result(None)
            except (ProducerLostError, NotPublishedError, SaveConflictError, redis.RedisError) as error:
                finishing.set_exception(error)
        self._current = scored, finishing

    def settle(self) -> Failed | None:
        """Wait for the batch, if there is one; return it if it did not get through.

        Raises:
            FencedError: another process has this one's name.
        """
        if self._current is None:
            return None
        (scored, finishing), self._current = self._current, None
        try:
            finishing.result()
        except ProducerLostError as error:
            self._lose(error)
            return Failed(scored.batch, error)
        except NotPublishedError as error:
            self.truncate |= error.too_large  # until a batch gets through
            return Failed(scored.batch, error)
        except (SaveConflictError, redis.RedisError) as error:
            return Failed(scored.batch, error)
        self.truncate = False
        return None

    def close(self) -> None:
        """Let go of the producer."""
        self._thread.shutdown()
        self._close_publisher()

    def _finish(self, scored: ScoredBatch, publisher: Publisher) -> None:
        offsets = {partition: end.offset for partition, end in scored.batch.ends.items()}
        with self._metrics.timer("publish"):
            publisher.publish(scored.scores, scored.dead_letters, offsets, scored.batch.group)
        self._count(scored)
        with self._metrics.timer("save"):
            saved = self._store.save(scored.saves)
        if not all(saved):
            raise SaveConflictError("the windows of this batch were moved or lost while it was published")

    def _count(self, scored: ScoredBatch) -> None:
        metrics, batch = self._metrics, scored.batch
        metrics.latency.observe((time.time_ns() / 1e6 - np.array(batch.timestamps_ms, np.float64)) / 1000)
        metrics.batch_events.observe(len(batch))
        metrics.events.inc(len(batch))
        metrics.scores.inc(len(scored.scores))
        metrics.anomalies.inc(scored.anomalies)
        metrics.insufficient_history.inc(scored.insufficient)
        metrics.window_hits.inc(scored.window_hits)
        metrics.window_misses.inc(scored.window_misses)
        for reason in scored.reasons:
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
