"""The training job, as far as it goes without TensorFlow."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="needs the training extra")
pytest.importorskip("pandas", reason="needs the training extra")

from models.features import PRESETS
from tests.windowed import part_of
from training.dataset import Dataset, Part
from training.resumable import AtWorkError, resumable
from training.train_lstm_model import main

OPTIONS = (20, 32, 1, PRESETS["default"], ())


def dataset(**changes: Any) -> Dataset:
    """Return data whose training part is changed."""
    train, validation = part_of(200, 1), part_of(100, 2)
    return Dataset(replace(train, **changes), validation, validation)


def moved(part: Part) -> dict[str, Any]:
    """Return as many frauds on other payments."""
    return {"is_fraud": np.roll(part.is_fraud, 1)}


def other_amounts(part: Part) -> dict[str, Any]:
    return {"features": part.features + np.float32(1)}


def killed(store: Path, data: Dataset, options: tuple[object, ...] = OPTIONS) -> Path:
    """Return where a training that did not end has left its state."""
    with pytest.raises(KeyboardInterrupt), resumable(store, options, data) as directory:  # noqa: PT012
        (directory / "state").write_text("some")
        raise KeyboardInterrupt
    return directory


def test_a_training_that_was_killed_goes_on_with_the_same_options_and_data_only(tmp_path: Path) -> None:
    before = killed(tmp_path, dataset())
    assert killed(tmp_path, dataset(), (3, *OPTIONS[1:])) != before, "the learning rate falls over all epochs"
    for change in (moved, other_amounts):
        assert killed(tmp_path, dataset(**change(dataset().train))) != before
    with resumable(tmp_path, OPTIONS, dataset()) as directory:
        assert directory == before
        assert (directory / "state").read_text() == "some"
    assert not before.exists()


def test_the_same_training_at_the_same_time_is_refused(tmp_path: Path) -> None:
    with resumable(tmp_path, OPTIONS, dataset()) as directory:
        with (
            pytest.raises(AtWorkError, match=f"is at work in {directory}: wait for it, or change an option"),
            resumable(tmp_path, OPTIONS, dataset()),
        ):
            pass
        assert directory.exists(), "it is the other's"
        with resumable(tmp_path, (*OPTIONS, "another"), dataset()):
            pass


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
