"""What the arithmetic of a model allows on a core: the bound that no engine passes in the same precision."""

import math
import time
from pathlib import Path

import numpy as np
import onnx

from benchmarks.section import Row

_SIDE = 1536  # of a square matrix; its product takes long enough to be timed, and fits the caches as blocks
_PRODUCTS = 8


def operations(model: Path, sequence_length: int) -> int:
    """Return additions and multiplications of a model's matrix products for one full window.

    A multiplication with an addition counts as two. Activations are left out, so a bound built on it is a generous one.
    """
    graph = onnx.load(model).graph
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    # ONNX operators: LSTM has input and recurrent weights, for each step; Gemm has one matrix
    matrices = {"LSTM": (slice(1, 3), sequence_length), "Gemm": (slice(1, 2), 1)}
    total = 0
    for node in graph.node:
        if node.op_type in matrices:
            places, times = matrices[node.op_type]
            total += 2 * times * sum(sizes[name] for name in node.input[places])
    return total


def operations_per_cpu_s() -> float:
    """Return how many such operations in float32 a second of CPU does, by the best of some products of matrices."""
    matrix = np.random.default_rng(0).normal(size=(_SIDE, _SIDE)).astype(np.float32)
    matrix @ matrix
    best_s = math.inf
    for _ in range(_PRODUCTS):
        begun = time.process_time()
        matrix @ matrix
        best_s = min(best_s, time.process_time() - begun)
    return float(2 * _SIDE**3 / best_s)


def bound(model: Path, sequence_length: int, bare_events_per_s: float) -> list[Row]:
    """Return the bound of a core, and what of it an engine reaches that does nothing else."""
    an_event, a_second = operations(model, sequence_length), operations_per_cpu_s()
    return [
        {"what": "million operations an event", "figure": round(an_event / 1e6, 2)},
        {"what": "billion operations a second of a core", "figure": round(a_second / 1e9, 1)},
        {
            "what": "events/s that a core could compute, with matrix products alone",
            "figure": round(a_second / an_event),
        },
        {"what": "the bare model's share of that", "figure": round(bare_events_per_s * an_event / a_second, 2)},
    ]
