"""From an archive to three stretches of windows, and what is said of one that does not serve."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="needs the archive extra")
pytest.importorskip("duckdb", reason="needs the archive extra")

from models.features import PRESETS, step_features  # noqa: E402
from tests.profile_archives import TOPICS, archive_past  # noqa: E402
from tests.profile_reference import Past, random_past  # noqa: E402
from training.archive import open_archive  # noqa: E402
from training.archive_dataset import Made, Wanted, dataset_of  # noqa: E402
from training.dataset import TrainingDataError  # noqa: E402

BEGIN = date(2026, 2, 20)
DAY_MS = 86_400_000

WANTED = Wanted(
    features=PRESETS["default"],
    sequence_length=10,
    max_age_ms=90 * DAY_MS,
    zone="Europe/Paris",
    first=date(2026, 2, 22),
    until=date(2026, 4, 1),
    label_delay_days=7,
    validation_days=5,
    test_days=6,
    honest_per_fraud=1000,
    seed=3,
)


def made(past: Past, directory: Path, wanted: Wanted = WANTED, processes: int = 1) -> Made:
    archive = open_archive(str(directory / "archive"))
    archive_past(past, archive)
    scratch = directory / "columns"
    scratch.mkdir()
    return dataset_of(archive, TOPICS, wanted, scratch, processes)


@pytest.fixture(scope="module")
def past() -> Past:
    return random_past(1, "UTC", 7, BEGIN, 45, 1500)


def test_windows_have_the_features_that_serving_computes_and_their_stretch_of_time(past: Past, tmp_path: Path) -> None:
    dataset, periods, summary = made(past, tmp_path)
    assert periods.described() == {
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
