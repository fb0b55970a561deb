"""Archives with something wrong in them: training and backtest go on and count it, or say what it is and where."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="needs the archive extra")
pytest.importorskip("duckdb", reason="needs the archive extra")

import pyarrow.parquet as pq  # noqa: E402

from models.bundle import load_bundle  # noqa: E402
from tests.bundles import make_bundle  # noqa: E402
from tests.profile_archives import SCORES, TOPICS, archive_past  # noqa: E402
from tests.profile_reference import Past, Payment, random_past  # noqa: E402
from tests.wanted import NOW_MS, WANTED  # noqa: E402
from training.archive import ArchiveError, open_archive  # noqa: E402
from training.archive_dataset import Made, dataset_of  # noqa: E402
from training.backtest import Backtested, Range, backtest  # noqa: E402
from training.dataset import Part  # noqa: E402

DAY_MS = 86_400_000
RANGE = Range(date(2026, 2, 22), date(2026, 4, 1))

Run = Callable[[Path], Made | Backtested]


@pytest.fixture(scope="module")
def past() -> Past:
    return random_past(1, "UTC", 7, date(2026, 2, 20), 45, 1500)


def trained_on(directory: Path) -> Made:
    """Return the dataset of the archive in ``directory``."""
    columns = directory / f"columns-{len(list(directory.glob('columns-*')))}"
    columns.mkdir()
    return dataset_of(open_archive(str(directory / "archive")), TOPICS, SCORES, WANTED, columns)


def backtested(directory: Path) -> Backtested:
    """Return what a model that reads profiles makes of the archive in ``directory``."""
    bundle = directory / "bundle"
    if not bundle.exists():
        make_bundle(bundle, "context")
    archive = open_archive(str(directory / "archive"))
    return backtest(archive, TOPICS, SCORES, load_bundle(bundle), RANGE, directory / "scores.parquet", NOW_MS)


def archive_of(past: Past, directory: Path) -> Path:
    archive_past(past, open_archive(str(directory / "archive")))
    return directory / "archive"


def file_of(archive: Path, topic: str, day: str) -> Path:
    [path] = archive.glob(f"{topic}/date={day}/*.parquet")
    return path


@pytest.mark.parametrize("run", [trained_on, backtested])
@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("damage", ["cut short", "a bit flipped"])
def test_a_damaged_file_is_named_and_nothing_is_written(
    run: Run, topic: str, damage: str, past: Past, tmp_path: Path
) -> None:
    path = file_of(archive_of(past, tmp_path), topic, "2026-03-10")
    raw = bytearray(path.read_bytes())
    if damage == "cut short":
        raw = raw[:-200]
    else:
        raw[20] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(ArchiveError, match=r"2026-03-10.*cannot be read|cannot be read.*2026-03-10"):
        run(tmp_path)
    assert not list(tmp_path.glob("*scores.parquet*"))


def test_days_whose_files_are_missing_are_counted_and_the_others_serve(past: Past, tmp_path: Path) -> None:
    ordered = sorted(past.payments, key=lambda payment: payment.created_at)
    on_time = [replace(each, offset=offset, arrived_at=each.created_at) for offset, each in enumerate(ordered)]
    archive = archive_of(replace(past, payments=on_time), tmp_path)
    whole, whole_scores = trained_on(tmp_path), backtested(tmp_path)
    for day in ("2026-03-04", "2026-03-05", "2026-03-06"):
        file_of(archive, "transactions", day).unlink()
    missing = sum(4 <= _day_of_march(payment.created_at) <= 6 for payment in on_time)

    made, scores = trained_on(tmp_path), backtested(tmp_path)

    before, after = whole.summary, made.summary
    assert (before.days_without_transactions, after.days_without_transactions) == (0, 3)
    assert before.transactions + before.repeated_transactions - missing == (
        after.transactions + after.repeated_transactions
    )
    assert made.days == whole.days
    assert (whole_scores.days_without_events, scores.days_without_events) == (0, 3)
    assert whole_scores.events - scores.events == missing > 0


def _day_of_march(at_ms: int) -> int:
    return (datetime.fromtimestamp(at_ms / 1000, UTC).date() - date(2026, 2, 28)).days


def test_files_of_an_older_and_of_a_newer_schema_are_read_beside_the_others(past: Past, tmp_path: Path) -> None:
    unnamed = [replace(p, merchant=None) if _day_of_march(p.arrived_at) == 10 else p for p in past.payments]
    archive = archive_of(replace(past, payments=unnamed), tmp_path)
    expected, expected_scores = trained_on(tmp_path), backtested(tmp_path)
    rows = pq.read_table(tmp_path / "scores.parquet")
    for day in ("2026-03-10", "2026-03-11"):
        path = file_of(archive, "transactions", day)
        table = pq.ParquetFile(path).read()
        older = table.drop_columns(["merchant_id"])
        newer = table.append_column("currency", pa.array(["EUR"] * len(table)))
        pq.write_table(older if day == "2026-03-10" else newer, path)

    made = trained_on(tmp_path)

    for name in ("train", "validation", "test"):
        part, wanted = getattr(made.dataset, name), getattr(expected.dataset, name)
        assert isinstance(part, Part)
        for column in ("features", "context", "users", "is_fraud"):
            np.testing.assert_array_equal(getattr(part, column), getattr(wanted, column))
    assert backtested(tmp_path) == expected_scores
    assert pq.read_table(tmp_path / "scores.parquet") == rows


@pytest.mark.parametrize("run", [trained_on, backtested])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda table: table.drop_columns(["amount"]), "amount"),
        (
            lambda table: table.set_column(7, "amount", table["amount"].cast(pa.string())),
            "amount is string, not double",
        ),
    ],
)
def test_a_schema_that_cannot_be_meant_is_named(
    run: Run, spoil: Callable[[pa.Table], pa.Table], message: str, past: Past, tmp_path: Path
) -> None:
    path = file_of(archive_of(past, tmp_path), "transactions", "2026-03-10")
    table = pq.ParquetFile(path).read()
    assert table.schema.names[7] == "amount"
    pq.write_table(spoil(table), path)
    with pytest.raises(ArchiveError, match=message):
        run(tmp_path)


def test_users_of_fewer_than_ten_payments_are_learned_from_and_counted(past: Past, tmp_path: Path) -> None:
    few: dict[str, list[Payment]] = {}
    for payment in past.payments:
        few.setdefault(f"{payment.user}-{payment.offset // 60}", []).append(payment)
    payments = [replace(p, user=user) for user, its in few.items() for p in its]
    archive_of(replace(past, payments=sorted(payments, key=lambda p: p.offset)), tmp_path)

    made, scored = trained_on(tmp_path), backtested(tmp_path)

    assert made.dataset.insufficient_history > 0.9 * len(made.dataset)
    assert made.dataset.train.windows.lengths.min() == 1
    assert scored.insufficient_history > 0.9 * scored.events


def test_labels_of_the_unknown_contradictions_and_repeats_are_counted(past: Past, tmp_path: Path) -> None:
    archive_of(past, tmp_path)
    summary = trained_on(tmp_path).summary
    counted = (summary.labels_of_unknown, summary.contradicting_labels, summary.repeated_labels)
    assert min(*counted, summary.repeated_transactions) > 0
