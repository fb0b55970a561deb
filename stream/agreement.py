"""How far two models agree on what both have scored. Pure."""

import numpy as np
import numpy.typing as npt

from models.features import Floats


class RankAgreement:
    """The rank correlation of two models over their last scores. One thread adds, another may ask."""

    #: Scores that are looked back on: a minute's at 100 a second, a batch's when there is much to do.
    SIZE = 4096

    def __init__(self) -> None:
        self._pairs = np.empty((0, 2))

    def add(self, one: Floats, other: Floats) -> None:
        """Take in both models' probabilities of the same events, ``[n]`` each."""
        self._pairs = np.concatenate([self._pairs, np.column_stack([one, other])])[-self.SIZE :]

    def correlation(self) -> float:
        """Return Spearman's rank correlation, not a number before both models have told any two events apart."""
        return rank_correlation(*self._pairs.T)


def rank_correlation(one: Floats, other: Floats) -> float:
    """Return Spearman's rank correlation of ``[n]`` and ``[n]``; equal values share the mean of their ranks.

    It is not a number where all values of one side are equal.
    """
    first, second = (_centred_ranks(values) for values in (one, other))
    spread = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / spread if spread else float("nan")


def _centred_ranks(values: Floats) -> npt.NDArray[np.float64]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return np.asarray(ranks - (len(values) + 1) / 2, np.float64)
