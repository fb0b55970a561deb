"""The training job, as far as it goes without TensorFlow."""

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="needs the training extra")
pytest.importorskip("pandas", reason="needs the training extra")

from tests.windowed import part_of
from training.dataset import Dataset, Part
from training.job import Job
from training.train_lstm_model import main

OPTIONS: dict[str, Any] = {
    "preset": "default",
    "epochs": 20,
    "batch_size": 32,
    "seed": 1,
    "store": Path("store"),
    "h5": None,
    "label_delay_days": 7,
    "zone": "UTC",
    "created_at": datetime(2026, 1, 1, tzinfo=UTC),
}


def dataset(**changes: Any) -> Dataset:
    """Return data whose training part is changed."""
    train, validation = part_of(200, 1), part_of(100, 2)
    return Dataset(replace(train, **changes), validation, validation)


def kept_in(data: Dataset, **options: Any) -> Path:
    return Job(**(OPTIONS | options))._interrupted(data)


def moved(part: Part) -> dict[str, Any]:
    """Return as many frauds on other payments."""
    return {"is_fraud": np.roll(part.is_fraud, 1)}


def other_amounts(part: Part) -> dict[str, Any]:
    return {"features": part.features + np.float32(1)}


def test_a_training_that_was_killed_goes_on_with_the_same_options_and_data_only() -> None:
    before = kept_in(dataset())
    assert kept_in(dataset(), created_at=datetime(2026, 1, 2, tzinfo=UTC)) == before
    assert kept_in(dataset(), epochs=3) != before, "the learning rate falls over all epochs"
    for change in (moved, other_amounts):
        assert kept_in(dataset(**change(dataset().train))) != before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--zone", "Nonsense"], "--zone Nonsense: no such IANA zone"),
        (["--epochs", "0"], "argument --epochs: 0: give 1 or more"),
        (["--batch-size", "0"], "argument --batch-size: 0: give 1 or more"),
    ],
)
def test_options_that_mean_nothing_are_one_line(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "--data", str(tmp_path), *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert told in f"{ended.value} {capsys.readouterr().err}"
