"""The graph that serves is the network that was trained."""

from dataclasses import replace

import numpy as np
import pytest

from models.features import PADDING, PRESETS, step_features
from models.golden import read_golden
from models.keras_file import read_network
from models.onnx_export import to_onnx
from models.runtime import TOLERANCE, open_runtime
from tests.keras_files import KERAS_FILES, NETWORKS, keras_probabilities, random_model, random_windows

RUNTIMES = ["onnxruntime", "openvino"]


@pytest.mark.training
@pytest.mark.parametrize("context_width", [0, 5])
@pytest.mark.parametrize("preset", PRESETS)
def test_keras_and_both_runtimes_agree_on_ten_thousand_windows_of_every_length(
    tmp_path_factory: pytest.TempPathFactory, preset: str, context_width: int
) -> None:
    pytest.importorskip("tensorflow")
    rng = np.random.default_rng(7)
    model = random_model(rng, preset, context_width)
    path = tmp_path_factory.mktemp("model") / "model.keras"
    model.save(path)
    windows = random_windows(rng, 10_000)
    features = step_features(windows, PRESETS[preset])
    context = rng.normal(size=(10_000, context_width)).astype(np.float32) if context_width else None

    expected = keras_probabilities(model, features, context)

    assert np.ptp(expected) > 0.2, "the probabilities must tell windows apart"
    onnx = to_onnx(read_network(path)).SerializeToString()
    for name in RUNTIMES:
        runtime = open_runtime(name, onnx)
        probabilities = runtime.predict(features, windows.lengths, context)
        assert np.abs(probabilities - expected).max() <= TOLERANCE, name


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_graph_computes_what_keras_wrote_down(network: str, runtime: str) -> None:
    golden = read_golden(KERAS_FILES / f"{network}.npz")
    served = open_runtime(runtime, to_onnx(read_network(KERAS_FILES / f"{network}.keras")).SerializeToString())
    probabilities = served.predict(golden.features, golden.windows.lengths, golden.context)
    assert np.abs(probabilities - golden.probabilities).max() <= TOLERANCE


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("padding", [PADDING, 0.0, 1e30, np.nan, np.inf])
def test_what_stands_behind_a_window_is_never_seen(padding: float, runtime: str) -> None:
    golden = read_golden(KERAS_FILES / "default.npz")
    served = open_runtime(runtime, to_onnx(read_network(KERAS_FILES / "default.keras")).SerializeToString())
    features = golden.features.copy()
    features[np.arange(10) >= golden.windows.lengths[:, None]] = padding
    probabilities = served.predict(features, golden.windows.lengths)
    assert np.abs(probabilities - golden.probabilities).max() <= TOLERANCE


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_normalisation_that_changes_nothing_is_no_obstacle(runtime: str) -> None:
    golden = read_golden(KERAS_FILES / "origin.npz")
    origin = read_network(KERAS_FILES / "origin.keras")
    identity = replace(origin, scale=np.ones(4, np.float32), offset=np.zeros(4, np.float32))
    served = open_runtime(runtime, to_onnx(identity).SerializeToString())
    probabilities = served.predict(golden.features, golden.windows.lengths)
    assert np.abs(probabilities - golden.probabilities).max() <= TOLERANCE


@pytest.mark.parametrize("network", NETWORKS)
def test_the_graph_names_its_inputs_and_is_made_of_two_lstms(network: str) -> None:
    read = read_network(KERAS_FILES / f"{network}.keras")
    graph = to_onnx(read).graph
    assert [port.name for port in graph.input] == ["sequence", "lengths", *(["context"] if read.context_width else [])]
    assert [port.name for port in graph.output] == ["fraud_probability"]
    assert [node.op_type for node in graph.node].count("LSTM") == 2
    assert not {"Loop", "Scan", "If"} & {node.op_type for node in graph.node}
