"""When to give up: failures that do not end for as long as the settings allow. Pure but for the clock handed in."""

from collections.abc import Callable

from stream.errors import TenfoldError

_QUIET_S = 60.0  # failures further apart than this are not one outage


class OutageError(TenfoldError):
    """Kafka or Redis did not come back within ``TENFOLD_OUTAGE_LIMIT_S``."""


class Outage:
    """The run of failures since something last worked."""

    def __init__(self, limit_s: float, clock: Callable[[], float]) -> None:
        self.limit_s, self._clock = limit_s, clock
        self._first = self._last = float("-inf")

    def failed(self, error: Exception) -> None:
        """Count a failure.

        Raises:
            OutageError: failures have gone on for longer than the limit.
        """
        now = self._clock()
        if now - self._last > _QUIET_S:
            self._first = now
        self._last = now
        if now - self._first > self.limit_s:
            raise OutageError(f"gave up after {self.limit_s:g} s (TENFOLD_OUTAGE_LIMIT_S): {error}") from error

    def over(self) -> None:
        """Say that something worked."""
        self._last = float("-inf")
