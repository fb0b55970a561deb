"""``make bench``: one report of everything, measured in one run on one machine, as Markdown and as JSON."""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import beside_peers, end_to_end, footprint, growth, jobs, latencies, stages
from benchmarks.machine import described
from benchmarks.section import FULL, QUICK, Size, Table

#: By the name that ``--only`` takes: what the section is called, and what measures it.
SECTIONS: dict[str, tuple[str, Callable[[Size], list[Table]]]] = {
    "end-to-end": ("1. End to end", end_to_end.measure),
    "peers": ("1. End to end, beside others", beside_peers.measure),
    "latency": ("2. Latency", latencies.measure),
    "stages": ("3. Where the time goes", stages.measure),
    "growth": ("4. Growth", growth.measure),
    "jobs": ("5. Beside scoring", jobs.measure),
    "footprint": ("6. Start, memory, size", footprint.measure),
}


def measure_all(
    sections: Mapping[str, tuple[str, Callable[[Size], list[Table]]]], size: Size, clock: Callable[[], float]
) -> Iterator[dict[str, Any]]:
    """Measure section after section, for JSON; what one failed of stands in its place."""
    for name, (title, measure) in sections.items():
        begun = clock()
        result: dict[str, Any] = {"section": name, "title": title, "tables": []}
        try:
            result["tables"] = [table._asdict() for table in measure(size)]
        except Exception:  # noqa: BLE001 - the other sections are worth having, and the exit code tells
            result["failed"] = traceback.format_exc()
            print(result["failed"], file=sys.stderr)
        result["seconds"] = round(clock() - begun)
        yield result


def markdown(conditions: Mapping[str, Any], sections: Sequence[Mapping[str, Any]]) -> str:
    """Return the report as a page."""
    lines = ["# Benchmark report", ""]
    facts = {**conditions["machine"], **conditions["versions"], "commit": conditions["commit"]}
    lines += _table([{"": name.replace("_", " "), "measured on": str(value)} for name, value in facts.items()])
    for section in sections:
        lines += [f"## {section['title']}", ""]
        for table in section["tables"]:
            lines += [f"### {table['title']}", "", *_table(table["rows"])]
            lines += [table["note"], ""] if table["note"] else []
        if "failed" in section:
            lines += ["It failed:", "", "```text", section["failed"].rstrip(), "```", ""]
    return "\n".join(lines)


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    columns = list(rows[0])
    numbers = {column for column in columns if all(isinstance(row[column], int | float) for row in rows)}
    rule = "|".join("--:" if column in numbers else "---" for column in columns)
    body = [f"| {' | '.join(_cell(row[column]) for column in columns)} |" for row in rows]
    return [f"| {' | '.join(columns)} |", f"|{rule}|", *body, ""]


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value).replace("|", "\\|")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the report, and return 1 if a section failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--quick", action="store_true", help="see whether everything runs; the figures say little")
    parser.add_argument("--report", type=Path, default=Path("bench-report"), help="its path without .md and .json")
    given = parser.parse_args(arguments)
    conditions = described()
    chosen = {name: SECTIONS[name] for name in SECTIONS if name in given.only}
    sections: list[dict[str, Any]] = []
    for section in measure_all(chosen, QUICK if given.quick else FULL, time.monotonic):
        sections.append(section)
        # After each: whoever stops it after half an hour keeps what has been measured.
        result = {**conditions, "quick": given.quick, "sections": sections}
        given.report.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        given.report.with_suffix(".md").write_text(markdown(conditions, sections), encoding="utf-8")
    print(markdown(conditions, sections))
    return int(any("failed" in section for section in sections))
