"""The trained network as plain arrays: what a Keras file holds and the ONNX graph is built from."""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

Floats32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Lstm:
    """Weights of an LSTM, gates in Keras' order i, f, c, o."""

    kernel: Floats32  # [inputs, 4 * units]
    recurrent_kernel: Floats32  # [units, 4 * units]
    bias: Floats32  # [4 * units]


@dataclass(frozen=True, eq=False)
class Dense:
    """Weights of a dense layer."""

    kernel: Floats32  # [inputs, units]
    bias: Floats32  # [units]


@dataclass(frozen=True, eq=False)
class Network:
    """LSTM, LSTM, the context joined, dense relu, dense sigmoid; ``None`` where there is no such layer."""

    sequence_length: int
    n_features: int
    context_width: int  # 0: no context
    scale: Floats32 | None  # [n_features]
    offset: Floats32 | None
    context_scale: Floats32 | None  # [context_width]
    context_offset: Floats32 | None
    context_dense: Dense | None  # relu, between the context and the join
    lstm_1: Lstm
    lstm_2: Lstm
    dense: Dense
    output: Dense


def identical(a: object, b: object) -> bool:
    """Return whether two networks (or parts of them) have the same shapes and, bit for bit, the same weights."""
    if isinstance(a, Network | Lstm | Dense):
        return type(a) is type(b) and all(
            identical(getattr(a, field.name), getattr(b, field.name)) for field in fields(a)
        )
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)  # type: ignore[arg-type]  # None equals no array
    return a == b
