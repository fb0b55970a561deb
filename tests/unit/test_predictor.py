"""The model as a function of arrays."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.bundle import BundleError
from models.golden import Golden, read_golden
from models.runtime import TOLERANCE
from stream.lstm_predictor import LSTMPredictor
from tests.bundles import make_bundle
from tests.keras_files import KERAS_FILES


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("predictor") / "bundle")


@pytest.fixture(scope="module")
def golden() -> Golden:
    return read_golden(KERAS_FILES / "baseline.npz")


@pytest.mark.parametrize("file", ["", "model.onnx", "lstm_fraud_model.h5", "model.keras"])
def test_every_kind_of_model_gives_the_same_probabilities(bundle: Path, golden: Golden, file: str) -> None:
    predictor = LSTMPredictor(str(bundle / file))
    probabilities = predictor.predict(golden.features, golden.windows.lengths)
    assert probabilities.shape == (60,)
    assert probabilities.dtype == np.float32
    assert np.abs(probabilities - golden.probabilities).max() <= TOLERANCE


def test_without_lengths_every_window_is_full(bundle: Path, golden: Golden) -> None:
    full = golden.windows.lengths == 10
    probabilities = LSTMPredictor(bundle).predict(golden.features[full].tolist())
    assert np.abs(probabilities - golden.probabilities[full]).max() <= TOLERANCE


def test_a_model_with_context_takes_it() -> None:
    golden = read_golden(KERAS_FILES / "context.npz")
    predictor = LSTMPredictor(KERAS_FILES / "context.h5")
    probabilities = predictor.predict(golden.features, golden.windows.lengths, golden.context)
    assert np.abs(probabilities - golden.probabilities).max() <= TOLERANCE


@pytest.mark.parametrize(
    ("shape", "lengths", "told"),
    [
        ((2, 9, 4), None, r"shape \(2, 9, 4\); the model needs \(windows, 10, features\)"),
        ((10, 4), None, r"shape \(10, 4\)"),
        ((2, 10, 3), None, r"\(2, steps, 4\)"),
        ((2, 10, 4), [1], r"lengths are int64 \(1,\); 2 windows need integers of shape \(2,\)"),
        ((2, 10, 4), [1.5, 2.0], "lengths are float64"),
        ((2, 10, 4), [0, 3], "lengths are 0 to 3"),
    ],
)
def test_arrays_of_another_shape_are_refused(
    bundle: Path, shape: tuple[int, ...], lengths: list[float] | None, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        LSTMPredictor(bundle).predict(np.zeros(shape, np.float32), lengths)


def test_no_windows_give_no_probabilities(bundle: Path) -> None:
    assert LSTMPredictor(bundle).predict(np.empty((0, 10, 4), np.float32), []).shape == (0,)


def test_what_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no model at .*nowhere"):
        LSTMPredictor(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.h5"):
        LSTMPredictor(tmp_path / "nowhere.h5")
    (tmp_path / "model.pkl").write_bytes(b"\x80")
    with pytest.raises(ValueError, match=r"model\.pkl is not a model"):
        LSTMPredictor(tmp_path / "model.pkl")
    with pytest.raises(BundleError, match="SHA256SUMS is missing"):
        LSTMPredictor(tmp_path)


@pytest.mark.parametrize("file", ["", "model.onnx", "lstm_fraud_model.h5", "model.keras"])
def test_tensorflow_is_never_imported(bundle: Path, file: str) -> None:
    code = (
        "import sys, numpy; from stream.lstm_predictor import LSTMPredictor;"
        f"LSTMPredictor({str(bundle / file)!r}).predict(numpy.zeros((1, 10, 4), 'f4'));"
        "print(*sorted({'tensorflow', 'keras', 'pandas'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert told.strip() == ""
