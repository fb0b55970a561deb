"""How far long work has come: log lines, one every few seconds, or a number that whoever asked for it is told."""

import logging
import time
from collections.abc import Callable

EVERY_S = 5.0


class Progress:
    """Counts records, and logs ``what`` with their number and rate, and with ``about`` and what comes with a count."""

    def __init__(
        self, log: logging.Logger, what: str, clock: Callable[[], float] = time.monotonic, **about: object
    ) -> None:
        self._log, self._what, self._about, self._clock = log, what, about, clock
        self._begun = self._said = clock()
        self.count = 0

    def add(self, count: int, **where: object) -> None:
        """Count ``count`` more records."""
        self.count += count
        now = self._clock()
        if now - self._said >= EVERY_S:
            self._said = now
            rate = round(self.count / (now - self._begun))
            self._log.info(self._what, extra={**self._about, **where, "records": self.count, "records_per_s": rate})


#: Is told how many more are done, of whatever is counted.
Counted = Callable[[int], None]


def nobody(_more: int) -> None:
    """Be told how many more are done where nobody watches."""


def now_and_then(tell: Callable[[int], None], clock: Callable[[], float] = time.monotonic) -> Counted:
    """Return what counts, and has ``tell`` told every few seconds how many are done by now."""
    done, said_at = 0, clock()

    def count(more: int) -> None:
        nonlocal done, said_at
        done += more
        now = clock()
        if now - said_at >= EVERY_S:
            said_at = now
            tell(done)

    return count
