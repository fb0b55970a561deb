"""The challenger in the champion's shadow: it scores the same windows, and nothing waits for it for long.

It has a thread of its own, and for each micro-batch a time that depends on what the champion took. What it does not
manage by then is dropped for that batch and counted; so is everything while it is busy, and while it rests. So a
challenger that raises, hangs or is slow costs the champion's scores a moment now and then, and nothing else.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import replace
from queue import SimpleQueue
from typing import Literal, NamedTuple, get_args

import numpy as np

from models.context import NO_DAY
from stream.agreement import RankAgreement
from stream.answers import answer
from stream.contract import timestamp
from stream.encode import Output, rounded
from stream.metrics import Metrics
from stream.microbatch import Fetched, Model, Prepared, Scored, rescore

log = logging.getLogger(__name__)

DropReason = Literal["failed", "late", "busy", "refused"]

#: It has so many times what the champion took, from when that was done: it shares the cores with the next batch.
PATIENCE = 3.0

#: But this at least: of a few events nobody can say how long they take.
LEAST_S = 0.005

#: After a batch it rests so many times what it took, more if it was late: where batch follows batch without a pause,
#: the cores are the champion's for half of the time at least.
REST, REST_LATE = 1.0, 3.0


class Shadowed(NamedTuple):
    """What a challenger made of a micro-batch."""

    scores: list[Output]  # for the topic of shadow scores
    scored: Scored  # with the challenger's probabilities


class Shadow:
    """A challenger at work, and what it agrees on with the champion."""

    def __init__(
        self,
        model: Model,
        metrics: Metrics,
        clock: Callable[[], float] = time.perf_counter,
        least_s: float = LEAST_S,
    ) -> None:
        self._model, self._metrics, self._clock, self._least_s = model, metrics, clock, least_s
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._over: DropReason | None = None
        self._rests_until = float("-inf")
        self._has_failed = False
        self._agreement = RankAgreement()
        self._version = model.spec.model_version
        for reason in get_args(DropReason):
            metrics.shadow_dropped.labels(reason)  # so that the first one is an increase
        metrics.shadow_rank_correlation.labels(self._version).set_function(self._agreement.correlation)
        threading.Thread(target=self._work, name="shadow", daemon=True).start()  # one that hangs keeps no process alive

    @property
    def model(self) -> Model:
        """The challenger."""
        return self._model

    def challenge(self) -> "Challenge":
        """Return a micro-batch's way past the challenger."""
        return Challenge(self)

    def begin(self, prepared: Prepared, fetched: Fetched, scored: Scored, champion_s: float) -> "_Job | None":
        """Let it score a micro-batch that the champion has scored in ``champion_s`` seconds; ``None`` if it may not."""
        now = self._clock()
        if self._over or now < self._rests_until or self._jobs.qsize():
            self.drop(self._over or "busy", scored)
            return None
        job = _Job(
            lambda: self._score(prepared, fetched, scored), now + max(PATIENCE * champion_s, self._least_s), Future()
        )
        self._jobs.put(job)
        return job

    def outcome(self, job: "_Job", scored: Scored) -> Shadowed | None:
        """Return what it made of the batch ``scored``, as soon as it is there, ``None`` if it is not there in time."""
        wait([job.answer], max(job.deadline - self._clock(), 0))
        if not job.answer.done():
            job.answer.cancel()
            self.drop("late", scored)
            return None
        shadowed, error = job.answer.result()
        if error is not None:
            if not self._has_failed:
                log.warning(
                    "the challenger failed; from now on this is only counted",
                    extra={"model_version": self._version, "error": str(error)},
                )
            self._has_failed = True
            self.drop("failed", scored)
            return None
        return shadowed

    def drop(self, reason: DropReason, scored: Scored) -> None:
        """Count a batch as not scored."""
        self._metrics.shadow_dropped.labels(reason).inc(len(scored.rows))

    def published(self, champion: Scored, threshold: float, shadowed: Shadowed) -> None:
        """Count what was published beside the scores of a champion that flags above ``threshold``."""
        metrics = self._metrics
        one, other = rounded(champion.probabilities), rounded(shadowed.scored.probabilities)
        flagged, would_flag = one > threshold, other > self._model.spec.threshold
        metrics.shadow_scores.inc(len(other))
        metrics.shadow_difference.inc(float(np.abs(one - other).sum()))
        metrics.shadow_flags.labels("gained").inc(int((would_flag & ~flagged).sum()))
        metrics.shadow_flags.labels("lost").inc(int((flagged & ~would_flag).sum()))
        self._agreement.add(one, other)

    def refuse(self, error: Exception) -> None:
        """Score nothing any more: Kafka does not take the scores."""
        if self._over is None:
            log.error(
                "Kafka does not take the challenger's scores, so it scores nothing any more: give back the topic, or "
                "the right to write to it, then take the challenger away and name it again",
                extra={"model_version": self._version, "error": str(error)},
            )
        self._over = "refused"

    def close(self) -> None:
        """End its thread once it comes back."""
        self._over = "busy"
        self._metrics.shadow_rank_correlation.remove(self._version)
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if not job.answer.set_running_or_notify_cancel():
                continue
            begun = self._clock()
            try:
                shadowed, failure = job.run(), None
            except Exception as error:  # noqa: BLE001 -- a runtime's errors have no common class
                shadowed, failure = None, error
            ended = self._clock()
            rest = REST_LATE if ended > job.deadline else REST
            self._rests_until = ended + rest * (ended - begun)
            job.answer.set_result((shadowed, failure))

    def _score(self, prepared: Prepared, fetched: Fetched, scored: Scored) -> Shadowed:
        spec = self._model.spec
        probabilities = rescore(prepared, fetched, scored, self._model)
        if not np.isfinite(probabilities).all():
            raise ValueError(f"{int((~np.isfinite(probabilities)).sum())} of its probabilities are not finite")
        days = scored.profile_days if spec.context else np.full(len(probabilities), NO_DAY)
        mine = replace(scored, probabilities=probabilities, profile_days=days, dead=[])
        return Shadowed(answer(mine, spec, timestamp(time.time_ns() // 1_000_000)).scores, mine)


class _Job(NamedTuple):
    run: Callable[[], Shadowed]
    deadline: float
    answer: "Future[tuple[Shadowed | None, Exception | None]]"


class Challenge:
    """One micro-batch's way past the challenger: begun when it is scored, ended when it is published."""

    def __init__(self, shadow: Shadow) -> None:
        self.shadow = shadow
        self._job: _Job | None = None

    def begin(self, prepared: Prepared, fetched: Fetched, scored: Scored, champion_s: float) -> None:
        """Hand the batch over, with how long the champion took, in seconds."""
        self._job = self.shadow.begin(prepared, fetched, scored, champion_s)

    def outcome(self, scored: Scored) -> Shadowed | None:
        """Return what became of it; wait no longer than it may take."""
        return None if self._job is None else self.shadow.outcome(self._job, scored)
