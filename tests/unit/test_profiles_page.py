"""The page on profiles has what the code has."""

import re
from pathlib import Path

import pytest

from models.context import KEPT_DAYS, VALUES, WINDOWS_DAYS
from stream.profile_layout import BUCKETS
from tests.metric_rows import metric_rows, rows_in

pytest.importorskip("duckdb")

from training.profiles import PRIOR_STRENGTH
from training.profiles_metrics import ProfileMetrics

PAGE = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text()


def test_it_lists_each_metric() -> None:
    assert rows_in(PAGE) == metric_rows(ProfileMetrics)


def test_it_lists_each_value() -> None:
    names = re.findall(r"^\| `(\w+)_Wd`", PAGE, re.MULTILINE)
    assert [f"{name}_{days}d" for name in names for days in WINDOWS_DAYS] == list(VALUES)


def test_its_numbers_are_the_codes() -> None:
    assert f"(frauds + {PRIOR_STRENGTH} · base rate) / (transactions + {PRIOR_STRENGTH})" in PAGE
    assert f"spread over {BUCKETS} hash tags" in PAGE
    assert f"Tables of the last {KEPT_DAYS} days\nstay" in PAGE
