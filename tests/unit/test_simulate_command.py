"""The stream that goes to Kafka."""

from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream.cli import app
from stream.errors import UsageError
from training.simulate_command import in_order_of_time
from training.simulator import simulate, simulate_days


def test_payments_and_verdicts_come_in_order_of_time_and_none_before_its_payment() -> None:
    records = list(in_order_of_time(simulate_days(60, 40, 2)))
    whole = simulate(60, 40, 2)

    assert all(one.at_ms <= other.at_ms for one, other in pairwise(records))
    assert sum(not record.is_label for record in records) == len(whole)
    assert sum(record.is_fraud for record in records) == whole.is_fraud.sum()
    last_ms = whole.events["created_at_ms"].max()
    landed = (whole.events["labelled_at_ms"] > 0) & (whole.events["labelled_at_ms"] <= last_ms)
    assert sum(record.is_label for record in records) == landed.sum() > 0


@pytest.mark.parametrize("option", [["--backdate"], ["--rate", "5"]])
def test_what_is_for_kafka_is_refused_for_files(option: list[str], tmp_path: Path) -> None:
    words = ["simulate", "--users", "1", "--days", "1", "--to", str(tmp_path / "data")]
    ran = CliRunner().invoke(app, [*words, *option])
    assert isinstance(ran.exception, UsageError)
    assert "for --to kafka" in str(ran.exception)
    assert not list(tmp_path.iterdir())
