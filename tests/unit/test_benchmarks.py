"""What of the benchmarks is arithmetic."""

import json

import numpy as np
import pytest

from benchmarks.harness import rate
from benchmarks.short import RECORDED, judge


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
