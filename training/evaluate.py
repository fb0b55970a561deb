"""What a trained model does on days that it has not seen."""

from typing import Any

import keras
import numpy as np

from training.dataset import Part
from training.fit import Floats32, predict
from training.metrics import ALERT_BUDGET, at_threshold, calibration, ranking, shuffle_steps

_AT_ONCE = 65_536  # windows


def evaluate(model: keras.Model, test: Part, threshold: float, seed: int) -> dict[str, Any]:
    """Return ``metrics.json``: of the test days, and of the same days with the order inside the windows shuffled.

    ``shuffled`` moves every step of a window, the scored one among them; ``history_shuffled`` only those before it.
    """
    probabilities = predict(model, test.features, test.context)
    loss, accuracy = _loss_and_accuracy(test.is_fraud, probabilities)
    rng = np.random.default_rng(seed)
    shuffled, history_shuffled = (
        ranking(test.is_fraud, _predict_shuffled(model, test, rng, keep_last=keep_last)) for keep_last in (False, True)
    )
    return {
        "loss": loss,
        "accuracy": accuracy,
        **ranking(test.is_fraud, probabilities),
        "threshold": threshold,
        "alert_budget": ALERT_BUDGET,
        **at_threshold(test.is_fraud, probabilities, threshold),
        **calibration(test.is_fraud, probabilities),
        "n": len(test),
        "frauds": int(test.is_fraud.sum()),
        "shuffled": shuffled,
        "history_shuffled": history_shuffled,
    }


def _predict_shuffled(model: keras.Model, test: Part, rng: np.random.Generator, *, keep_last: bool) -> Floats32:
    probabilities = np.empty(len(test), np.float32)
    for begin in range(0, len(test), _AT_ONCE):  # the features may be mapped from disk, and more than memory holds
        rows = slice(begin, begin + _AT_ONCE)
        shuffled = shuffle_steps(np.asarray(test.features[rows]), test.windows.lengths[rows], rng, keep_last=keep_last)
        probabilities[rows] = predict(model, shuffled, test.context[rows])
    return probabilities


def _loss_and_accuracy(is_fraud: Floats32, probabilities: Floats32) -> tuple[float, float]:
    """Return binary cross-entropy and accuracy at one half, as Keras defines them."""
    p = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    loss = -np.where(is_fraud > 0, np.log(p), np.log1p(-p)).mean()
    return float(loss), float(((probabilities > 0.5) == (is_fraud > 0)).mean())
