"""The network of the project's origin, in Keras. The only module that imports TensorFlow."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.features import PADDING

if TYPE_CHECKING:
    import keras


def build_lstm_model(
    sequence_length: int,
    n_features: int,
    *,
    context_width: int = 0,
    context_units: int = 64,
    lstm_units: tuple[int, int] = (128, 64),
    dense_units: int = 32,
    dropout: float = 0.2,
    scale: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
    context_scale: Sequence[float] | None = None,
    context_offset: Sequence[float] | None = None,
    learning_rate: float = 1e-3,
) -> "keras.Model":
    """Return the compiled network: two LSTMs over the window, the context joined after them, one probability.

    Inputs are ``sequence`` ``float32 [n, T, F]``, :data:`~models.features.PADDING` in every feature behind a window's
    length, and, where ``context_width`` is not 0, ``context`` ``float32 [n, C]``, given as a list of the two. The
    output is ``float32 [n, 1]``. Windows must have at least one step and padding only behind their steps: cuDNN
    computes no others.

    The context passes a dense layer of its own, relu, before it is joined: one layer of ``dense_units`` for it and the
    window's 64 states learns too little of it (measured, docs/quality.md). ``context_units`` 0 leaves that out.

    ``scale`` and ``offset`` (one number a feature) normalise inside the network, ``x * scale + offset``, so that
    serving needs no file beside it; ``context_scale`` and ``context_offset`` do so for the context.

    Raises:
        ValueError: a scale without its offset, or one that does not have a number for each column.
    """
    import keras  # noqa: PLC0415 - with TensorFlow that takes seconds

    normalise_sequence = _rescaling("sequence", scale, offset, n_features)
    normalise_context = _rescaling("context", context_scale, context_offset, context_width)

    window = [
        keras.Input((sequence_length, n_features), name="sequence", dtype="float32"),
        keras.layers.Masking(PADDING, name="masking"),
        *normalise_sequence,
        keras.layers.LSTM(lstm_units[0], return_sequences=True, name="lstm_1"),
        keras.layers.Dropout(dropout),
        keras.layers.LSTM(lstm_units[1], name="lstm_2"),
        keras.layers.Dropout(dropout),
    ]
    head = [
        keras.layers.Dense(dense_units, activation="relu", name="dense"),
        keras.layers.Dense(1, activation="sigmoid", name="fraud_probability"),
    ]
    # The window is a Sequential of its own: Keras writes the mask of a functional graph as operations beside the
    # layers, and then cannot read its own .h5.
    if context_width:
        sequence = keras.Input((sequence_length, n_features), name="sequence", dtype="float32")
        context = keras.Input((context_width,), name="context", dtype="float32")
        hidden = keras.Sequential(window, name="window")(sequence)
        beside = context
        for layer in normalise_context:
            beside = layer(beside)
        if context_units:
            beside = keras.layers.Dense(context_units, activation="relu", name="context_dense")(beside)
            beside = keras.layers.Dropout(dropout)(beside)
        hidden = keras.layers.Concatenate(name="join")([hidden, beside])
        for layer in head:
            hidden = layer(hidden)
        model = keras.Model([sequence, context], hidden, name="lstm_fraud_model")
    else:
        model = keras.Sequential([*window, *head], name="lstm_fraud_model")
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="binary_crossentropy",
        metrics=["accuracy", keras.metrics.AUC(name="auc")],
    )
    return model


def _rescaling(
    name: str, scale: Sequence[float] | None, offset: Sequence[float] | None, width: int
) -> "list[keras.layers.Layer]":
    """Return the normalisation as a layer without weights, no layer where none is given."""
    import keras  # noqa: PLC0415 - as above

    if scale is None and offset is None:
        return []
    if scale is None or offset is None or len(scale) != width or len(offset) != width:
        raise ValueError(f"the {name} has {width} columns: its scale and its offset must be that many numbers each")
    return [keras.layers.Rescaling([float(x) for x in scale], [float(x) for x in offset], name=f"normalise_{name}")]
