"""Gradient boosting on what the network sees of the scored event: it measures what the past in the window adds."""

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from training.dataset import Part
from training.prediction import Floats32

#: Windows that it learns from at most, evenly over the training days; more would not fit everybody's memory.
WINDOWS = 1_000_000

_PREDICTED = 65_536  # windows in memory


@dataclass(frozen=True)
class Baseline:
    """Fitted trees; :func:`fit_baseline` makes them."""

    trees: HistGradientBoostingClassifier
    windows: int  # that they were fitted to

    def predict(self, part: Part) -> Floats32:
        """Return the probabilities of a part's windows, ``float32 [n]``."""
        probabilities = np.empty(len(part), np.float32)
        with threadpool_limits(1, "openmp"):
            for begin in range(0, len(part), _PREDICTED):
                rows = slice(begin, begin + _PREDICTED)
                probabilities[rows] = self.trees.predict_proba(_columns(part, rows))[:, 1]
        return probabilities


def fit_baseline(train: Part, validation: Part, seed: int) -> Baseline:
    """Fit histogram gradient boosting to the features of the scored event, the window's length and the context.

    It learns from the same rows with the same weights as the network, and stops as that does, by the loss of the
    validation days; where these are days of training, by that of a tenth of the rows, which it does not learn from.
    """
    trees = HistGradientBoostingClassifier(
        max_iter=500, learning_rate=0.05, early_stopping=True, n_iter_no_change=20, random_state=seed
    )
    learnt, stopped_by = _evenly(train), _evenly(validation)
    is_fraud = train.is_fraud[learnt]
    unseen = {}
    if validation.begin_ms >= train.end_ms:
        unseen = {"X_val": _columns(validation, stopped_by), "y_val": validation.is_fraud[stopped_by]}
    with threadpool_limits(1, "openmp"):  # its threads spin at barriers: on CPUs that others use, 30 times slower
        trees.fit(
            _columns(train, learnt),
            is_fraud,
            np.where(is_fraud > 0, 1.0, train.honest_weight),
            **unseen,
        )
    return Baseline(trees, len(is_fraud))


def _evenly(part: Part) -> slice:
    return slice(0, len(part), -(-len(part) // WINDOWS))


def _columns(part: Part, rows: slice) -> Floats32:
    """Return ``float32 [n, F + 1 + C]``."""
    lengths = part.windows.lengths[rows]
    last = part.features[np.arange(len(part))[rows], lengths - 1]
    return np.concatenate([last, lengths[:, None].astype(np.float32), part.context[rows]], axis=1)
