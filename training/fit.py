"""Fitting the network: normalisation, imbalance, early stopping, checkpoints."""

import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from models.durable import replace_file
from models.lstm import build_lstm_model
from training.dataset import Part

PATIENCE = 3  # epochs without a better validation loss
PEAK_RATE = 2e-3  # Adam's learning rate in the first epoch; it falls to 0 along half a cosine (Loshchilov, Hutter 2017)

_NORMALISED_BY = 200_000  # windows, evenly over the training days; more would not change the constants
_AT_ONCE = 4096  # windows of a batch where nothing is learned
_PREDICTED = 65_536  # windows in memory

Floats32 = npt.NDArray[np.float32]
Inputs = Floats32 | tuple[Floats32, Floats32]


def build_for(train: Part) -> keras.Model:
    """Return the untrained network for these windows: normalised by them, starting at their fraud rate.

    Frauds are neither weighted nor repeated: that would raise every probability, and a probability that means what it
    says is worth more. The rarity is met by the output's bias instead, which starts at the log odds of the training
    days, so that the first epochs are not spent on learning that frauds are rare.
    """
    some = np.unique(np.linspace(0, len(train) - 1, min(len(train), _NORMALISED_BY), dtype=np.int64))
    features = train.features[some]
    steps = features[np.arange(features.shape[1]) < train.windows.lengths[some, None]]
    scale, offset = _normalising(steps)
    context_scale, context_offset = _normalising(train.context[some])
    _, length, n_features = train.features.shape
    model = build_lstm_model(
        length,
        n_features,
        context_width=train.context.shape[1],
        scale=scale,
        offset=offset,
        context_scale=context_scale,
        context_offset=context_offset,
    )
    log_odds = math.log(train.fraud_rate / (1 - train.fraud_rate))
    model.get_layer("fraud_probability").bias.assign([log_odds])
    return model


def _normalising(columns: Floats32) -> tuple[list[float], list[float]]:
    """Return scale and offset that bring columns to mean 0 and deviation 1; one that never varies is only centred."""
    mean, deviation = columns.mean(axis=0, dtype=np.float64), columns.std(axis=0, dtype=np.float64)
    # rounding leaves a constant column a deviation that is not quite 0
    scale = 1 / np.where(columns.min(axis=0) < columns.max(axis=0), deviation, 1.0)
    return scale.tolist(), (-mean * scale).tolist()


