"""The gate: may a challenger take the champion's place, by what both do on the same held-out days? Pure.

It asks whether the challenger is *not worse*, not whether the figures are higher: on so few frauds the figures move by
luck. That is a test of non-inferiority, as of a medicine that is to replace another (Piaggio et al. 2012, the CONSORT
extension): the challenger passes where the whole interval of its gain lies above a margin that may be lost, in every
measure. The burden of proof is the challenger's. Few frauds make a wide interval, and a gate that cannot tell does not
let through. Since all measures have to pass, none needs a correction for their number (Berger 1982).
"""

from collections.abc import Sequence

import numpy as np

from models.context import day_date
from models.decisions import Comparison, Finding, Measured
from training.daily import CARDS_A_DAY
from training.gate_bootstrap import CARD_PRECISION, LOG_LOSS, MEASURES, Floats, bootstrap
from training.metrics import Probabilities
from training.scored import Scored

#: Share of what the champion has in a measure that a challenger may lose; of the card precision at least a card a day,
#: since nobody who looks into a hundred sees less.
MARGIN, ONE_CARD = 0.05, 1 / CARDS_A_DAY

#: Of the intervals: each end is missed by a twentieth, the usual risk of a non-inferiority test.
LEVEL = 0.9

#: With fewer clusters that hold a fraud, intervals of a bootstrap are too short (Cameron, Gelbach, Miller 2008).
ENOUGH_CARDS = 30

RESAMPLES, SEED = 1000, 1


def compare(
    payments: Scored,
    challenger: Probabilities,
    notes: Sequence[str] = (),
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Comparison:
    """Compare two models on the same payments: average precision, card precision at 100 a day, and log loss.

    The log loss stands for calibration. It is a proper score: of two models that rank alike the better calibrated one
    has the lower, and unlike the Brier score it does not overlook that small probabilities are wrong by factors. The
    expected calibration error depends on bins, and is biased upwards in draws, so no interval can be made of it so.

    Args:
        payments: held-out payments of cards that are not known as defrauded, with the champion's probabilities.
        challenger: ``float32 [n]``, the challenger's, finite as the champion's.
        notes: kept with the comparison.
        resamples: draws of the bootstrap.
        seed: of the draws.

    Raises:
        ValueError: there is no fraud among the payments, or a probability is not finite.
    """
    fraud = payments.is_fraud > 0
    if not fraud.any():
        raise ValueError("without a fraud no model can be told from another")
    if not (np.isfinite(payments.probabilities).all() and np.isfinite(challenger).all()):
        raise ValueError("a probability is not finite")
    cards = len(np.unique(payments.users[fraud]))
    draws = bootstrap(payments, challenger, resamples=resamples if cards >= ENOUGH_CARDS else 0, seed=seed)
    return Comparison(
        first_day=day_date(int(payments.days.min())),
        last_day=day_date(int(payments.days.max())),
        payments=len(payments),
        frauds=int(fraud.sum()),
        defrauded_cards=cards,
        level=LEVEL,
        resamples=resamples,
        seed=seed,
        measures={name: _measured(name, *draws[:, place]) for place, name in enumerate(MEASURES)},
        notes=tuple(notes),
    )


def finding(low: float, high: float, margin: float) -> Finding:
    """Return what an interval of a gain says, where ``margin`` may be lost.

    A loss that is certain, but surely within the margin, is no reason to refuse.
    """
    if low > 0:
        return "better"
    if low >= -margin:
        return "not worse"
    return "worse" if high < 0 else "cannot tell"


def _measured(name: str, champion: Floats, challenger: Floats) -> Measured:
    """Return a measure, the first value of each model being that of the payments as they are, the others of draws."""
    gains = champion - challenger if name == LOG_LOSS else challenger - champion
    margin = MARGIN * float(champion[0])
    if name == CARD_PRECISION:
        margin = max(margin, ONE_CARD)
    figures = {
        "champion": float(champion[0]),
        "challenger": float(challenger[0]),
        "gain": float(gains[0]),
        "margin": margin,
    }
    if len(gains) == 1:
        return Measured(**figures, low=None, high=None, finding="cannot tell")
    low, high = map(float, np.quantile(gains[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return Measured(**figures, low=low, high=high, finding=finding(low, high, margin))
