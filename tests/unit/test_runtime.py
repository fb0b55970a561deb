"""Both engines behind the protocol."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import fastest_runtime
from models.bundle import load_bundle, starter
from models.golden import read_golden
from models.keras_file import read_network
from models.onnx_export import to_onnx
from models.runtime import (
    TOLERANCE,
    MissingRuntimeError,
    ModelFileError,
    OnnxRuntime,
    OpenVinoRuntime,
    Runtime,
    RuntimeName,
    open_runtime,
)
from tests.bundles import make_bundle
from tests.keras_files import KERAS_FILES

RUNTIMES: list[RuntimeName] = ["onnxruntime", "openvino"]


def model(network: str) -> bytes:
    return bytes(to_onnx(read_network(KERAS_FILES / f"{network}.keras")).SerializeToString())


@pytest.fixture(params=RUNTIMES)
def baseline(request: pytest.FixtureRequest) -> Runtime:
    return open_runtime(request.param, model("baseline"))


@pytest.fixture(params=RUNTIMES)
def with_context(request: pytest.FixtureRequest) -> Runtime:
    return open_runtime(request.param, model("context"))


def test_no_windows_give_no_probabilities(baseline: Runtime) -> None:
    probabilities = baseline.predict(np.empty((0, 10, 4), np.float32), np.empty(0, np.int64))
    assert probabilities.shape == (0,)
    assert probabilities.dtype == np.float32


def test_probabilities_come_in_the_order_of_the_windows(with_context: Runtime) -> None:
    golden = read_golden(KERAS_FILES / "context.npz")
    assert golden.context is not None
    rows = np.random.default_rng(3).integers(0, len(golden.windows), 1500)  # several chunks, lengths mixed
    probabilities = with_context.predict(golden.features[rows], golden.windows.lengths[rows], golden.context[rows])
    assert np.abs(probabilities - golden.probabilities[rows]).max() <= TOLERANCE


def test_windows_may_be_cut_to_the_longest(baseline: Runtime) -> None:
    golden = read_golden(KERAS_FILES / "baseline.npz")
    short = golden.windows.lengths <= 4
    probabilities = baseline.predict(golden.features[short, :4], golden.windows.lengths[short])
    assert np.abs(probabilities - golden.probabilities[short]).max() <= TOLERANCE


def test_an_answer_outlives_the_next_question(baseline: Runtime) -> None:
    golden = read_golden(KERAS_FILES / "baseline.npz")
    first = baseline.predict(golden.features[:5], golden.windows.lengths[:5])
    kept = first.copy()
    baseline.predict(golden.features[5:10], golden.windows.lengths[5:10])
    assert np.array_equal(first, kept)


@pytest.mark.parametrize(
    ("shape", "lengths", "told"),
    [
        ((2, 10, 5), [1, 2], r"sequence is \(2, 10, 5\).*\(2, steps, 4\)"),
        ((3, 10, 4), [1, 2], r"sequence is \(3, 10, 4\).*\(2, steps, 4\)"),
        ((2, 40), [1, 2], r"sequence is \(2, 40\)"),
        ((2, 10, 4), [0, 2], "lengths are 0 to 2; windows have 1 to 10"),
        ((2, 10, 4), [1, 11], "lengths are 1 to 11; windows have 1 to 10"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    baseline: Runtime, shape: tuple[int, ...], lengths: list[int], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        baseline.predict(np.zeros(shape, np.float32), np.array(lengths))


def test_a_context_is_given_when_and_only_when_the_model_has_one(baseline: Runtime, with_context: Runtime) -> None:
    one = np.array([1])
    with pytest.raises(ValueError, match="the model needs none"):
        baseline.predict(np.zeros((1, 10, 4), np.float32), one, np.zeros((1, 5), np.float32))
    with pytest.raises(ValueError, match=r"not given; the model needs \(1, 5\)"):
        with_context.predict(np.zeros((1, 10, 8), np.float32), one)
    with pytest.raises(ValueError, match=r"\(1, 4\); the model needs \(1, 5\)"):
        with_context.predict(np.zeros((1, 10, 8), np.float32), one, np.zeros((1, 4), np.float32))


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_file_that_is_no_model_is_refused_by_name(name: RuntimeName, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelFileError, match=str(path)):
        open_runtime(name, path)
    with pytest.raises(FileNotFoundError):
        open_runtime(name, tmp_path / "missing.onnx")


def test_an_engine_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="no runtime 'torch': choose onnxruntime, openvino, openvino-bf16"):
        open_runtime("torch", b"")  # type: ignore[arg-type]


def test_without_openvino_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)  # what an import finds where it is not installed
    with pytest.raises(MissingRuntimeError, match=r"pip install '\.\[fast\]' in the checkout"):
        OpenVinoRuntime(model("baseline"))


SIGNALLED = """
import signal, sys
from pathlib import Path
from models.runtime import open_runtime
from stream.signals import stop_on_signals
with stop_on_signals() as stop:
    serving = open_runtime(sys.argv[1], Path(sys.argv[2]))
    following = open_runtime(sys.argv[1], Path(sys.argv[2]))
    del serving, following  # in the order in which a scorer that changes models lets go of them
    signal.raise_signal(signal.SIGTERM)
    print("asked to stop" if stop.is_set() else "not asked")
