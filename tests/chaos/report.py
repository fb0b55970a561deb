"""What the long form did and what the oracle said of it, for a person."""

from dataclasses import dataclass

from tests.oracle import Verdict


@dataclass(frozen=True)
class Report:
    """One run of the long form."""

    seed: int
    seconds: float
    rate: float
    faults: dict[str, int]
    verdict: Verdict

    def as_markdown(self) -> str:
        """Return the report as a page."""
        verdict = self.verdict
        lines = [
            "# Chaos report",
            "",
            f"Seed {self.seed}; {sum(self.faults.values())} faults in {self.seconds:.0f} s at {self.rate:g} events/s.",
            "",
            "| fault | times |",
            "|---|---|",
            *(f"| {fault} | {times} |" for fault, times in sorted(self.faults.items())),
            "",
            "| oracle | |",
            "|---|---|",
            f"| events | {verdict.events:,} |",
            f"| lost | {verdict.missing + verdict.dead_missing} |",
            f"| doubled | {verdict.doubled + verdict.dead_doubled} |",
            f"| different | {verdict.different} |",
            f"| not asked for | {verdict.unexpected + verdict.dead_unexpected} |",
            f"| wrong windows | {verdict.wrong_windows} |",
            "",
            *verdict.examples,
        ]
        return "\n".join(lines).rstrip() + "\n"
