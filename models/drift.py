"""How far the payments that are scored are from those a model learned from: bins, shares, and the PSI of the two.

The population stability index of a column is the sum over its bins of ``(o - r) ln(o / r)``, where ``r`` is the share
of the training's payments in a bin and ``o`` that of the payments observed (Siddiqi, Credit Risk Scorecards, 2006:
below 0.1 little has changed, above 0.25 much has). Pure NumPy.
"""

import numpy as np
import numpy.typing as npt

from models.features import Floats
from models.window import Ints

Floats64 = npt.NDArray[np.float64]

#: Quantiles that a column is cut at are so many to one.
QUANTILES = 10

#: A column of no more values than this has a bin for each: an hour of the day, a weekend.
FEW_VALUES = 24

#: With fewer payments than this on either side there is no PSI. Where nothing has changed it is not 0 but about
#: ``(bins - 1) (1/n + 1/m)`` (Yurdakul, Statistical Properties of Population Stability Index, 2018): 0.013 for 26 bins
#: and so many payments beside a large reference, which is well below anything that would be acted on.
ENOUGH = 2000

_MARGIN = 1e-5  # around the outermost values, times their size: another machine may round them otherwise
_UNSEEN = 0.5  # payments that each bin is given beside its own, so that an empty one has a logarithm


def bin_edges(values: Floats, weights: Floats) -> Floats64:
    """Return where to cut a column into bins, ``float64 [k]`` ascending, for k + 1 bins.

    A column of few values has a bin for each. Any other is cut at its deciles, and a value that a tenth of all payments
    share has a bin of its own. The first and the last bin are for what lies outside of anything seen here.

    Args:
        values: the column in training, ``[n]``, finite; one value at least.
        weights: how many payments each stands for, ``[n]``, above 0.
    """
    seen, place = np.unique(np.asarray(values, np.float64), return_inverse=True)
    share = _sums(place, weights, len(seen)) / weights.sum()
    if len(seen) <= FEW_VALUES:
        cuts = np.arange(1, len(seen))
    else:
        deciles = np.searchsorted(np.cumsum(share), np.arange(1, QUANTILES) / QUANTILES)
        common = np.flatnonzero(share >= 1 / QUANTILES)
        cuts = np.unique(np.concatenate([deciles, common, common + 1]))
        cuts = cuts[(cuts > 0) & (cuts < len(seen))]
    margins = _MARGIN * np.maximum(1, np.abs(seen[[0, -1]]))
    return np.concatenate([[seen[0] - margins[0]], (seen[cuts - 1] + seen[cuts]) / 2, [seen[-1] + margins[1]]])


def bin_counts(values: Floats, weights: Floats, edges: Floats64) -> Floats64:
    """Return the payments in each bin, ``float64 [k + 1]``; each of ``values [n]`` stands for ``weights [n]``."""
    return _sums(np.searchsorted(edges, values, side="right"), weights, len(edges) + 1)


def psi(reference: Floats, m: int, observed: Floats, n: int) -> float:
    """Return the population stability index of a column, not a number below :data:`ENOUGH` payments on either side.

    An empty bin counts as half a payment.

    Args:
        reference: shares of the reference in each bin, ``[k + 1]``.
        m: payments that these were found with.
        observed: shares of what is compared with it, ``[k + 1]``.
        n: payments that these were found with.
    """
    if min(m, n) < ENOUGH:
        return float("nan")
    r, o = _never_empty(reference, m), _never_empty(observed, n)
    return float(((o - r) * np.log(o / r)).sum())


def _sums(place: Ints, weights: Floats, n: int) -> Floats64:
    sums: Floats64 = np.bincount(place, weights, n).astype(np.float64, copy=False)
    return sums


def _never_empty(shares: Floats, n: int) -> Floats64:
    return np.asarray((shares * n + _UNSEEN) / (n + _UNSEEN * len(shares)), np.float64)
