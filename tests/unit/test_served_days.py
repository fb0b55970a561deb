"""The days of archived scores: which of several counts, and when a score says nothing."""

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="needs the archive extra")
pytest.importorskip("duckdb", reason="needs the archive extra")

from models.context import NO_DAY, day_date  # noqa: E402
from tests.profile_archives import SCORES, TOPICS, archive_scores  # noqa: E402
from tests.profile_reference import Payment  # noqa: E402
from training.archive import ArchiveError, open_archive  # noqa: E402
from training.served_days import open_served_days  # noqa: E402

DAY, OTHER = date(2026, 3, 1), date(2026, 3, 2)
NOON_MS = round(datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp() * 1000)

PAYMENTS = [Payment(offset, f"t{offset}", "u", "m", 1.0, NOON_MS, NOON_MS + offset) for offset in range(4)]
ROWS = {
    "topic_id": ["T1"] * 4,
    "partition": pa.array([0] * 4, pa.int32()),
    "offset": [0, 1, 2, 3],
    "transaction_id": [payment.transaction for payment in PAYMENTS],
}

Scores = list[tuple[Payment, date | None]]


def days(directory: Path, scored: dict[str, Scores], version: str | None = None, **changes: object) -> list[object]:
    """Archive scores, version by version, and return the day of each payment, "unknown" where no score says it."""
    archive = open_archive(str(directory))
    for model_version, scores in scored.items():
        archive_scores(archive, scores, model_version)
    with open_served_days(archive, TOPICS.transactions, SCORES, model_version=version) as served:
        found = served.of_events(pa.table(ROWS | changes))
    pairs = zip(found.known.tolist(), found.days.tolist(), strict=True)
    return [(None if day == NO_DAY else day_date(day)) if known else "unknown" for known, day in pairs]


def test_a_day_is_that_of_the_records_score(tmp_path: Path) -> None:
    scores: Scores = [(PAYMENTS[0], DAY), (PAYMENTS[2], OTHER)]
    assert days(tmp_path, {"v1": scores}) == [DAY, "unknown", OTHER, "unknown"]


def test_no_day_means_no_table_if_the_model_reads_profiles_and_nothing_if_it_does_not(tmp_path: Path) -> None:
    reads: Scores = [(PAYMENTS[0], DAY), (PAYMENTS[1], None)]
    assert days(tmp_path, {"reads": reads, "blind": [(PAYMENTS[2], None)]}) == [DAY, None, "unknown", "unknown"]


def test_no_day_of_the_model_asked_for_means_no_table(tmp_path: Path) -> None:
    assert days(tmp_path, {"v1": [(PAYMENTS[0], None)]}, "v1") == [None, "unknown", "unknown", "unknown"]


def test_of_several_scores_that_of_the_model_asked_for_counts_else_the_first(tmp_path: Path) -> None:
    scored: dict[str, Scores] = {"v1": [(PAYMENTS[0], DAY)], "v2": [(PAYMENTS[0], OTHER)]}
    (tmp_path / "a").mkdir()
    assert days(tmp_path / "a", scored)[0] == DAY
    assert days(tmp_path / "b", scored, "v2")[0] == OTHER


def test_a_record_of_another_topic_under_the_same_offset_is_another_record(tmp_path: Path) -> None:
    scores: Scores = [(payment, DAY) for payment in PAYMENTS]
    assert days(tmp_path / "a", {"v1": scores}, transaction_id=["t0", "x", "x", "x"])[1:] == ["unknown"] * 3
    assert days(tmp_path / "b", {"v1": scores}, topic_id=["import"] * 4) == ["unknown"] * 4


def test_the_earliest_day_is_told_and_an_archive_without_scores_has_none(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    with open_served_days(archive, TOPICS.transactions, SCORES) as served:
        assert served.earliest() is None
        assert not served.of_events(pa.table(ROWS)).known.any()
    archive_scores(archive, [(PAYMENTS[0], OTHER), (PAYMENTS[1], DAY)], "v1")
    with open_served_days(archive, TOPICS.transactions, SCORES) as served:
        assert day_date(served.earliest() or 0) == DAY


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    archive_scores(archive, [(PAYMENTS[0], DAY)], "v1")
    [damaged] = tmp_path.glob("fraud-scores/*/*.parquet")
    damaged.write_bytes(b"PAR1 and then nothing")
    with (
        pytest.raises(ArchiveError, match=damaged.name.replace("+", r"\+")),
        open_served_days(archive, TOPICS.transactions, SCORES),
    ):
        pass


def test_days_of_many_events_are_found_in_any_order(tmp_path: Path) -> None:
    scores: Scores = [(payment, day_date(20_000 + payment.offset)) for payment in PAYMENTS]
    archive = open_archive(str(tmp_path))
    archive_scores(archive, scores, "v1")
    order = np.random.default_rng(1).integers(0, 4, 300)
    with open_served_days(archive, TOPICS.transactions, SCORES) as served:
        found = served.of_events(pa.table(ROWS).take(order))
    assert (found.days == 20_000 + order).all()
