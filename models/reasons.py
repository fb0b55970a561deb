"""Why a payment was flagged: what lowers its probability most when it is left out.

The model is asked again without one thing at a time; the drop of the probability is the thing's effect. That is
occlusion (Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014), one of the removal-based
explanations that Covert, Lundberg and Lee compare ("Explaining by Removing", 2021): it says what this model went by,
not what is true. Where two things say the same, leaving out either changes little.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.bundle import LoadedBundle
from models.context import Floats32
from models.left_out import UsualPayments, burst_begins, leave_out, usual_payments
from models.sentences import sentence
from models.spec import BundleSpec
from models.window import Ints, Windows

#: So many reasons a payment at most, and only those without which the probability would be lower by such a share.
MOST, LEAST_SHARE = 3, 0.1

#: Digits of an effect. Engines agree on fewer than a probability has.
_DECIMALS = 4


class FlagReason(NamedTuple):
    """One thing that a payment was flagged for."""

    name: str  # stable, for programs
    sentence: str  # for a person; it quotes this user's own payments only
    effect: float  # by how much lower the probability would be without it


@dataclass(frozen=True, eq=False)
class Explainer:
    """A model, and what it is asked about its own probabilities with."""

    spec: BundleSpec
    predict: Callable[[Floats32, Ints, Floats32 | None], Floats32]  # as Runtime.predict
    usual: UsualPayments


def explainer_of(bundle: LoadedBundle) -> Explainer:
    """Return the explainer of a bundle."""
    return Explainer(bundle.spec, bundle.runtime.predict, usual_payments(bundle.golden, bundle.spec.threshold))


def explain(
    explainer: Explainer, windows: Windows, probabilities: npt.NDArray[np.floating], context: Floats32 | None
) -> list[list[FlagReason]]:
    """Return the reasons for each window's probability, those with the largest effect first; at most :data:`MOST`.

    A window's reasons depend on nothing but the window, its context and the model.

    Args:
        explainer: of the model that scored them.
        windows: ``[n, T]``, each with one payment at least.
        probabilities: ``[n]``, what the model said of them.
        context: ``float32 [n, C]`` where the spec names columns.
    """
    parts = [part for part in leave_out(windows, context, explainer.spec, explainer.usual) if len(part.rows)]
    if not parts:
        return [[] for _ in range(len(windows))]
    without = explainer.predict(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.lengths for part in parts]),
        None if context is None else np.concatenate([part.context for part in parts if part.context is not None]),
    )
    rows, steps = (np.concatenate([getattr(part, name) for part in parts]) for name in ("rows", "steps"))
    names = [name for part in parts for name in [part.name] * len(part.rows)]
    effects = np.round(probabilities.astype(np.float64)[rows] - without, _DECIMALS)
    matter = (effects > 0) & (effects >= LEAST_SHARE * probabilities[rows])  # what is not a number does not
    begins, in_burst = burst_begins(windows), set(rows[matter & (np.array(names) == "burst")].tolist())
    reasons: list[list[FlagReason]] = [[] for _ in range(len(windows))]
    for place in np.lexsort((-effects, rows)).tolist():  # stable: of equal effects the first that was asked
        row, step, name = int(rows[place]), int(steps[place]), names[place]
        told_by_burst = name == "earlier_payment" and row in in_burst and step >= begins[row]
        if matter[place] and len(reasons[row]) < MOST and not told_by_burst:
            payments = windows.records[row, : windows.lengths[row]]
            told = sentence(name, payments, step, explainer.spec.zone)
            reasons[row].append(FlagReason(name, told, float(effects[place])))
    return reasons
