"""Permutation importance: what average precision is lost when one part of the input is another window's."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from models.window import Ints
from training.dataset import Part
from training.prediction import Floats32, Predict

#: So many windows are looked at; each part of the input takes one more prediction of them all.
SAMPLE = 20_000

_FRAUDS = SAMPLE // 4  # of the sample at most; where there are fewer, all of them


def permutation_importance(
    predict: Predict, part: Part, features: Sequence[str], context: Sequence[str], seed: int
) -> dict[str, Any]:
    """Return the drop of average precision by step, feature and context column, for JSON.

    The drop is that of a sample with all frauds, or many, in which a window that is no fraud weighs as many as it
    stands for, so it is that of the days themselves, but for chance. A step, all its features together, and a column
    of the context are exchanged between windows that have them; a feature is so in all its steps, between windows of
    equal length. Inputs that say the same share what they are worth: each alone loses little.

    Args:
        predict: the model.
        part: the days.
        features: names of a step's columns.
        context: names of the context's columns.
        seed: of the sample and the exchanges.
    """
    rng = np.random.default_rng(seed)
    sample, weights = _sample(part, rng)
    lengths = sample.windows.lengths

    def precision(changed: Floats32, context_changed: Floats32) -> float:
        probabilities = predict(changed, lengths, context_changed)
        return float(average_precision_score(sample.is_fraud, probabilities, sample_weight=weights))

    whole = precision(sample.features, sample.context)
    by_step = []
    for back in range(sample.features.shape[1]):
        has_it = np.flatnonzero(lengths > back)
        if len(has_it):
            changed = sample.features.copy()
            at = lengths[has_it] - 1 - back
            changed[has_it, at] = changed[has_it, at][rng.permutation(len(has_it))]
            by_step.append(whole - precision(changed, sample.context))
    by_feature = {}
    for column, name in enumerate(features):
        changed = sample.features.copy()
        for rows in _of_equal_length(lengths):
            changed[rows, :, column] = changed[rng.permutation(rows), :, column]
        by_feature[name] = whole - precision(changed, sample.context)
    by_context = {}
    for column, name in enumerate(context):
        changed = sample.context.copy()
        changed[:, column] = rng.permutation(changed[:, column])
        by_context[name] = whole - precision(sample.features, changed)
    return {
        "n": len(sample),
        "average_precision": whole,
        "by_step": by_step,  # the scored event first, then the one before it
        "by_feature": by_feature,
        "by_context": by_context,
    }


def _sample(part: Part, rng: np.random.Generator) -> tuple[Part, Floats32]:
    """Return some windows, and for how many each of them stands."""
    frauds, honest = (np.flatnonzero(kind) for kind in (part.is_fraud > 0, part.is_fraud == 0))
    some_frauds = rng.permutation(frauds)[:_FRAUDS]
    some_honest = rng.permutation(honest)[: SAMPLE - len(some_frauds)]
    rows = np.sort(np.concatenate([some_frauds, some_honest]))  # in order on disk
    sample = part.take(rows)
    shares = np.array([len(some_honest) / len(honest), len(some_frauds) / len(frauds)])
    weights = (1 / shares)[sample.is_fraud.astype(np.int64)]
    return sample, weights.astype(np.float32)


def _of_equal_length(lengths: Ints) -> list[Ints]:
    return [np.flatnonzero(lengths == length) for length in np.unique(lengths)]
