"""The report of the long form adds up what its parts have written down."""

import json
from pathlib import Path

import pytest

from tests.chaos.ledger import LEDGER, held, note, read
from tests.chaos.report import as_markdown
from tests.oracle import Verdict

MEMORY = {
    "events": 7_200_000,
    "seconds": 130,
    "warm": {"events": 600_000, "resident_kb": 150_000, "descriptors": 27, "threads": 20},
    "most": {"events": 7_200_000, "resident_kb": 151_000, "descriptors": 27, "threads": 21},
}


def test_faults_kills_and_verdicts_are_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = tmp_path / "ledger.jsonl"
    monkeypatch.setenv(LEDGER, str(ledger))
    note("kill -9 of a scorer", 2)
    note("kill -9 of a scorer at a stage boundary")
    note("FLUSHALL", 12)
    held(Verdict(3_000), "one")
    with pytest.raises(AssertionError, match="missing=4"):
        held(Verdict(500, missing=4, dead_doubled=1), "two")

    report = as_markdown(7, 90.0, *read(ledger), ["tests"], json.dumps(MEMORY)).splitlines()

    assert "| 15 | 3 | 3,500 | 4 | 1 | 0 | 0 | 0 |" in report
    assert "Did not end well: tests." in report
    assert "| two | 500 | 4 | 1 | 0 | 0 | 0 |" in report
    assert "| at most after that | 7,200,000 | 151,000 | 27 | 21 |" in report


def test_without_a_ledger_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LEDGER, raising=False)
    note("FLUSHALL")
    assert read(tmp_path / "ledger.jsonl") == ([], [])