"""


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_process_that_has_changed_models_still_takes_signals(name: RuntimeName, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model("baseline"))
    process = [sys.executable, "-c", SIGNALLED, name, str(path)]
    assert subprocess.check_output(process, text=True) == "asked to stop\n"


def test_bf16_is_never_f32_in_disguise() -> None:
    golden = read_golden(KERAS_FILES / "baseline.npz")
    try:
        runtime = open_runtime("openvino-bf16", model("baseline"))
    except MissingRuntimeError as error:  # most CPUs
        assert str(error) == "this CPU does not compute bf16: choose openvino or auto"  # noqa: PT017
    else:
        off = np.abs(runtime.predict(golden.features, golden.windows.lengths) - golden.probabilities).max()
        assert TOLERANCE < off <= runtime.tolerance


class SlowedDown:
    """An engine on a machine where it is slow."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self.name, self.tolerance = runtime, runtime.name, runtime.tolerance

    def predict(self, *arguments: Any) -> Any:
        for _ in range(20):
            self._runtime.predict(*arguments)
        return self._runtime.predict(*arguments)


@pytest.mark.parametrize("slow", RUNTIMES)
def test_auto_is_the_engine_that_is_faster_here(
    slow: RuntimeName, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def opened(name: RuntimeName, *arguments: Any) -> Runtime:
        runtime = open_runtime(name, *arguments)
        return SlowedDown(runtime) if name == slow else runtime

    monkeypatch.setattr(fastest_runtime, "open_runtime", opened)
    loaded = load_bundle(make_bundle(tmp_path / "bundle", "baseline"), "auto")
    assert loaded.runtime.name == ({*RUNTIMES} - {slow}).pop()


def test_auto_is_the_engine_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert load_bundle(starter("default"), "auto").runtime.name == "onnxruntime"


def test_auto_leaves_out_an_engine_that_computes_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnnxRuntime, "predict", lambda *_: np.full(len(golden.probabilities), 0.5, np.float32))
    golden = read_golden(starter("default") / "golden.npz")
    assert load_bundle(starter("default"), "auto").runtime.name == "openvino"


@pytest.mark.parametrize(("name", "other"), [("onnxruntime", "openvino"), ("openvino", "onnxruntime")])
def test_an_engine_is_imported_only_where_it_runs(name: str, other: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model("baseline"))
    code = (
        "import sys; from pathlib import Path; from models.runtime import open_runtime; "
        f"open_runtime({name!r}, Path({str(path)!r})); print({name!r} in sys.modules, {other!r} in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert told.split() == ["True", "False"]


@pytest.mark.parametrize("name", RUNTIMES)
def test_several_threads_compute_the_same(name: RuntimeName) -> None:
    golden = read_golden(KERAS_FILES / "baseline.npz")
    rows = np.random.default_rng(4).integers(0, len(golden.windows), 3000)
    arguments = (golden.features[rows], golden.windows.lengths[rows])
    runtime = open_runtime(name, model("baseline"), threads=2)
    with ThreadPoolExecutor(3) as callers:  # more callers than threads
        answers = list(callers.map(lambda _: runtime.predict(*arguments), range(6)))
    for probabilities in answers:
        assert np.abs(probabilities - golden.probabilities[rows]).max() <= TOLERANCE


def test_nothing_is_reported_to_the_engines_makers(tmp_path: Path) -> None:
    """ONNX Runtime's telemetry leaves a session file as soon as it is imported, unless it is switched off before."""
    code = "from models.bundle import load_bundle, starter; load_bundle(starter('default'))"
    environment = {name: value for name, value in os.environ.items() if name not in {"ORT_DISABLE_TELEMETRY", "CI"}}
    environment |= {"TMPDIR": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=tmp_path)
    assert list(tmp_path.rglob("*")) == []
