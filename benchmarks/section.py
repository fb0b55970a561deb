"""What the report is made of: sections measure tables, of a size that somebody has time for."""

from dataclasses import dataclass
from typing import NamedTuple

Row = dict[str, str | int | float]


class Table(NamedTuple):
    """Figures; every row has the same columns."""

    title: str
    rows: list[Row]
    note: str = ""  # what has to be known to read them


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    events: int  # in a backlog
    rounds: int  # of which the median counts
    rates: tuple[int, ...]  # events/s, for latency
    latency_s: float  # at each rate
    users: tuple[int, ...]  # whose windows are in Redis
    partitions: tuple[int, ...]
    archived: int  # events in an archive


FULL = Size(
    events=150_000,
    rounds=3,
    rates=(200, 1_000, 5_000, 10_000),
    latency_s=20,
    users=(10_000, 1_000_000, 10_000_000),
    partitions=(1, 4, 16, 64),
    archived=2_000_000,
)

#: To see whether everything runs. Its figures say little: much of what is measured is start-up.
QUICK = Size(
    events=12_000,
    rounds=1,
    rates=(200,),
    latency_s=8,
    users=(1_000, 10_000),
    partitions=(1, 4),
    archived=100_000,
)
