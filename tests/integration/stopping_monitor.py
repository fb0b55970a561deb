"""``tenfold monitor`` that kills or stops itself: ``python -m`` this module, POINT, N, SIGNAL and its options.

Production code has no hooks for this; the functions at the boundary are wrapped here, before the monitor starts.
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from stream import cli
from tests.lost_consumers import LostConsumer, UnheardConsumer
from training import monitor_command, monitor_publish
from training.monitor_state import State

Die = Callable[[], None]


def before_append(die: Die) -> None:
    """Records are in memory, and not in the state."""
    _wrap(State, "append", before=die)


def appended(die: Die) -> None:
    """The state has moved, and nobody knows."""
    _wrap(State, "append", after=die)


def before_writing(die: Die) -> None:
    """A day is judged, and the table has not got it."""
    _wrap(monitor_publish, "write_day", before=die)


def written(die: Die) -> None:
    """The table has a day of which the state does not know."""
    _wrap(monitor_publish, "write_day", after=die)


def published(die: Die) -> None:
    """A day is done."""
    _wrap(State, "publish", after=die)


def lose_consumer(die: Die) -> None:  # noqa: ARG001 -- nobody dies of it
    """The first consumer has no broker any more."""
    monitor_command.Consumer = LostConsumer


def leave_unheard(die: Die) -> None:  # noqa: ARG001 -- nobody dies of it
    """The first consumer has neither brokers nor partitions any more, of which no error tells."""
    monitor_command.Consumer = UnheardConsumer


def _wrap(owner: Any, name: str, before: Die = lambda: None, after: Die = lambda: None) -> None:
    wrapped = getattr(owner, name)

    def wrapping(*args: Any) -> Any:
        before()
        done = wrapped(*args)
        after()
        return done

    setattr(owner, name, wrapping)


POINTS: dict[str, Callable[[Die], None]] = {
    point.__name__.replace("_", "-"): point
    for point in (
        before_append,
        appended,
        before_writing,
        written,
        published,
        lose_consumer,
        leave_unheard,
    )
}


def main() -> None:
    """Run ``tenfold monitor`` until it comes to the point for the N-th time."""
    _, point, times, with_signal, *arguments = sys.argv
    count = itertools.count(1)

    def die() -> None:
        if next(count) == int(times):
            os.kill(os.getpid(), signal.Signals[with_signal])

    POINTS[point](die)
    sys.argv = ["tenfold", "monitor", *arguments]
    cli.main()


if __name__ == "__main__":
    main()
