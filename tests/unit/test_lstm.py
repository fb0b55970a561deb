"""The network in Keras, and its files read without Keras."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from models.golden import read_golden
from models.keras_file import read_network
from models.network import identical
from models.runtime import TOLERANCE
from tests.keras_files import KERAS_FILES, NETWORKS, keras_probabilities


@pytest.mark.training
def test_the_baseline_has_the_parameters_of_the_projects_origin() -> None:
    pytest.importorskip("tensorflow")
    from models.lstm import build_lstm_model  # noqa: PLC0415

    model = build_lstm_model(10, 4)

    assert [layer.count_params() for layer in model.layers if layer.count_params()] == [68_096, 49_408, 2_080, 33]
    assert model.count_params() == 119_617
    assert model.input_shape == (None, 10, 4)
    assert model.output_shape == (None, 1)
    assert model.loss == "binary_crossentropy"
    assert type(model.optimizer).__name__ == "Adam"


@pytest.mark.training
def test_normalisation_adds_no_parameters_and_context_only_those_of_its_columns() -> None:
    pytest.importorskip("tensorflow")
    from models.lstm import build_lstm_model  # noqa: PLC0415

    normalised = build_lstm_model(10, 4, scale=[1, 2, 3, 4], offset=[0, 0, 0, 1])
    joined = build_lstm_model(10, 4, context_width=5, context_scale=[1] * 5, context_offset=[0] * 5)

    assert normalised.count_params() == 119_617
    assert joined.count_params() == 119_617 + 64 * 32 + (5 + 1) * 64
    as_it_is = build_lstm_model(10, 4, context_width=5, context_units=0)
    assert as_it_is.count_params() == 119_617 + 5 * 32
    assert [tuple(tensor.shape) for tensor in joined.inputs] == [(None, 10, 4), (None, 5)]


@pytest.mark.training
@pytest.mark.parametrize("settings", [{"scale": [1.0] * 4}, {"scale": [1.0], "offset": [1.0]}])
def test_half_a_normalisation_is_refused(settings: dict[str, list[float]]) -> None:
    pytest.importorskip("tensorflow")
    from models.lstm import build_lstm_model  # noqa: PLC0415

    with pytest.raises(ValueError, match="the sequence has 4 columns"):
        build_lstm_model(10, 4, **settings)


@pytest.mark.training
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_keras_still_computes_what_the_files_for_tests_say(network: str, suffix: str) -> None:
    pytest.importorskip("tensorflow")
    import keras  # noqa: PLC0415

    golden = read_golden(KERAS_FILES / f"{network}.npz")
    model = keras.models.load_model(KERAS_FILES / f"{network}.{suffix}", compile=False)
    probabilities = keras_probabilities(model, golden.features, golden.context)
    assert np.abs(probabilities - golden.probabilities).max() <= TOLERANCE


@pytest.mark.parametrize("network", NETWORKS)
def test_both_kinds_of_file_hold_the_same_network(network: str) -> None:
    keras, h5 = (read_network(KERAS_FILES / f"{network}.{suffix}") for suffix in ("keras", "h5"))
    assert identical(keras, h5)
    assert keras.lstm_1.kernel.shape == (keras.n_features, 64)
    assert not identical(keras, read_network(KERAS_FILES / ("origin.h5" if network != "origin" else "default.h5")))


@pytest.mark.parametrize(
    ("network", "shape"),
    [("baseline", (10, 4, 0)), ("context", (10, 8, 5)), ("deep_context", (10, 8, 5)), ("origin", (10, 4, 0))],
)
def test_shapes_and_normalisation_come_from_the_file(network: str, shape: tuple[int, int, int]) -> None:
    read = read_network(KERAS_FILES / f"{network}.keras")
    assert (read.sequence_length, read.n_features, read.context_width) == shape
    assert (read.scale is None) == (network == "origin")
    assert (read.context_scale is None) == ("context" not in network)
    assert (read.context_dense is None) == (network != "deep_context")


def test_a_sequential_of_keras_2_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "origin.h5"
    shutil.copy(KERAS_FILES / "origin.h5", path)
    with h5py.File(path, "r+") as file:
        graph = json.loads(file.attrs["model_config"])
        entry, first = graph["config"]["layers"][:2]
        first["config"]["batch_input_shape"] = entry["config"]["batch_shape"]
        graph["config"]["layers"].pop(0)
        file.attrs["model_config"] = json.dumps(graph)
    assert identical(read_network(path), read_network(KERAS_FILES / "origin.h5"))


def changed(path: Path, network: str, change: Callable[[dict[str, dict[str, Any]]], None]) -> Path:
    """Copy a ``.keras`` file to ``path`` with its layers, by class name and number, changed."""
    with zipfile.ZipFile(KERAS_FILES / f"{network}.keras") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    graph = json.loads(files["config.json"])
    layers: dict[str, dict[str, Any]] = {}
    for layer in graph["config"]["layers"]:
        kind = layer["class_name"]
        layers[f"{kind}{sum(key.startswith(kind) for key in layers) or ''}"] = layer
    change(layers)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, json.dumps(graph) if name == "config.json" else content)
    return path


@pytest.mark.parametrize(
    ("network", "layer", "change", "told"),
    [
        ("baseline", "LSTM", {"config": {"activation": "relu"}}, "'lstm_1' .* activation 'relu', not 'tanh'"),
        ("baseline", "LSTM1", {"config": {"recurrent_activation": "hard_sigmoid"}}, "'lstm_2' .* 'hard_sigmoid'"),
        ("baseline", "LSTM1", {"config": {"go_backwards": True}}, "'lstm_2' .* go_backwards True"),
        ("baseline", "LSTM", {"class_name": "GRU"}, r"'lstm_1' \(GRU\) stands where a LSTM belongs"),
        ("baseline", "Dense", {"config": {"activation": "gelu"}}, "'dense' .* activation 'gelu', not 'relu'"),
        ("baseline", "Dense1", {"config": {"units": 2}}, "'fraud_probability' .* units 2, not 1"),
        ("baseline", "Masking", {"config": {"mask_value": 0.0}}, "'masking' .* mask_value 0.0, not -1.0"),
        ("baseline", "Masking", {"class_name": "Lambda"}, r"'masking' \(Lambda\)"),
        ("baseline", "Dropout", {"class_name": "Lambda"}, r"'dropout.*' \(Lambda\)"),
        ("origin", "Dropout1", {"class_name": "BatchNormalization"}, r"\(BatchNormalization\)"),
        ("origin", "LSTM", {"module": "somewhere.else"}, "a layer of somewhere.else, not of Keras"),
        ("origin", "InputLayer", {"config": {"batch_shape": [None, None, 4]}}, r"\[None, 4\], not \[steps, features\]"),
        ("context", "Concatenate", {"config": {"axis": 0}}, "'join' .* axis 0, not -1"),
        (
            "deep_context",
            "Dense",
            {"config": {"activation": "tanh"}},
            "'context_dense' .* 'tanh', not 'relu'",
        ),
    ],
)
def test_a_network_of_another_kind_is_refused_by_layer(
    tmp_path: Path, network: str, layer: str, change: dict[str, Any], told: str
) -> None:
    def apply(layers: dict[str, dict[str, Any]]) -> None:
        settings = change.get("config", {})
        layers[layer].update({key: value for key, value in change.items() if key != "config"})
        layers[layer]["config"].update(settings)

    path = changed(tmp_path / "other.keras", network, apply)
    with pytest.raises(ValueError, match=f"cannot serve {path}: layer .*{told}"):
        read_network(path)


def weights_only(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["model_weights"] = np.zeros(3)


def empty_archive(path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.json", "{")
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    "write", [weights_only, empty_archive, lambda path: path.write_bytes(b"\x80\x04junk"), lambda path: path.touch()]
)
def test_a_file_that_is_no_whole_model_is_refused_by_name(tmp_path: Path, write: Callable[[Path], object]) -> None:
    path = tmp_path / "model.h5"
    write(path)
    with pytest.raises(ValueError, match=f"cannot serve {path}: not a whole Keras model"):
        read_network(path)


def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_network(tmp_path / "model.h5")
