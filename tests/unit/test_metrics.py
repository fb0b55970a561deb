"""Metrics against scikit-learn's."""

import numpy as np
import pytest

metrics = pytest.importorskip("sklearn.metrics", reason="needs the training extra")

from training.metrics import at_threshold, calibration, ranking  # noqa: E402

THRESHOLD = 0.7


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_metrics_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    is_fraud = (rng.random(2000) < 0.05).astype(np.float32)
    probabilities = np.clip(0.3 * is_fraud + rng.random(2000), 0, 1).round(2).astype(np.float32)  # with ties

    ranked, flagged = ranking(is_fraud, probabilities), at_threshold(is_fraud, probabilities, THRESHOLD)

    assert ranked["auc"] == pytest.approx(metrics.roc_auc_score(is_fraud, probabilities))
    assert ranked["average_precision"] == pytest.approx(metrics.average_precision_score(is_fraud, probabilities))
    assert flagged["precision"] == pytest.approx(metrics.precision_score(is_fraud, probabilities > THRESHOLD))
    assert flagged["recall"] == pytest.approx(metrics.recall_score(is_fraud, probabilities > THRESHOLD))
    brier = calibration(is_fraud, probabilities)["brier"]
    assert brier == pytest.approx(metrics.brier_score_loss(is_fraud, probabilities))
