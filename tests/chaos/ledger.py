"""What chaos tests did and what the oracle said, written down as it happens, for one report over all of them.

``python -m tests.chaos`` names the file in :data:`LEDGER`; without it nothing is written down.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

from tests.oracle import Verdict

LEDGER = "TENFOLD_TEST_CHAOS_LEDGER"
SCALE = "TENFOLD_TEST_CHAOS_SCALE"


class Fault(NamedTuple):
    """Something was broken ``times`` times."""

    fault: str
    times: int


class Judged(NamedTuple):
    """What the oracle found in one run; all but the first two are zero where all is right."""

    run: str
    events: int
    lost: int
    doubled: int
    different: int
    unexpected: int
    wrong_windows: int

    @property
    def right(self) -> bool:
        """Whether nothing was found."""
        return not any(self[2:])

    @classmethod
    def of(cls, run: str, verdict: Verdict) -> "Judged":
        """Return a verdict in brief."""
        return cls(
            run,
            verdict.events,
            verdict.missing + verdict.dead_missing,
            verdict.doubled + verdict.dead_doubled,
            verdict.different,
            verdict.unexpected + verdict.dead_unexpected,
            verdict.wrong_windows,
        )


def note(fault: str, times: int = 1) -> None:
    """Write down that something was broken."""
    _write(Fault(fault, times))


def held(verdict: Verdict, run: str = "") -> Verdict:
    """Write a verdict down, and return it; ``run`` is the test that runs if it is not given.

    Raises:
        AssertionError: the verdict is not right.
    """
    _write(Judged.of(run or os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0], verdict))
    assert verdict.right, verdict
    return verdict


def read(ledger: Path) -> tuple[list[Fault], list[Judged]]:
    """Return what a ledger holds."""
    lines = [json.loads(line) for line in ledger.read_text().splitlines()] if ledger.exists() else []
    return [Fault(**line) for line in lines if "fault" in line], [Judged(**line) for line in lines if "run" in line]


def scaled(full: int) -> int:
    """Return how much of something the long form has: ``full``, or the share that :data:`SCALE` says."""
    return max(1, round(full * float(os.environ.get(SCALE, "1"))))


def _write(entry: Fault | Judged) -> None:
    ledger = os.environ.get(LEDGER)
    if ledger:
        with Path(ledger).open("a") as lines:
            lines.write(json.dumps(entry._asdict()) + "\n")
