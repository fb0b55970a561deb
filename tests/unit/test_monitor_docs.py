"""What the page on live quality lists is what the monitor has."""

import re
from pathlib import Path

import pytest

pytest.importorskip("duckdb", reason="needs the archive extra")


from stream.errors import TenfoldError
from tests.metric_rows import metric_rows, rows_in
from training.monitor_command import label_delays_of
from training.monitor_metrics import MonitorMetrics
from training.monitor_publish import kept_days
from training.monitor_records import LABEL, PAYMENT, SCORE
from training.monitor_table import SCHEMA

PAGE = (Path(__file__).parents[2] / "docs" / "live-quality.md").read_text()


def test_the_page_has_each_metric() -> None:
    assert rows_in(PAGE) == metric_rows(MonitorMetrics)


def test_the_page_has_each_column_in_order() -> None:
    columns = PAGE.partition("Columns: ")[2].partition("What cannot be measured")[0]

    assert re.findall(r"`([a-z_0-9]+)`", columns) == SCHEMA.names


def test_the_page_says_what_redis_has_to_hold() -> None:
    assert f"takes {SCORE.itemsize + PAYMENT.itemsize} bytes ({SCORE.itemsize} of its score, {PAYMENT.itemsize}" in PAGE
    assert f"a label {LABEL.itemsize}" in PAGE
    assert f"15 days, {kept_days([1, 3, 7])} by default" in PAGE


@pytest.mark.parametrize("text", ["", "0", "1,", "-1", "a week", "1,366", "²"])
def test_delays_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(TenfoldError, match="--label-delays"):
        label_delays_of(text)


def test_delays_are_taken_once_and_in_order() -> None:
    assert label_delays_of("7,1,7") == [1, 7]
