"""A payment's story out of the archive: which score answers it, whatever the clocks of brokers and scorers say."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("duckdb", reason="needs the archive extra")

import pyarrow as pa

from stream.progress import nobody
from stream.settings import load
from tests.archives import put
from training.archive import SCHEMAS, Archive, Kind, open_archive
from training.explain_archive import told_from_archive

ARRIVED = datetime(2026, 1, 31, 12, tzinfo=UTC)


def put_payment(
    archive: Archive, topic_id: str, arrived: datetime, amount: float, kafka_timestamp: datetime | None = None
) -> None:
    row = {
        "topic_id": topic_id,
        "partition": 0,
        "offset": 7,
        "kafka_timestamp": kafka_timestamp or arrived,
        "key": "anna",
        "transaction_id": "t-1",
        "user_id": "anna",
        "amount": amount,
        "created_at": arrived,
        "is_vpn": False,
    }
    put(archive, pa.Table.from_pylist([row], SCHEMAS[Kind.TRANSACTIONS]))


def put_score(archive: Archive, offset: int, scored_at: datetime, probability: float) -> None:
    row = {
        "topic_id": "S1",
        "partition": 0,
        "offset": offset,
        "kafka_timestamp": scored_at,
        "key": "anna",
        "transaction_id": "t-1",
        "user_id": "anna",
        "created_at": scored_at,
        "fraud_probability": probability,
        "lstm_score": int(100 * probability),
        "sequence_anomaly": False,
        "insufficient_history": True,
        "window_length": 1,
        "model_version": "starter-default",
        "scored_at": scored_at,
        "source_topic": "transactions",
        "source_partition": 0,
        "source_offset": 7,
    }
    put(archive, pa.Table.from_pylist([row], SCHEMAS[Kind.SCORES]), "fraud-scores")


def told(archive: Archive) -> list[tuple[float, float | None]]:
    """Return the amount of each message of the transaction, and the probability that was published of it."""
    settings = load(input_topic="transactions", output_topic="fraud-scores")
    stories: list[dict[str, Any]] = list(told_from_archive(archive, settings, "t-1", nobody))
    return [(story["amount"], (story["published"] or {}).get("fraud_probability")) for story in stories]


@pytest.mark.parametrize("ahead_s", [-3600, 0, 3600])
def test_a_score_is_found_by_the_place_that_it_answers_whatever_the_scorers_clock_says(
    tmp_path: Path, ahead_s: int
) -> None:
    archive = open_archive(str(tmp_path / "archive"))
    put_payment(archive, "T1", ARRIVED, 5.0)
    put_score(archive, 0, ARRIVED + timedelta(seconds=ahead_s), 0.25)

    assert told(archive) == [(5.0, 0.25)]


def test_of_a_topic_made_anew_each_payment_at_the_same_offset_has_its_own_score(tmp_path: Path) -> None:
    """The scorer's clock is an hour behind the broker's; the topic was made anew after five."""
    archive, anew = open_archive(str(tmp_path / "archive")), ARRIVED + timedelta(hours=5)
    behind = timedelta(hours=-1)
    put_payment(archive, "T1", ARRIVED, 5.0)
    put_payment(archive, "T2", anew, 6.0)
    put_score(archive, 0, ARRIVED + behind, 0.25)
    put_score(archive, 1, ARRIVED + behind + timedelta(minutes=1), 0.375)  # once more: of several the last counts

    assert told(archive) == [(5.0, 0.375), (6.0, None)]

    put_score(archive, 2, anew + timedelta(seconds=1), 0.5)
    assert told(archive) == [(5.0, 0.375), (6.0, 0.5)]


def test_a_payment_of_the_last_day_of_the_calendar_is_told(tmp_path: Path) -> None:
    """There the archive has what was sent with a Kafka timestamp in microseconds."""
    archive = open_archive(str(tmp_path / "archive"))
    put_payment(archive, "T1", ARRIVED, 5.0, kafka_timestamp=datetime(9999, 12, 31, 23, 59, 59, 999000, UTC))
    put_score(archive, 0, ARRIVED, 0.25)

    assert told(archive) == [(5.0, 0.25)]
