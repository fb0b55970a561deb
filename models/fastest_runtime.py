"""Which engine computes a model soonest on this machine: measured, since it depends on the CPU."""

import time
from pathlib import Path

import numpy as np

from models.golden import Golden, GoldenError, check_probabilities
from models.runtime import MissingRuntimeError, Runtime, RuntimeName, open_runtime

#: Those that compute the same to :data:`models.runtime.TOLERANCE`: a choice must never be seen in a score.
CANDIDATES: tuple[RuntimeName, ...] = ("onnxruntime", "openvino")

_WINDOWS = 1024  # some dozens of milliseconds
_ROUNDS = 3  # of which the best counts: whatever else runs on a machine only takes time away


def fastest_runtime(model: Path, golden: Golden, threads: int) -> Runtime:
    """Return ``model.onnx`` in the engine that is fastest with ``threads`` threads on the bundle's golden windows.

    An engine that is not installed, or does not compute the golden probabilities, is left out.

    Raises:
        FileNotFoundError, models.runtime.ModelFileError: as :func:`models.runtime.open_runtime` does.
        MissingRuntimeError: no engine is left.
    """
    timed: list[tuple[float, Runtime]] = []
    for name in CANDIDATES:
        try:
            runtime = open_runtime(name, model, threads)
            probabilities = runtime.predict(golden.features, golden.windows.lengths, golden.context)
            check_probabilities(probabilities, golden.probabilities, runtime.tolerance)
        except (MissingRuntimeError, GoldenError):
            continue
        timed.append((_seconds(runtime, golden), runtime))
    if not timed:
        raise MissingRuntimeError(f"none of {', '.join(CANDIDATES)} computes {model} here: train it again")
    return min(timed, key=lambda each: each[0])[1]


def _seconds(runtime: Runtime, golden: Golden) -> float:
    rows = np.resize(np.arange(len(golden.windows)), _WINDOWS)
    features, lengths = golden.features[rows], golden.windows.lengths[rows]
    context = None if golden.context is None else golden.context[rows]
    taken = []
    for _ in range(_ROUNDS):
        begun = time.perf_counter()
        runtime.predict(features, lengths, context)
        taken.append(time.perf_counter() - begun)
    return min(taken)
