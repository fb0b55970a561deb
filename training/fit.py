"""Fitting the network: normalisation, imbalance, early stopping, checkpoints."""

import logging
import math
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from models.lstm import build_lstm_model
from training.dataset import Part

PATIENCE = 3  # epochs without a better validation loss

Floats32 = npt.NDArray[np.float32]


def build_for(train: Part) -> keras.Model:
    """Return the untrained network for these windows: normalised by their steps, starting at their fraud rate.

    Frauds are neither weighted nor repeated: that would raise every probability, and a probability that means what it
    says is worth more. The rarity is met by the output's bias instead, which starts at the log odds of the training
    days, so that the first epochs are not spent on learning that frauds are rare.
    """
    steps = train.features[np.arange(train.features.shape[1]) < train.windows.lengths[:, None]]
    mean, deviation = steps.mean(axis=0, dtype=np.float64), steps.std(axis=0, dtype=np.float64)
    scale = 1 / np.where(deviation > 0, deviation, 1.0)
    model = build_lstm_model(*train.features.shape[1:], scale=scale.tolist(), offset=(-mean * scale).tolist())
    log_odds = math.log(train.fraud_rate / (1 - train.fraud_rate))
    model.get_layer("fraud_probability").bias.assign([log_odds])
    return model


def fit(
    model: keras.Model, train: Part, validation: Part, *, epochs: int, batch_size: int, checkpoint: Path, verbose: int
) -> keras.callbacks.History:
    """Train until ``epochs`` or until the validation loss has not improved for :data:`PATIENCE`; keep the best weights.

    The loss decides, not the AUC: it is a proper score of the probability that is served, and with few frauds in the
    validation days the AUC moves by luck. Each better model is saved to ``checkpoint`` (``.keras``).
    """
    return model.fit(
        train.features,
        train.is_fraud,
        validation_data=(validation.features, validation.is_fraud),
        epochs=epochs,
        batch_size=batch_size,
        verbose=verbose,
        callbacks=[
            keras.callbacks.EarlyStopping("val_loss", patience=PATIENCE, restore_best_weights=True, verbose=1),
            keras.callbacks.ModelCheckpoint(checkpoint, "val_loss", save_best_only=True),
        ],
    )


def predict(model: keras.Model, features: Floats32) -> Floats32:
    """Return the model's probabilities, ``float32 [n]``."""
    return np.asarray(model.predict(features, batch_size=4096, verbose=0), np.float32)[:, 0]


def save(model: keras.Model, keras_path: Path, h5_path: Path) -> None:
    """Save as ``.keras`` and as whole-model ``.h5``, without the optimizer's state, which would triple the files."""
    bare = type(model).from_config(model.get_config())  # clone_model would build the optimizer
    bare.set_weights(model.get_weights())
    bare.save(keras_path)
    logging.getLogger("absl").setLevel(logging.ERROR)  # that .h5 is the older format is known, and wanted
    bare.save(h5_path)
