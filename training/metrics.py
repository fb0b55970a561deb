"""How good probabilities are, in the words of the Fraud Detection Handbook (chapters 3 and 4). Pure."""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

#: Share of the payments that may be flagged. At a fraud rate of 1 % a perfect model would need just that.
ALERT_BUDGET = 0.01

Probabilities = npt.NDArray[np.float32]
Labels = npt.NDArray[np.float32]


def ranking(is_fraud: Labels, probabilities: Probabilities) -> dict[str, float]:
    """Return the area under the ROC curve and the average precision."""
    return {
        "auc": float(roc_auc_score(is_fraud, probabilities)),
        "average_precision": float(average_precision_score(is_fraud, probabilities)),
    }


def at_threshold(is_fraud: Labels, probabilities: Probabilities, threshold: float) -> dict[str, float]:
    """Return precision and recall of what is above the threshold, and how large a share that is."""
    flagged = probabilities > threshold
    caught = float((flagged & (is_fraud > 0)).sum())
    return {
        "precision": caught / max(int(flagged.sum()), 1),
        "recall": caught / float(is_fraud.sum()),
        "flagged": float(flagged.mean()),
    }


def threshold_for(probabilities: Probabilities, alert_budget: float = ALERT_BUDGET) -> float:
    """Return the probability that the share ``alert_budget`` of ``probabilities`` lies above, between 0 and 1."""
    return float(np.clip(np.quantile(probabilities, 1 - alert_budget), 1e-6, 1 - 1e-6))


def calibration(is_fraud: Labels, probabilities: Probabilities, bins: int = 10) -> dict[str, float]:
    """Return mean probability, fraud rate, Brier score, and the expected calibration error over bins of equal count."""
    order = np.argsort(probabilities, kind="stable")
    off = [
        abs(float(probabilities[rows].mean() - is_fraud[rows].mean())) * len(rows)
        for rows in np.array_split(order, min(bins, len(order)))
    ]
    return {
        "mean_probability": float(probabilities.mean()),
        "fraud_rate": float(is_fraud.mean()),
        "brier": float(np.square(probabilities.astype(np.float64) - is_fraud).mean()),
        "expected_calibration_error": sum(off) / len(order),
    }


def shuffle_steps(
    features: npt.NDArray[np.float32], lengths: npt.NDArray[np.int64], rng: np.random.Generator, *, keep_last: bool
) -> npt.NDArray[np.float32]:
    """Return ``float32 [n, T, F]`` with the steps of each window in random order, padding where it was.

    ``keep_last`` leaves the scored event in its place and shuffles only what came before it. What a model loses by
    it is what it knew of the order.
    """
    column = np.arange(features.shape[1])
    keys = rng.random(features.shape[:2])
    fixed = column >= (lengths - keep_last)[:, None]
    keys = np.where(fixed, 1.0 + column, keys)
    return np.take_along_axis(features, np.argsort(keys, axis=1)[:, :, None], axis=1)
