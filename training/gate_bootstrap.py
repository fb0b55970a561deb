"""The paired bootstrap of the gate: both models measured again and again on cards drawn with replacement. Pure.

What is drawn is a card with all of its payments, since payments of one card are alike: a fraud is a story of several.
To draw single payments would count each as evidence of its own, and give intervals that are too short (Field, Welsh
2007, Bootstrapping clustered data; Davison, Hinkley 1997, section 3.8). Days would be clusters as well, but a test has
too few of them (Cameron, Gelbach, Miller 2008). Both models see the same draws, so that what is hard for both cancels
(Efron, Tibshirani 1993, chapter 8).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from models.window import Ints
from training.daily import CARDS_A_DAY
from training.metrics import LOG_FLOOR, Probabilities
from training.scored import Scored

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
#: ``[cards]`` how often each card was drawn: once on average, and 256 times in no lifetime. In one byte, since the time
#: goes into looking them up payment by payment.
Weights = npt.NDArray[np.uint8]

#: A measure of one model on drawn cards.
Measure = Callable[[Weights], float]

#: Of what :func:`bootstrap` returns, in this order.
MEASURES = AVERAGE_PRECISION, CARD_PRECISION, LOG_LOSS = (
    "average_precision",
    f"card_precision_at_{CARDS_A_DAY}",
    "log_loss",
)


def bootstrap(payments: Scored, challenger: Probabilities, *, resamples: int, seed: int) -> Floats:
    """Measure two models on the payments as they are, and on ``resamples`` draws of their cards.

    Args:
        payments: held-out payments with the champion's probabilities, a fraud among them.
        challenger: ``float32 [n]``, the challenger's.
        resamples: how many draws.
        seed: of the draws.

    Returns:
        ``float64 [2, 3, 1 + resamples]``: champion and challenger; :data:`MEASURES`; the payments as they are, then the
        draws. A draw without a fraud has no average precision: NaN.
    """
    users, card = np.unique(payments.users, return_inverse=True)
    cards = len(users)
    is_fraud = payments.is_fraud > 0
    of_models = [
        (
            average_precision(card, is_fraud, probabilities),
            card_precision(card, is_fraud, probabilities, payments.days),
            log_loss(card, is_fraud, probabilities),
        )
        for probabilities in (payments.probabilities, challenger)
    ]
    rng = np.random.default_rng(seed)
    values = np.empty((len(of_models), len(MEASURES), 1 + resamples))
    for draw in range(1 + resamples):
        drawn = rng.integers(0, cards, cards) if draw else np.arange(cards)
        weights = np.bincount(drawn, minlength=cards).astype(np.uint8)
        values[..., draw] = [[measure(weights) for measure in measures] for measures in of_models]
    return values


def average_precision(card: Ints, is_fraud: Bools, probabilities: Probabilities) -> Measure:
    """Return scikit-learn's average precision as a measure of drawn cards, ``card`` being rows of the weights.

    Precision counts only where a fraud is found. So payments between one fraud's probability and the next are summed
    in one go, and those below the last fraud not at all.
    """
    levels = np.unique(probabilities[is_fraud])
    level = np.searchsorted(levels, probabilities, side="right") - 1  # the highest at which a payment is flagged
    flagged = np.flatnonzero(level >= 0)
    flagged = flagged[np.argsort(-level[flagged], kind="stable")]
    caught = flagged[is_fraud[flagged]]
    flagged_cards, flagged_steps = card[flagged], _steps(level[flagged])
    caught_cards, caught_steps = card[caught], _steps(level[caught])

    def measure(weights: Weights) -> float:
        newly_caught = np.add.reduceat(weights[caught_cards], caught_steps, dtype=np.int64)
        n_caught = np.cumsum(newly_caught)
        n_flagged = np.cumsum(np.add.reduceat(weights[flagged_cards], flagged_steps, dtype=np.int64))
        if not n_caught[-1]:
            return np.nan
        return float((newly_caught * n_caught / np.maximum(n_flagged, 1)).sum() / n_caught[-1])

    return measure


def card_precision(
    card: Ints, is_fraud: Bools, probabilities: Probabilities, days: Ints, k: int = CARDS_A_DAY
) -> Measure:
    """Return the mean over the days of :func:`training.daily.card_precision_top_k` as a measure of drawn cards.

    A card that was drawn twice fills two places of a day's list, and leaves the following days twice.
    """
    leaves = np.bincount(card, is_fraud) > 0
    lists = [_ranked_cards(card[rows], is_fraud[rows], probabilities[rows], leaves, k) for rows in _by_day(days)]

    def measure(weights: Weights) -> float:
        left, detected = weights.astype(np.int64), 0
        for cards, defrauded in lists:
            drawn = left[cards]
            found = np.clip(k - (np.cumsum(drawn) - drawn), 0, drawn)[defrauded]
            left[cards[defrauded]] -= found
            detected += found.sum()
        return float(detected / (k * len(lists)))

    return measure


def log_loss(card: Ints, is_fraud: Bools, probabilities: Probabilities) -> Measure:
    """Return the mean binary cross-entropy as a measure of drawn cards."""
    p = np.clip(probabilities.astype(np.float64), LOG_FLOOR, 1 - LOG_FLOOR)
    losses = np.bincount(card, -np.where(is_fraud, np.log(p), np.log1p(-p)))
    payments = np.bincount(card)
    return lambda weights: float((losses @ weights) / (payments @ weights))


def _ranked_cards(
    card: Ints, is_fraud: Bools, probabilities: Probabilities, leaves: Bools, k: int
) -> tuple[Ints, Bools]:
    """Return a day's most suspicious cards in order, and which are defrauded on it.

    They are so many that every draw fills the list: among them 2 k never leave it, and these are drawn 2 k times, give
    or take sqrt(2 k).
    """
    cards, of_card = np.unique(card, return_inverse=True)
    score, defrauded = np.full(len(cards), -np.inf), np.zeros(len(cards), np.bool_)
    np.maximum.at(score, of_card, probabilities)
    np.logical_or.at(defrauded, of_card, is_fraud)
    order = np.argsort(-score, kind="stable")
    staying = np.cumsum(~leaves[cards[order]])
    order = order[: int(np.searchsorted(staying, 2 * k)) + 1]
    return cards[order], defrauded[order]


def _by_day(days: Ints) -> list[Ints]:
    order = np.argsort(days, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(days[order])) + 1)


def _steps(level: Ints) -> Ints:
    """Return where each level begins among payments in order of falling level."""
    return np.flatnonzero(np.diff(level, prepend=level[0] + 1))
