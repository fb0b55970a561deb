"""What the gate decided, and by what: lines of ``decisions.jsonl``, beside the history of a store's switches."""

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from models.durable import append_line
from models.switches import read_lines

DECISIONS = "decisions.jsonl"

Finding = Literal["better", "not worse", "cannot tell", "worse"]

#: The bundle was made champion unless it was refused, or is not better where only a better one was wanted.
Outcome = Literal["passed", "refused", "not better", "forced", "no champion"]


class Measured(BaseModel):
    """One measure of two models on the same payments. A gain below 0 is a loss, whichever way the measure points."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    champion: float
    challenger: float
    gain: float  # by how much the challenger is better
    low: float | None  # ends of the gain's interval; None where there is too little to draw from
    high: float | None
    margin: float  # so much may be lost
    finding: Finding


class Comparison(BaseModel):
    """Two models on the same held-out days, and how the intervals were made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first_day: date  # of the payments, UTC
    last_day: date
    payments: int
    frauds: int
    defrauded_cards: int
    level: float  # of the intervals
    resamples: int
    seed: int
    measures: dict[str, Measured]
    notes: tuple[str, ...]  # what a reader should know of the days

    @property
    def passed(self) -> bool:
        """Whether the challenger is not worse in anything: what cannot be told is not enough."""
        return all(each.finding in {"better", "not worse"} for each in self.measures.values())

    @property
    def better(self) -> bool:
        """Whether it is not worse in anything, and ranks better for certain."""
        return self.passed and self.measures["average_precision"].finding == "better"


class Decision(BaseModel):
    """Whether a bundle may become champion; a line of ``decisions.jsonl``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: AwareDatetime
    challenger: str
    champion: str | None  # that it was compared with, or replaced uncompared; None where there was none
    outcome: Outcome
    reason: str  # as given by whoever asked
    comparison: Comparison | None  # None where it was forced, or there was no champion


def keep_decision(store: Path, decision: Decision) -> None:
    """Append ``decision``, to stay."""
    append_line(store / DECISIONS, decision.model_dump_json())


def read_decisions(store: Path) -> tuple[list[Decision], bool]:
    """Return the decisions, oldest first, and whether a crash left part of one more, upon which nothing was switched.

    Raises:
        models.switches.HistoryError: a line cannot be read; the message has its number.
    """
    return read_lines(store / DECISIONS, Decision)
