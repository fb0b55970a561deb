"""The engines that compute probabilities from ``model.onnx``, behind one small protocol.

Batches are cut into chunks that fit a core's cache, and threads take chunks: measured on two cores, that is a sixth
faster than an engine's own threads inside each operator, and burns no time waiting.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

Floats32 = npt.NDArray[np.float32]
RuntimeName = Literal["onnxruntime", "openvino", "openvino-bf16"]

TOLERANCE = 1e-5  # what two engines may differ by and still compute the same model

_Inputs = dict[str, npt.NDArray[np.generic]]
_Map = Callable[[Callable[[npt.NDArray[np.intp]], Floats32], Iterable[npt.NDArray[np.intp]]], Iterable[Floats32]]


class ModelFileError(ValueError):
    """The bytes are not a model that the engine can run; the message says which file and why."""


class MissingRuntimeError(ImportError):
    """The engine asked for is not installed; the message says how to install it."""


class Runtime(Protocol):
    """One model in one engine. Several threads may call it."""

    @property
    def name(self) -> RuntimeName:
        """The engine's name."""
        ...

    @property
    def tolerance(self) -> float:
        """By how much a probability may differ from Keras's."""
        ...

    def predict(
        self, sequence: Floats32, lengths: npt.NDArray[np.integer], context: Floats32 | None = None
    ) -> Floats32:
        """Return the fraud probabilities of windows, ``float32 [N]``; N may be 0.

        Args:
            sequence: ``float32 [N, T, F]``, the features of each step; what stands behind a length is never seen.
            lengths: ``int [N]``, the steps of each window, 1 to T.
            context: ``float32 [N, C]`` for a model that has one, else ``None``.

        Raises:
            ValueError: shapes that do not fit the model or each other, or a length outside 1 to T.
        """
        ...


class OnnxRuntime:
    """ONNX Runtime on the CPU."""

    name: RuntimeName = "onnxruntime"
    tolerance = TOLERANCE

    #: Windows computed at once. Measured: the states of 128 stay in a core's cache; 4,096 at once are a sixth slower.
    CHUNK = 128

    def __init__(self, model: bytes | Path, threads: int = 1):
        """Load ``model.onnx``, from a file or its bytes.

        Raises:
            FileNotFoundError: no such file.
            ModelFileError: not a model for this engine.
        """
        # its Linux builds report to their maker unless this is said before the import; a bank's scorer does not
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime as ort  # noqa: PLC0415 - a process imports only the engine that it runs
        from onnxruntime.capi import onnxruntime_pybind11_state as errors  # noqa: PLC0415

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # its default counts the host's cores, not the container's
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        try:
            self._session = ort.InferenceSession(_read(model), options, providers=["CPUExecutionProvider"])
        except (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf) as error:
            raise ModelFileError(f"ONNX Runtime cannot run {_named(model)}: {error}") from error
        self._widths = _widths(model, {port.name: port.shape[-1] for port in self._session.get_inputs()})
        self._map = _map(threads)

    def predict(
        self, sequence: Floats32, lengths: npt.NDArray[np.integer], context: Floats32 | None = None
    ) -> Floats32:
        """Return probabilities as :meth:`Runtime.predict` does."""
        return _predict(self._infer, self._map, self._widths, self.CHUNK, sequence, lengths, context)

    def _infer(self, inputs: _Inputs) -> Floats32:
        (probabilities,) = self._session.run(["fraud_probability"], inputs)
        return np.asarray(probabilities, np.float32)


class OpenVinoRuntime:
    """OpenVINO on the CPU; in the extra ``fast``. ``bf16`` is for CPUs that have it, and for those who ask for it."""

    CHUNK = 256

    #: Measured on 93,582 simulated payments with the starter ``default``: 0.027 at worst, 0.0012 in the 99th
    #: percentile, 0.00006 on average. 12 of 723 flags differed.
    BF16_TOLERANCE = 3e-2

    def __init__(self, model: bytes | Path, threads: int = 1, precision: Literal["f32", "bf16"] = "f32"):
        """Load ``model.onnx``, from a file or its bytes.

        Raises:
            FileNotFoundError: no such file.
            MissingRuntimeError: OpenVINO is not installed, or the CPU does not compute bf16.
            ModelFileError: not a model for this engine.
        """
        try:
            import openvino  # noqa: F401, PLC0415 - a process imports only the engine that it runs
        except ImportError as error:
            raise MissingRuntimeError("OpenVINO is not installed: pip install '.[fast]' in the checkout") from error

        with _making_the_core:
            core = _openvino_core()
        self.name: RuntimeName = "openvino"
        self.tolerance = TOLERANCE
        if precision == "bf16":
            # OpenVINO would compute in f32 without a word
            if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
                raise MissingRuntimeError("this CPU does not compute bf16: choose openvino or auto")
            self.name, self.tolerance = "openvino-bf16", self.BF16_TOLERANCE
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            "INFERENCE_PRECISION_HINT": precision,
        }
        try:
            compiled = core.compile_model(core.read_model(_read(model)), "CPU", settings)
        except RuntimeError as error:
            raise ModelFileError(f"OpenVINO cannot run {_named(model)}: {error}") from error
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(threads):
            self._idle.put(compiled.create_infer_request())
        self._map = _map(threads)
        # where normalising is the identity it is folded away, and the input answers to several names
        last = {name: port.get_partial_shape()[-1] for port in compiled.inputs for name in port.get_names()}
        self._widths = _widths(model, {name: size.get_length() for name, size in last.items() if size.is_static})

    def predict(
        self, sequence: Floats32, lengths: npt.NDArray[np.integer], context: Floats32 | None = None
    ) -> Floats32:
        """Return probabilities as :meth:`Runtime.predict` does."""
        return _predict(self._infer, self._map, self._widths, self.CHUNK, sequence, lengths, context)

    def _infer(self, inputs: _Inputs) -> Floats32:
        request = self._idle.get()
        try:
            # copied: the result is a view of memory that the request's next use writes to
            return np.array(request.infer(inputs, share_inputs=True)[0], np.float32)
        finally:
            self._idle.put(request)