def fit(
    model: keras.Model,
    train: Part,
    validation: Part,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    scratch: Path,
    verbose: int,
) -> keras.callbacks.History:
    """Train until ``epochs`` or until the validation loss has not improved for :data:`PATIENCE`; keep the best weights.

    The learning rate falls with every epoch and is low in the last of ``epochs``: there rare frauds are told apart.

    The loss decides, not the AUC: it is a proper score of the probability that is served, and with few frauds in the
    validation days the AUC moves by luck.

    Where honest windows were left out of the training days, each that is left weighs as many as it stands for. The loss
    is then that of all windows, in expectation, and the probabilities need no correction.

    Weights and optimizer are saved to ``scratch`` with every epoch, whole or not at all: a run that was killed goes on
    from there when it is called again with the same model, data and options, but looks for the best weights among the
    epochs that follow only, and may end with others than an uninterrupted run. Each better model is saved there as
    ``best.keras``.
    """
    steps = math.ceil(len(train) / batch_size)

    def gone_through() -> int:
        """Return the number of epochs, by the optimizer, which counts on after an interruption."""
        return int(model.optimizer.iterations.numpy()) // steps

    def shuffled() -> Iterator[tuple[Inputs, Floats32, Floats32]]:
        order = np.random.default_rng([seed, gone_through()]).permutation(len(train))
        for begin in range(0, len(order), batch_size):
            rows = np.sort(order[begin : begin + batch_size])  # in order on disk
            is_fraud = train.is_fraud[rows]
            yield _inputs(train.features[rows], train.context[rows]), is_fraud, weights[is_fraud.astype(np.int64)]

    # over their mean, so that the loss stands beside that of validation
    weights = np.array([train.honest_weight, 1.0]) / (1 + (train.honest_weight - 1) * (1 - train.is_fraud.mean()))
    weights = weights.astype(np.float32)

    def in_order() -> Iterator[tuple[Inputs, Floats32]]:
        for begin in range(0, len(validation), _AT_ONCE):
            rows = slice(begin, begin + _AT_ONCE)
            inputs = _inputs(np.asarray(validation.features[rows]), np.asarray(validation.context[rows]))
            yield inputs, validation.is_fraud[rows]

    # what an interrupted run left is read into variables that are there. Keras' own BackupAndRestore keeps the epoch in
    # a second file, and one that was cut short, or the first of a run, stops every run after it
    model.optimizer.build(model.trainable_variables)
    scratch.mkdir(parents=True, exist_ok=True)
    latest, draft = scratch / "latest.weights.h5", scratch / "draft.weights.h5"
    if latest.exists():
        model.load_weights(latest)

    def keep(epoch: int, _: object) -> None:
        if epoch + 1 < epochs:  # after the last one a run that was killed would find nothing left to do
            model.save_weights(draft, overwrite=True)
            replace_file(draft, latest)

    inputs = tf.nest.map_structure(_columns_of, _inputs(train.features, train.context))
    column = tf.TensorSpec((None,), tf.float32)
    history = model.fit(
        _streamed(shuffled, (inputs, column, column), steps),
        validation_data=_streamed(in_order, (inputs, column), math.ceil(len(validation) / _AT_ONCE)),
        epochs=epochs,
        initial_epoch=gone_through(),
        shuffle=False,  # done above
        verbose=verbose,
        callbacks=[
            keras.callbacks.LearningRateScheduler(
                lambda epoch: PEAK_RATE * (1 + math.cos(math.pi * epoch / epochs)) / 2
            ),
            keras.callbacks.LambdaCallback(on_epoch_end=keep),
            keras.callbacks.EarlyStopping("val_loss", patience=PATIENCE, restore_best_weights=True, verbose=1),
            keras.callbacks.ModelCheckpoint(scratch / "best.keras", "val_loss", save_best_only=True),
        ],
    )
    latest.unlink(missing_ok=True)
    return history


def _columns_of(values: Floats32) -> Any:
    return tf.TensorSpec((None, *values.shape[1:]), tf.float32)


def _streamed(batches: Callable[[], Iterator[Any]], signature: Any, steps: int) -> Any:
    data = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return data.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(2)


def predict(model: keras.Model, features: Floats32, context: Floats32) -> Floats32:
    """Return the model's probabilities, ``float32 [n]``.

    Args:
        model: what :func:`build_for` returned.
        features: ``float32 [n, T, F]``, may be mapped from disk.
        context: ``float32 [n, C]``, as a :class:`~training.dataset.Part` has it, may be mapped, too.
    """
    probabilities = np.empty(len(features), np.float32)
    for begin in range(0, len(features), _PREDICTED):
        rows = slice(begin, begin + _PREDICTED)
        inputs = _inputs(np.asarray(features[rows]), np.asarray(context[rows]))
        probabilities[rows] = model.predict(inputs, batch_size=_AT_ONCE, verbose=0)[:, 0]
    return probabilities


def _inputs(features: Floats32, context: Floats32) -> Inputs:
    """Return what the network is fed: two arrays where it has a context."""
    return (features, context) if context.shape[1] else features


def save(model: keras.Model, keras_path: Path, h5_path: Path) -> None:
    """Save as ``.keras`` and as whole-model ``.h5``, without the optimizer's state, which would triple the files."""
    bare = type(model).from_config(model.get_config())  # clone_model would build the optimizer
    bare.set_weights(model.get_weights())
    bare.save(keras_path)
    logging.getLogger("absl").setLevel(logging.ERROR)  # that .h5 is the older format is known, and wanted
    bare.save(h5_path)
