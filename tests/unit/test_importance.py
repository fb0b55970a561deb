"""What a model makes of its input, told from outside."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the training extra")

from models.window import RECORD, Windows
from training.dataset import Part
from training.importance import SAMPLE, permutation_importance
from training.metrics import ranking
from training.prediction import Floats32, predict_part, ranking_shuffled

Lengths = np.ndarray
FEATURES, CONTEXT = ("idle", "telling"), ("loud", "still")


def random_part(n: int, seed: int, honest_weight: float = 1.0) -> Part:
    """Frauds are what the last step's second feature and the first column of the context say together."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 6, n)
    features = rng.random((n, 5, 2)).astype(np.float32)
    features[np.arange(5) >= lengths[:, None]] = 0
    context = rng.random((n, 2)).astype(np.float32)
    is_fraud = truth(features, lengths, context) > 1.5
    windows = Windows(np.zeros((n, 5), RECORD), lengths)
    users = np.arange(n, dtype=np.uint64)
    return Part(windows, features, context, users, is_fraud.astype(np.float32), 0, 1, honest_weight)


def truth(features: Floats32, lengths: Lengths, context: Floats32) -> Floats32:
    return features[np.arange(len(lengths)), lengths - 1, 1] + context[:, 0]


def test_only_what_a_model_looks_at_has_importance() -> None:
    part = random_part(3000, 1)
    told = permutation_importance(truth, part, FEATURES, CONTEXT, seed=1)
    assert (told["n"], told["average_precision"]) == (3000, 1.0)
    assert told["by_step"][0] > 0.2
    assert told["by_step"][1:] == [0.0] * 4
    assert told["by_feature"]["telling"] > 0.2
    assert told["by_feature"]["idle"] == 0.0
    assert told["by_context"]["loud"] > 0.2
    assert told["by_context"]["still"] == 0.0
    assert permutation_importance(truth, part, FEATURES, CONTEXT, seed=1) == told


def test_a_step_is_exchanged_between_windows_that_have_it_and_a_feature_between_windows_of_a_length() -> None:
    part = random_part(2000, 2)
    seen = []

    def watching(features: Floats32, lengths: Lengths, context: Floats32) -> Floats32:
        seen.append((features.copy(), context.copy()))
        return truth(features, lengths, context)

    permutation_importance(watching, part, FEATURES, CONTEXT, seed=3)
    (whole, _), *changed = seen
    padding = np.arange(5) >= part.windows.lengths[:, None]
    assert len(changed) == 5 + 2 + 2
    for features, context in changed:
        assert not features[padding].any(), "padding has become a step"
        np.testing.assert_array_equal(np.sort(features, axis=None), np.sort(whole, axis=None))
        np.testing.assert_array_equal(np.sort(context, axis=0), np.sort(part.context, axis=0))
    rows, of_length = np.arange(2000), part.windows.lengths
    feature = changed[5][0]
    for length in range(1, 6):
        mine = rows[of_length == length]
        before, after = (sorted(map(tuple, each[mine, :, 0].tolist())) for each in (whole, feature))
        assert before == after
        np.testing.assert_array_equal(feature[mine, :, 1], whole[mine, :, 1])


def test_a_sample_weighs_as_much_as_the_days_it_is_of() -> None:
    part = random_part(4 * SAMPLE, 4)
    noisy = np.random.default_rng(5).normal(0, 0.2, len(part)).astype(np.float32)

    def model(features: Floats32, lengths: Lengths, context: Floats32) -> Floats32:
        return truth(features, lengths, context) + np.resize(noisy, len(lengths))

    told = permutation_importance(model, part, FEATURES, CONTEXT, seed=1)
    assert told["n"] == SAMPLE
    assert (part.is_fraud.mean(), told["average_precision"]) == pytest.approx(
        (0.125, ranking(part.is_fraud, predict_part(model, part))["average_precision"]), abs=0.02
    )


def test_order_matters_only_to_a_model_that_looks_at_it() -> None:
    part = random_part(3000, 6)

    def mean(features: Floats32, lengths: Lengths, context: Floats32) -> Floats32:
        return features[:, :, 1].sum(axis=1) / lengths + context[:, 0]

    shuffled = ranking_shuffled(truth, part, seed=1)
    assert shuffled["history_shuffled"]["average_precision"] == 1.0
    assert (shuffled["shuffled"]["average_precision"] or 0) < 0.9
    unchanged = ranking(part.is_fraud, predict_part(mean, part))
    for ranked in ranking_shuffled(mean, part, seed=1).values():
        assert ranked == {name: pytest.approx(value, abs=1e-3) for name, value in unchanged.items()}
