"""Drift: how far the payments of the last hour and day are from those that the model in force learned from.

Of each micro-batch a sample is looked at, and not before some hundred payments are together: of one at a time, NumPy
would cost as much as the model. Time is the process's own, not the payments'.
"""

import threading
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from models.drift import bin_counts, psi
from models.features import Floats, step_features
from models.reference import Reference, columns_of
from models.spec import BundleSpec
from models.window import Windows
from stream.microbatch import Scored
from stream.recent import Recent

#: Payments of a micro-batch that are looked at, at most; each then stands for as many as the batch has for one of them.
SAMPLE = 256

Span = Literal["1h", "1d"]
_SPANS: dict[Span, tuple[float, int]] = {"1h": (3600, 60), "1d": (86_400, 96)}  # seconds, buckets

#: Features that follow the clock: they are compared over whole turns only, and no span is a week.
_DAILY = frozenset({"hour_of_day", "hour_sin", "hour_cos", "is_night"})
_WEEKLY = frozenset({"is_weekend"})


class Drifted(NamedTuple):
    """The PSI of one column over one span."""

    column: str
    span: Span
    psi: float


class _Sample(NamedTuple):
    """Payments that were looked at, side by side."""

    windows: Windows  # [n, T]
    context: Floats | None  # [n, C]
    probabilities: Floats  # [n]
    weight: float  # payments that each stands for


class Drift:
    """Counts what one bundle scores, and compares it with the bundle's reference. One thread counts, any may ask."""

    def __init__(self, spec: BundleSpec, reference: Reference, clock: Callable[[], float]) -> None:
        """``clock`` tells seconds that only grow."""
        self._spec, self._clock, self._lock = spec, clock, threading.Lock()
        self._columns = reference.columns
        self._edges = [np.array(column.edges) for column in reference.columns.values()]
        self._bounds = np.cumsum([0, *(len(edges) + 1 for edges in self._edges)])
        width = int(self._bounds[-1]) + 1  # the bins of all columns, and the payments that were looked at
        now = clock()
        self._recent = {span: Recent(width, *length, now) for span, length in _SPANS.items()}
        self._waiting: list[_Sample] = []
        self._waiting_events = 0

    def count(self, scored: Scored) -> None:
        """Take in a micro-batch that was published."""
        events = len(scored.rows)
        if not events:
            return
        rows = slice(None, None, -(-events // SAMPLE))
        windows, context = scored.windows.take(rows), None if scored.context is None else scored.context[rows]
        sample = _Sample(windows, context, scored.probabilities[rows], events / len(windows))
        with self._lock:
            self._waiting.append(sample)
            self._waiting_events += len(windows)
            if self._waiting_events >= SAMPLE:
                self._look()

    def measure(self) -> list[Drifted]:
        """Return the PSI of each column and span, where enough was seen for one.

        The day has to be whole: the hours of a day differ more than a day differs from the next.
        """
        with self._lock:
            if self._waiting:
                self._look()
            now = self._clock()
            totals = {span: recent.total(now) for span, recent in self._recent.items()}
            if not self._recent["1d"].is_whole(now):
                del totals["1d"]
        found = [
            Drifted(name, span, self._psi(place, name, total))
            for span, total in totals.items()
            for place, name in enumerate(self._columns)
            if name not in _WEEKLY and (span == "1d" or name not in _DAILY)
        ]
        return [each for each in found if np.isfinite(each.psi)]

    def _psi(self, place: int, name: str, total: npt.NDArray[np.float64]) -> float:
        column, observed = self._columns[name], total[self._bounds[place] : self._bounds[place + 1]]
        shares = observed / max(observed.sum(), 1.0)
        return psi(np.array(column.shares), column.events, shares, int(total[-1]))

    def _look(self) -> None:
        """Count what waits, as of now: it has not waited for long where there is anything to count."""
        waiting, self._waiting, self._waiting_events = self._waiting, [], 0
        windows = Windows(
            np.concatenate([each.windows.records for each in waiting]),
            np.concatenate([each.windows.lengths for each in waiting]),
        )
        features = step_features(windows, self._spec.features, self._spec.zone)
        contexts = [each.context for each in waiting if each.context is not None]
        columns = columns_of(features, windows.lengths, np.concatenate(contexts) if contexts else None)
        probabilities = np.concatenate([each.probabilities for each in waiting])
        weights = np.repeat([each.weight for each in waiting], [len(each.windows) for each in waiting])
        counts = [
            bin_counts(values, weights, edges)
            for values, edges in zip([*columns.T, probabilities], self._edges, strict=True)
        ]
        seen, now = np.concatenate([*counts, [len(windows)]]), self._clock()
        for recent in self._recent.values():
            recent.add(seen, now)
