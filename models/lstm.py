"""The network of the project's origin, in Keras. The only module that imports TensorFlow."""

from collections.abc import Sequence

import keras

from models.features import PADDING


def build_lstm_model(
    sequence_length: int,
    n_features: int,
    *,
    context_width: int = 0,
    lstm_units: tuple[int, int] = (128, 64),
    dense_units: int = 32,
    dropout: float = 0.2,
    scale: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
    context_scale: Sequence[float] | None = None,
    context_offset: Sequence[float] | None = None,
    learning_rate: float = 1e-3,
) -> keras.Model:
    """Return the compiled network: two LSTMs over the window, the context joined after them, one probability.

    Inputs are ``sequence`` ``float32 [n, T, F]``, :data:`~models.features.PADDING` in every feature behind a window's
    length, and, where ``context_width`` is not 0, ``context`` ``float32 [n, C]``; the output is ``float32 [n, 1]``.
    Windows must have at least one step, and padding only behind their steps: cuDNN computes no others.

    ``scale`` and ``offset`` (one number a feature) normalise inside the network, ``x * scale + offset``, so that
    serving needs no file beside it; ``context_scale`` and ``context_offset`` do so for the context.

    Raises:
        ValueError: a scale without its offset, or one that does not have a number for each column.
    """
    normalise_sequence = _rescaling("sequence", scale, offset, n_features)
    normalise_context = _rescaling("context", context_scale, context_offset, context_width)

    sequence = keras.Input((sequence_length, n_features), name="sequence", dtype="float32")
    hidden = normalise_sequence(keras.layers.Masking(PADDING, name="masking")(sequence))
    hidden = keras.layers.LSTM(lstm_units[0], return_sequences=True, name="lstm_1")(hidden)
    hidden = keras.layers.Dropout(dropout)(hidden)
    hidden = keras.layers.LSTM(lstm_units[1], name="lstm_2")(hidden)
    hidden = keras.layers.Dropout(dropout)(hidden)
    inputs = [sequence]
    if context_width:
        context = keras.Input((context_width,), name="context", dtype="float32")
        hidden = keras.layers.Concatenate()([hidden, normalise_context(context)])
        inputs.append(context)
    hidden = keras.layers.Dense(dense_units, activation="relu", name="dense")(hidden)
    probability = keras.layers.Dense(1, activation="sigmoid", name="fraud_probability")(hidden)

    model = keras.Model(inputs if context_width else sequence, probability, name="lstm_fraud_model")
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="binary_crossentropy",
        metrics=["accuracy", keras.metrics.AUC(name="auc")],
    )
    return model


def _rescaling(
    name: str, scale: Sequence[float] | None, offset: Sequence[float] | None, width: int
) -> keras.layers.Layer:
    """Return the normalisation as a layer without weights, the identity where none is given."""
    if scale is None and offset is None:
        return lambda tensor: tensor
    if scale is None or offset is None or len(scale) != width or len(offset) != width:
        raise ValueError(f"the {name} has {width} columns: its scale and its offset must be that many numbers each")
    return keras.layers.Rescaling([float(x) for x in scale], [float(x) for x in offset], name=f"normalise_{name}")
