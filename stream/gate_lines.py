"""What the gate decided, as lines for a person."""

from models.decisions import Comparison, Decision, Measured, Outcome
from stream.plurals import count_of

_OUTCOMES: dict[Outcome, str] = {
    "passed": "not worse than",
    "refused": "REFUSED against",
    "not better": "not better than",
    "forced": "forced, uncompared, in place of",
    "no champion": "nothing to compare with",
}


def decision_line(decision: Decision) -> str:
    """Return a decision as one line."""
    verdict = _OUTCOMES[decision.outcome] + (f" {decision.champion}" if decision.champion else "")
    return f"{decision.at:%Y-%m-%dT%H:%M:%SZ} gate: {decision.challenger}: {verdict} ({decision.reason})"


def decision_lines(decision: Decision) -> list[str]:
    """Return a decision, the days that it was made on, and a line for each measure."""
    lines = _comparison_lines(decision.comparison) if decision.comparison is not None else []
    return [decision_line(decision), *(f"  {line}" for line in lines)]


def _comparison_lines(comparison: Comparison) -> list[str]:
    days = f"on {comparison.first_day} to {comparison.last_day}, {count_of(comparison.payments, 'payment')}"
    cards = f"{count_of(comparison.frauds, 'fraud')} of {count_of(comparison.defrauded_cards, 'card')}"
    return [
        f"{days}, {cards}; intervals of {comparison.level:.0%}",
        *(_measure_line(name, each) for name, each in comparison.measures.items()),
        *(f"NOTE {note}" for note in comparison.notes),
    ]


def _measure_line(name: str, measured: Measured) -> str:
    interval = "too few frauds for an interval"
    if measured.low is not None and measured.high is not None:
        interval = f"{measured.low:+.4f} to {measured.high:+.4f}"
    return (
        f"{name.replace('_', ' '):26} {measured.champion:.4f} -> {measured.challenger:.4f}  gain {measured.gain:+.4f} "
        f"({interval}), {measured.margin:.4f} may be lost: {measured.finding}"
    )
