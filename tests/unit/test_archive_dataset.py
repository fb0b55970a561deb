"""From an archive to three stretches of windows, and what is said of one that does not serve."""

from dataclasses import replace
from datetime import date
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="needs the archive extra")
pytest.importorskip("duckdb", reason="needs the archive extra")

from models.context import (  # noqa: E402
    NO_DAY,
    Profiled,
    ProfileDefinition,
    context_columns,
    day_number,
    local_day,
)
from models.features import PRESETS, step_features  # noqa: E402
from models.hashing import transaction_hash  # noqa: E402
from tests.profile_archives import SCORES, TOPICS, archive_past, archive_scores  # noqa: E402
from tests.profile_reference import Past, Payment, random_past  # noqa: E402
from tests.wanted import WANTED as BASE  # noqa: E402
from training.archive import open_archive  # noqa: E402
from training.archive_dataset import Made, Wanted, dataset_of  # noqa: E402
from training.columns import TrainingDataError  # noqa: E402
from training.periods import PeriodError  # noqa: E402
from training.profiles import open_profiles  # noqa: E402

BEGIN = date(2026, 2, 20)
DAY_MS = 86_400_000

WANTED = replace(BASE, zone="Europe/Paris", first=date(2026, 2, 22))


def made(past: Past, directory: Path, wanted: Wanted = WANTED, processes: int = 1) -> Made:
    archive = open_archive(str(directory / "archive"))
    archive_past(past, archive)
    scratch = directory / "columns"
    scratch.mkdir()
    return dataset_of(archive, TOPICS, SCORES, wanted, scratch, processes)


@pytest.fixture(scope="module")
def past() -> Past:
    return random_past(1, "UTC", 7, BEGIN, 45, 1500)


def test_windows_have_the_features_that_serving_computes_and_their_stretch_of_time(past: Past, tmp_path: Path) -> None:
    dataset, days, summary, _, _ = made(past, tmp_path)
    assert days == {
        "training": ("2026-02-22", "2026-03-13"),
        "validation": ("2026-03-21", "2026-03-25"),
        "test": ("2026-03-26", "2026-03-31"),
    }
    assert summary.transactions == len({payment.transaction for payment in past.payments})
    for part in (dataset.train, dataset.validation, dataset.test):
        last = part.windows.records["created_at_ms"][np.arange(len(part)), part.windows.lengths - 1]
        assert part.begin_ms <= last.min() <= last.max() < part.end_ms
        expected = step_features(part.windows, PRESETS["default"], "Europe/Paris")
        np.testing.assert_array_equal(part.features, expected)
        assert 0 < part.is_fraud.sum() < len(part)
        assert part.honest_weight == 1
        assert not part.features.flags.writeable


def test_the_context_is_that_of_the_profiles_that_serving_used(past: Past, tmp_path: Path) -> None:
    zone, of_day = WANTED.zone, date(2026, 3, 3)
    of_offset = {payment.offset: payment for payment in past.payments}
    scored = [payment for payment in past.payments if payment.offset % 3 == 0]
    archive = open_archive(str(tmp_path / "archive"))
    archive_scores(archive, [(each, of_day if each.offset % 2 else None) for each in scored], "v1")

    dataset, _, _, _, profile_days = made(past, tmp_path)

    def day(payment: Payment) -> int:
        created, arrived = local_day(zone, np.array([payment.created_at, payment.arrived_at])).tolist()
        if payment.offset % 3 == 0:
            return min(day_number(of_day), created) if payment.offset % 2 else NO_DAY
        return min(created, arrived) if min(created, arrived) > arrived - 7 else NO_DAY

    firsts: dict[str, int] = {}
    for payment in past.payments:
        firsts.setdefault(payment.transaction, payment.offset)
    archived = 0
    with open_profiles(archive, TOPICS, ProfileDefinition(zone, 7)) as profiles:
        for part in (dataset.train, dataset.validation, dataset.test):
            inside = [
                of_offset[offset]
                for offset in sorted(firsts.values())
                if part.begin_ms <= of_offset[offset].created_at < part.end_ms
            ]
            merchants, users = (
                pa.array([getattr(each, name) for each in inside], pa.string()) for name in ("merchant", "user")
            )
            values = profiles.of_events(merchants, users, np.array([day(each) for each in inside]))
            amounts = np.array([each.amount for each in inside])
            expected = context_columns(Profiled(values[:, 0], values[:, 1], amounts), WANTED.context)
            np.testing.assert_array_equal(part.context, expected)
            archived += sum(each.offset % 3 == 0 for each in inside)
    assert profile_days == (archived, len(dataset) - archived)


def test_a_preset_without_context_reads_no_profiles(past: Past, tmp_path: Path) -> None:
    dataset, _, _, _, profile_days = made(past, tmp_path, replace(WANTED, context=()))
    assert profile_days is None
    assert dataset.train.context.shape == (len(dataset.train), 0)


def test_rows_are_split_without_a_gap_and_none_is_left_out(past: Past, tmp_path: Path) -> None:
    dataset, days, _, _, profile_days = made(past, tmp_path, replace(WANTED, split="rows", honest_per_fraud=1))
    assert days == {"all": ("2026-02-22", "2026-03-31")}
    begin_ms, end_ms = (day_number(day) * DAY_MS for day in (date(2026, 2, 22), date(2026, 4, 1)))
    firsts: dict[str, Payment] = {}
    for payment in past.payments:
        firsts.setdefault(payment.transaction, payment)
    inside = [payment for payment in firsts.values() if begin_ms <= payment.created_at < end_ms]
    parts = (dataset.train, dataset.validation, dataset.test)
    rows = [
        part.windows.records["transaction"][np.arange(len(part)), part.windows.lengths - 1].tolist() for part in parts
    ]
    assert list(chain(*rows)) == [transaction_hash(payment.transaction) for payment in inside]
    assert len(rows[2]) == pytest.approx(0.2 * len(inside), abs=1)
    assert dataset.train.honest_weight == 1
    assert sum(profile_days or ()) == sum(len(part.context) for part in parts) == len(inside)


def test_honest_training_windows_are_sampled_and_stand_for_all_of_them(past: Path, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    whole = made(past, tmp_path).dataset  # type: ignore[arg-type]
    some = made(past, tmp_path / "some", replace(WANTED, honest_per_fraud=1), processes=2).dataset  # type: ignore[arg-type]
    honest, kept = (float((1 - each.train.is_fraud).sum()) for each in (whole, some))
    assert some.train.is_fraud.sum() == whole.train.is_fraud.sum()
    assert kept < 0.8 * honest
    assert kept * some.train.honest_weight == pytest.approx(honest, rel=0.2)
    assert some.train.fraud_rate == pytest.approx(whole.train.fraud_rate, rel=0.2)
    assert len(some.test) == len(whole.test)
    np.testing.assert_array_equal(some.validation.features, whole.validation.features)


@pytest.mark.parametrize(
    ("past", "message"),
    [
        (Past([], [], "UTC", 7), "holds no transaction"),
        (random_past(2, "UTC", 7, BEGIN, 45, 300), "of the .* training transactions, .* 0 are labelled as fraud"),
    ],
)
def test_an_archive_that_cannot_be_learned_from_says_so(past: Past, message: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match=message):
        made(replace(past, labels=[]), tmp_path)


def test_no_label_is_known_that_lands_later_than_the_clock_says(past: Past, tmp_path: Path) -> None:
    now_ms = day_number(date(2026, 4, 1)) * DAY_MS
    with pytest.raises(PeriodError, match="give 2026-03-25 or earlier"):
        made(past, tmp_path, replace(WANTED, now_ms=now_ms))
