"""What of the benchmarks is arithmetic."""

import json

import numpy as np
import pytest

from benchmarks.arithmetic import operations
from benchmarks.beside_peers import ratios
from benchmarks.harness import rate
from benchmarks.report import markdown, measure_all
from benchmarks.section import QUICK, Size, Table
from benchmarks.short import RECORDED, judge
from models.bundle import ONNX, starter


@pytest.mark.parametrize(
    ("ratio", "fails", "said"),
    [(0.80, False, "as it was"), (0.61, False, "as it was"), (0.59, False, "a fall of 26%"), (0.39, True, "half")],
)
def test_a_ratio_is_held_against_the_recorded_one(ratio: float, fails: bool, said: str) -> None:
    verdict = judge(ratio, recorded=0.8)
    assert verdict.fails is fails
    assert said in verdict.text


def test_the_recorded_ratio_says_where_it_was_measured() -> None:
    recorded = json.loads(RECORDED.read_text())
    assert 0 < recorded["ratio"] <= 1
    assert {"machine", "versions", "commit"} <= recorded["conditions"].keys()


def test_the_rate_leaves_out_the_start() -> None:
    slow_start = np.arange(100) * 100  # ten a second
    then = slow_start[-1] + 1 + np.arange(900)  # a thousand a second
    assert rate(np.concatenate([slow_start, then])) == pytest.approx(1000)


def test_a_section_that_fails_leaves_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(_: Size) -> list[Table]:
        raise RuntimeError("no broker")

    table = Table("Rates", [{"engine": "one|two", "events/s": 12_345.6}], "Measured.")
    found = list(measure_all({"a": ("A", fails), "b": ("B", lambda _: [table])}, QUICK, iter(range(4)).__next__))
    page = markdown({"machine": {"cores": 2}, "versions": {"kafka": "4"}, "commit": "abc"}, found)

    assert "RuntimeError: no broker" in page
    assert "RuntimeError: no broker" in capsys.readouterr().err
    assert "| engine | events/s |\n|---|--:|\n| one\\|two | 12,345.6 |" in page
    assert [("failed" in section, section["seconds"]) for section in found] == [(True, 1), (False, 1)]


def test_tenfold_is_compared_with_as_many_processes_and_at_its_best() -> None:
    def result(engine: str, processes: int, rate: float) -> dict[str, object]:
        measured = {"version": "1", "variant": "v", "events_per_s": rate, "cpu_us_per_event": 1.0}
        return {"engine": engine, "processes": processes, **measured}

    rounds = [("Tenfold", 1, 60.0), ("Tenfold", 2, 80.0), ("Other", 1, 10.0), ("Other", 1, 20.0), ("Other", 1, 12.0)]
    rows = ratios([result(*each) for each in [*rounds, ("Other", 2, 20.0), ("Other", 3, 5.0)]])

    assert [row["events/s"] for row in rows] == [60, 80, 12, 20, 5]
    assert [row["Tenfold is faster"] for row in rows] == [1, 1, 5, 4, 12]
    assert rows[2]["its best is"] == pytest.approx(6.67)


def test_the_arithmetic_of_a_model_is_that_of_its_layers() -> None:
    def lstm(inputs: int, units: int) -> int:
        return 10 * 4 * units * (inputs + units)

    by_hand = 2 * (lstm(4, 128) + lstm(128, 64) + 64 * 32 + 32)
    assert operations(starter("baseline") / ONNX, sequence_length=10) == by_hand
