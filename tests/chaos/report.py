"""One page on all that was broken and on what came of it."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence

from tests.chaos.ledger import Fault, Judged

KILL = "kill -9 of a scorer"

_MOMENTS = {"after a twelfth": "warm", "at most after that": "most"}
_FOUND = ("events", "lost", "doubled", "different", "not asked for", "wrong windows")


def as_markdown(
    seed: int, seconds: float, faults: Sequence[Fault], runs: Sequence[Judged], failed: Sequence[str], memory: str
) -> str:
    """Return the report.

    Args:
        seed: of the faults at random.
        seconds: that all of it took.
        faults: everything that was broken.
        runs: what the oracle found, run by run.
        failed: the parts of the long form that did not end well.
        memory: what :mod:`tests.chaos.memory` printed.
    """
    times: Counter[str] = Counter()
    for fault in faults:
        times[fault.fault] += fault.times
    kills = sum(count for fault, count in times.items() if fault.startswith(KILL))
    found = [sum(run[column] for run in runs) for column in range(1, 1 + len(_FOUND))]
    lines = [
        "# Chaos report",
        "",
        f"Seed {seed}, {seconds / 60:.0f} minutes.",
        "",
        *([f"Did not end well: {', '.join(failed)}.", ""] if failed else []),
        *_table(["faults", "of them `kill -9` of a scorer", *_FOUND], [[sum(times.values()), kills, *found]]),
        "",
        *_table(["fault", "times"], sorted(times.items())),
        "",
        *_table(["run", *_FOUND], runs),
        "",
        *_memory_table(memory),
    ]
    return "\n".join(lines) + "\n"


def _memory_table(memory: str) -> list[str]:
    if not memory:
        return []
    grown = json.loads(memory)
    names = list(grown["warm"])
    rows = [[when, *(grown[moment][name] for name in names)] for when, moment in _MOMENTS.items()]
    return _table([f"one scorer, {grown['events']:,} events in {grown['seconds']:,} s", *names], rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *cells]]
