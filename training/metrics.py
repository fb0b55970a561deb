"""How good probabilities are, in the words of the Fraud Detection Handbook (chapters 3 and 4). Pure."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

#: Share of the payments that may be flagged. At a fraud rate of 1 % a perfect model would need just that.
ALERT_BUDGET = 0.01

#: A spec's threshold lies between 0 and 1.
LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 1e-6, 1 - 1e-6

#: Logarithms are of probabilities this far from 0 and 1 at least, as Keras takes them.
LOG_FLOOR = 1e-7

Probabilities = npt.NDArray[np.floating]
Labels = npt.NDArray[np.float32]


def ranking(is_fraud: Labels, probabilities: Probabilities) -> dict[str, float | None]:
    """Return the area under the ROC curve and the average precision; ``None`` where all payments are of one kind.

    They are scikit-learn's, and tests hold them to it; here they are NumPy, so that whoever judges need not install it.
    """
    n, frauds = len(is_fraud), int(np.count_nonzero(is_fraud))
    if not 0 < frauds < n:
        return {"auc": None, "average_precision": None}
    order = np.argsort(-probabilities, kind="stable")
    descending = probabilities[order]
    # equal probabilities are flagged together
    ends = np.flatnonzero(np.append(descending[1:] != descending[:-1], True))
    caught = np.cumsum(is_fraud[order] > 0)[ends]
    false_alerts = ends + 1 - caught
    recall = np.append(0, caught) / frauds
    return {
        "auc": float(np.trapezoid(recall, np.append(0, false_alerts) / (n - frauds))),
        "average_precision": float(np.sum(np.diff(recall) * caught / (ends + 1))),
    }


def loss_and_accuracy(is_fraud: Labels, probabilities: Probabilities) -> dict[str, float]:
    """Return binary cross-entropy and accuracy at one half, as Keras defines them."""
    p = np.clip(probabilities.astype(np.float64), LOG_FLOOR, 1 - LOG_FLOOR)
    loss = -np.where(is_fraud > 0, np.log(p), np.log1p(-p)).mean()
    return {"loss": float(loss), "accuracy": float(((probabilities > 0.5) == (is_fraud > 0)).mean())}


def at_threshold(is_fraud: Labels, probabilities: Probabilities, threshold: float) -> dict[str, float | None]:
    """Return precision and recall of what is above the threshold, and how large a share that is.

    Precision is ``None`` where nothing is flagged, recall where there is no fraud.
    """
    flagged = probabilities > threshold
    caught, n_flagged, frauds = int((flagged & (is_fraud > 0)).sum()), int(flagged.sum()), int(is_fraud.sum())
    return {
        "precision": caught / n_flagged if n_flagged else None,
        "recall": caught / frauds if frauds else None,
        "flagged": float(flagged.mean()),
    }


def threshold_for(probabilities: Probabilities, alert_budget: float = ALERT_BUDGET) -> float:
    """Return the probability that the share ``alert_budget`` of ``probabilities`` lies above, between 0 and 1."""
    return float(np.clip(np.quantile(probabilities, 1 - alert_budget), LOWEST_THRESHOLD, HIGHEST_THRESHOLD))


def threshold_by_cost(is_fraud: Labels, probabilities: Probabilities, cost_of_missed: float) -> float:
    """Return the threshold, between 0 and 1, at which alerts and missed frauds cost least, the highest of equals.

    An alert costs one review, whether it is a fraud or not, and a fraud that is not flagged costs ``cost_of_missed``
    reviews. Of probabilities that mean what they say, that is nearly ``1 / cost_of_missed``.
    """
    order = np.argsort(-probabilities, kind="stable")
    descending = probabilities[order].astype(np.float64)
    caught = np.concatenate([[0.0], np.cumsum(is_fraud[order], dtype=np.float64)])
    costs = np.arange(len(order) + 1) + cost_of_missed * (caught[-1] - caught)  # of flagging the first so many
    costs[1:-1][descending[1:] == descending[:-1]] = np.inf  # equal probabilities are flagged together
    unflagged = np.append(descending, 0.0)  # the highest
    return float(np.clip(unflagged[np.argmin(costs)], LOWEST_THRESHOLD, HIGHEST_THRESHOLD))


def calibration(is_fraud: Labels, probabilities: Probabilities, bins: int = 10) -> dict[str, float]:
    """Return mean probability, fraud rate, Brier score, and the expected calibration error over bins of equal count."""
    values, place, count = np.unique(probabilities, return_inverse=True, return_counts=True)
    rates = np.bincount(place, is_fraud) / count  # equal probabilities share theirs: their order means nothing
    off_by = np.array_split(np.repeat(values - rates, count), min(bins, len(probabilities)))
    return {
        "mean_probability": float(probabilities.mean()),
        "fraud_rate": float(is_fraud.mean()),
        "brier": float(np.square(probabilities.astype(np.float64) - is_fraud).mean()),
        "expected_calibration_error": sum(abs(float(of_bin.sum())) for of_bin in off_by) / len(probabilities),
    }


class Reliability(NamedTuple):
    """Payments of like probability."""

    mean_probability: float
    fraud_rate: float
    payments: int


def reliability(is_fraud: Labels, probabilities: Probabilities, bins: int = 10) -> list[Reliability]:
    """Return the reliability curve: payments in bins of equal width between 0 and 1, empty ones left out."""
    place = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    means = (np.bincount(place, values, bins) / np.maximum(count, 1) for values in (probabilities, is_fraud))
    columns = zip(*(mean.tolist() for mean in means), count.tolist(), strict=True)
    return [Reliability(*values) for values in columns if values[-1]]


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
