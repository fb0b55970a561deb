"""The page on profiles has what the code has."""

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from models.context import KEPT_DAYS, VALUES, WINDOWS_DAYS
from stream.profile_layout import BUCKETS

pytest.importorskip("duckdb")

from training.profiles import PRIOR_STRENGTH
from training.profiles_metrics import ProfileMetrics

PAGE = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text()


def test_it_lists_each_metric() -> None:
    registry = CollectorRegistry()
    metrics = ProfileMetrics(registry)
    labels = {collector._name: collector._labelnames for collector in vars(metrics).values()}
    expected = [
        f"| `{family.name}{'_total' if family.type == 'counter' else ''}` | {family.type} "
        f"| {', '.join(f'`{label}`' for label in labels[family.name])} | {family.documentation} |"
        for family in registry.collect()
    ]
    assert [line for line in PAGE.splitlines() if line.startswith("| `tenfold_")] == expected


def test_it_lists_each_value() -> None:
    names = re.findall(r"^\| `(\w+)_Wd`", PAGE, re.MULTILINE)
    assert [f"{name}_{days}d" for name in names for days in WINDOWS_DAYS] == list(VALUES)


def test_its_numbers_are_the_codes() -> None:
    assert f"(frauds + {PRIOR_STRENGTH} · base rate) / (transactions + {PRIOR_STRENGTH})" in PAGE
    assert f"spread over {BUCKETS} hash tags" in PAGE
    assert f"Tables of the last {KEPT_DAYS} days\nstay" in PAGE
