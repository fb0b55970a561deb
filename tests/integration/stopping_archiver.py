"""``tenfold archive run`` that kills or stops itself: ``python -m`` this module, POINT, N, SIGNAL and its options.

Production code has no hooks for this; the functions at the boundary are wrapped here, before the archiver starts.
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from stream import cli
from tests.lost_consumers import LostConsumer, UnheardConsumer
from training import archive_command, archive_kafka, archiver

Die = Callable[[], None]


def before_writing(die: Die) -> None:
    """Records are in memory, and there is no file yet."""
    write_rows = archiver.write_rows

    def write(*args: Any) -> Any:
        die()
        return write_rows(*args)

    archiver.write_rows = write


def half_written(die: Die) -> None:
    """There is a file without its end."""

    class Writer(pq.ParquetWriter):
        def close(self) -> None:
            die()
            super().close()

    pq.ParquetWriter = Writer


def written(die: Die) -> None:
    """The file is whole, and not in place."""
    replace = Path.replace

    def late(self: Path, target: Path) -> Path:
        die()
        return replace(self, target)

    Path.replace = late  # type: ignore[method-assign]


def in_place(die: Die) -> None:
    """A file is in place; there may be more of the same partition to come."""
    write_rows = archiver.write_rows

    def write(*args: Any) -> Any:
        done = write_rows(*args)
        die()
        return done

    archiver.write_rows = write


def before_commit(die: Die) -> None:
    """All files are in place, and nothing is committed."""
    commit = archiver.commit

    def late(*args: Any) -> None:
        die()
        commit(*args)

    archiver.commit = late


def committed(die: Die) -> None:
    """Files are in place and committed."""
    commit = archive_kafka.commit

    def then_die(*args: Any) -> None:
        commit(*args)
        die()

    archiver.commit = then_die


def lose_consumer(die: Die) -> None:  # noqa: ARG001 -- nobody dies of it
    """The first consumer has no broker any more."""
    archive_command.Consumer = LostConsumer


def leave_unheard(die: Die) -> None:  # noqa: ARG001 -- nobody dies of it
    """The first consumer has neither brokers nor partitions any more, of which no error tells."""
    archive_command.Consumer = UnheardConsumer


POINTS: dict[str, Callable[[Die], None]] = {
    point.__name__.replace("_", "-"): point
    for point in (
        before_writing,
        half_written,
        written,
        in_place,
        before_commit,
        committed,
        lose_consumer,
        leave_unheard,
    )
}


def main() -> None:
    """Run ``tenfold archive run`` until it comes to the point for the N-th time."""
    _, point, times, with_signal, *arguments = sys.argv
    count = itertools.count(1)

    def die() -> None:
        if next(count) == int(times):
            os.kill(os.getpid(), signal.Signals[with_signal])

    POINTS[point](die)
    sys.argv = ["tenfold", "archive", "run", *arguments]
    cli.main()


if __name__ == "__main__":
    main()
