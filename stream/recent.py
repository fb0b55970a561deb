"""Sums over the last hour, or the last day: a ring of buckets of time, the clock handed in."""

import numpy as np
import numpy.typing as npt


class Recent:
    """Sums of vectors over the last ``span_s`` seconds, and up to one bucket more: the oldest one leaves whole."""

    def __init__(self, width: int, span_s: float, buckets: int, now: float) -> None:
        """Sum vectors of ``width`` in so many ``buckets`` a span, from ``now`` on, in seconds of any clock."""
        self._bucket_s, self._begun, self._span_s = span_s / buckets, now, span_s
        self._sums = np.zeros((buckets + 1, width))
        self._newest = self._number(now)

    def add(self, vector: npt.NDArray[np.floating], now: float) -> None:
        """Add ``[width]`` to the bucket of ``now``."""
        self._turn(now)
        self._sums[self._newest % len(self._sums)] += vector

    def total(self, now: float) -> npt.NDArray[np.float64]:
        """Return the sum, ``float64 [width]``."""
        self._turn(now)
        total: npt.NDArray[np.float64] = self._sums.sum(axis=0)
        return total

    def is_whole(self, now: float) -> bool:
        """Whether the span has passed since the beginning."""
        return now - self._begun >= self._span_s

    def _turn(self, now: float) -> None:
        number = self._number(now)
        gone = range(self._newest + 1, number + 1)[-len(self._sums) :]
        self._sums[[each % len(self._sums) for each in gone]] = 0
        self._newest = max(number, self._newest)

    def _number(self, now: float) -> int:
        return int(now // self._bucket_s)