def open_runtime(name: RuntimeName, model: bytes | Path, threads: int = 1) -> Runtime:
    """Return ``model`` loaded in the engine ``name``.

    Raises:
        ValueError: no such engine.
        FileNotFoundError, MissingRuntimeError, ModelFileError: as the engines do.
    """
    match name:
        case "onnxruntime":
            return OnnxRuntime(model, threads)
        case "openvino":
            return OpenVinoRuntime(model, threads)
        case "openvino-bf16":
            return OpenVinoRuntime(model, threads, "bf16")
    raise ValueError(f"no runtime {name!r}: choose {', '.join(get_args(RuntimeName))}")


_making_the_core = Lock()


@cache
def _openvino_core() -> Any:
    """Return the process's one ``openvino.Core``; it is never dropped.

    A core gives the thread that makes it a stack for signal handlers, and unmaps it when it goes. Of several, dropped
    in the order they were made or by another thread, the thread keeps a stack that is gone, and the next SIGTERM ends
    the process with SIGSEGV (``SigAltStackSetup`` in OpenVINO's CPU plugin; seen with 2026.4).
    """
    import openvino  # noqa: PLC0415

    return openvino.Core()


def _read(model: bytes | Path) -> bytes:
    return model if isinstance(model, bytes) else model.read_bytes()


def _named(model: bytes | Path) -> str:
    return f"a model of {len(model)} bytes" if isinstance(model, bytes) else str(model)


def _widths(model: bytes | Path, widths: dict[str, int]) -> dict[str, int]:
    """Return the last dimension of each input, once it is clear that the inputs are the ones of our models."""
    if "sequence" not in widths:
        raise ModelFileError(f"{_named(model)} reads {', '.join(widths)}, not a sequence: export it with Tenfold")
    return widths


def _map(threads: int) -> _Map:
    return map if threads == 1 else ThreadPoolExecutor(threads, thread_name_prefix="predict").map


def _predict(
    infer: Callable[[_Inputs], Floats32],
    map_chunks: _Map,
    widths: Mapping[str, int],
    chunk: int,
    sequence: Floats32,
    lengths: npt.NDArray[np.integer],
    context: Floats32 | None,
) -> Floats32:
    """Compute in chunks of windows of like length, each cut to its longest: short windows cost what they hold."""
    _check(widths, sequence, lengths, context)
    order = np.argsort(lengths, kind="stable")
    chunks = [order[begin : begin + chunk] for begin in range(0, len(order), chunk)]

    def compute(rows: npt.NDArray[np.intp]) -> Floats32:
        inputs: _Inputs = {
            "sequence": sequence[rows, : lengths[rows[-1]]].astype(np.float32, copy=False),
            "lengths": lengths[rows].astype(np.int32),
        }
        if context is not None:
            inputs["context"] = context[rows].astype(np.float32, copy=False)
        return infer(inputs)

    probabilities = np.empty(len(lengths), np.float32)
    for rows, computed in zip(chunks, (map_chunks if len(chunks) > 1 else map)(compute, chunks), strict=True):
        probabilities[rows] = computed
    return probabilities


def _check(
    widths: Mapping[str, int],
    sequence: Floats32,
    lengths: npt.NDArray[np.integer],
    context: Floats32 | None,
) -> None:
    n, n_features, context_width = len(lengths), widths["sequence"], widths.get("context", 0)
    if sequence.ndim != 3 or sequence.shape[::2] != (n, n_features):
        raise ValueError(f"sequence is {sequence.shape}; the model and {n} lengths need ({n}, steps, {n_features})")
    if n and not 1 <= lengths.min() <= lengths.max() <= sequence.shape[1]:
        raise ValueError(f"lengths are {lengths.min()} to {lengths.max()}; windows have 1 to {sequence.shape[1]} steps")
    if (context is None) != (context_width == 0) or (context is not None and context.shape != (n, context_width)):
        given = "not given" if context is None else context.shape
        needed = f"({n}, {context_width})" if context_width else "none"
        raise ValueError(f"context is {given}; the model needs {needed}")
