"""What a model learned from, as it travels in its bundle: by it the scorer measures drift."""

from collections.abc import Sequence

import numpy as np

from models.features import Floats
from models.reference import Reference, columns_of, reference_of
from training.dataset import Dataset, Part
from training.prediction import Floats32

_LOOKED_AT = 200_000  # windows, evenly over the training days: the bins would not move


def training_reference(dataset: Dataset, names: Sequence[str], scores: Floats32) -> Reference:
    """Return the distribution of the training days' payments and of the validation days' scores.

    Honest windows that were left out of a part are counted through those that are there.

    Args:
        dataset: what the model was trained on.
        names: of the bundle's columns, :func:`models.reference.column_names`.
        scores: the finished model's probabilities of the validation days, ``float32 [n]``. Those of the training days
            would be too sure.
    """
    train = dataset.train
    some = train.take(np.unique(np.linspace(0, len(train) - 1, min(len(train), _LOOKED_AT), dtype=np.int64)))
    columns = columns_of(some.features, some.windows.lengths, some.context)
    return reference_of(names, columns, _weights(some), scores, _weights(dataset.validation))


def _weights(part: Part) -> Floats:
    """Return how many payments each window stands for, ``float64 [n]``."""
    return np.where(np.asarray(part.is_fraud) > 0, 1.0, part.honest_weight)
