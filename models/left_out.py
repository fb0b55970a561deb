"""Windows with one thing left out: a payment before the last, a burst of them, something of the last one, a profile.

Each of these changed windows is one question to the model: how probable would a fraud be without this? Pure NumPy.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.context import Floats32
from models.features import step_features
from models.golden import Golden
from models.spec import BundleSpec
from models.window import Ints, Windows

Bools = npt.NDArray[np.bool_]

#: Payments each of which is within so long of the one before it are a burst; two before the last one at least.
BURST_GAP_MS = 60 * 60 * 1000
_BURST_BEFORE = 2

#: What can be left out of the last payment, besides its amount: the features that say it, all of them at once, since
#: of two features that say the same the model would still have the other.
ASPECTS: Mapping[str, tuple[str, ...]] = {
    "time_of_day": ("hour_of_day", "hour_sin", "hour_cos", "is_night"),
    "weekend": ("is_weekend",),
    "vpn": ("is_vpn",),
    "time_since_previous": ("log_seconds_since_previous",),
}

#: Columns of the context that are left out together, by a word in their names.
PROFILES: Mapping[str, str] = {"merchant_profile": "_merchant_", "user_profile": "_user_"}

#: Stands for a step where the value that was put in is of no payment in the window.
OUTSIDE = -1


class UsualPayments(NamedTuple):
    """Held-out payments that the model does not flag, for what a window alone cannot say is usual."""

    amounts: npt.NDArray[np.float64]  # [g], in the input's currency
    features: Floats32  # [g, F] of the payment's own step
    has_previous: Bools  # [g]
    context: Floats32 | None  # [g, C]


def usual_payments(golden: Golden, threshold: float) -> UsualPayments:
    """Return the last payments of a bundle's golden windows, without those above its threshold if any are not."""
    calm = golden.probabilities <= threshold
    rows = np.flatnonzero(calm if calm.any() else ~calm)
    last = golden.windows.lengths[rows] - 1
    return UsualPayments(
        golden.windows.records["amount"][rows, last],
        golden.features[rows, last],
        last > 0,
        None if golden.context is None else golden.context[rows],
    )


@dataclass(frozen=True, eq=False)
class LeftOut:
    """The same thing left out of several windows; ``m`` of them."""

    name: str
    rows: Ints  # int64 [m] of the windows
    steps: Ints  # int64 [m] the payment that is left out, or whose value is put in; OUTSIDE where it is none of these
    features: Floats32  # [m, T, F]
    lengths: Ints  # int64 [m]
    context: Floats32 | None  # [m, C]


def leave_out(windows: Windows, context: Floats32 | None, spec: BundleSpec, usual: UsualPayments) -> Iterator[LeftOut]:
    """Yield ``windows`` with one thing left out at a time, where that changes them.

    A payment is left out by removing it, so that the next one's gap grows. What the last payment says is replaced by
    what another one of the window says: the medoid, the one that is nearest to all the others, which of amounts is the
    median. Unlike a mean that is a value which payments have. Where there is no other, ``usual`` is asked the same
    way; for the columns of a profile always, and for their medians, since a window holds no other profile.

    Args:
        windows: ``[n, T]``, each with one payment at least.
        context: ``float32 [n, C]`` where the spec names columns.
        spec: of the bundle.
        usual: payments that are not of these users.
    """
    last = windows.lengths - 1
    yield from _without_payments(windows, context, spec, last)
    yield from _with_usual_amount(windows, context, spec, usual, last)
    yield from _with_usual_aspects(windows, context, spec, usual, last)
    if context is not None and usual.context is not None:
        features, medians = step_features(windows, spec.features, spec.zone), np.median(usual.context, axis=0)
        for name, word in PROFILES.items():
            columns = [place for place, column in enumerate(spec.context) if word in f"_{column}_"]
            changed = context.copy()
            changed[:, columns] = medians[columns]
            rows = np.flatnonzero((changed != context).any(axis=1))
            yield _taken(
                LeftOut(name, np.arange(len(last)), np.full(len(last), OUTSIDE), features, last + 1, changed), rows
            )


def _without_payments(windows: Windows, context: Floats32 | None, spec: BundleSpec, last: Ints) -> Iterator[LeftOut]:
    column = np.arange(windows.records.shape[1])
    rows, steps = np.nonzero(column < last[:, None])
    yield _removed("earlier_payment", windows, context, spec, rows, steps, column == steps[:, None])
    begins = burst_begins(windows)
    rows = np.flatnonzero(last - begins >= _BURST_BEFORE)
    out = (column >= begins[rows, None]) & (column < last[rows, None])
    yield _removed("burst", windows, context, spec, rows, begins[rows], out)


def burst_begins(windows: Windows) -> Ints:
    """Return the step that the burst which ends each window begins with, ``int64 [n]``; without one, the last step."""
    times, at = windows.records["created_at_ms"], np.arange(len(windows))
    close = np.zeros(times.shape, np.bool_)
    close[:, 1:] = np.diff(times, axis=1) <= BURST_GAP_MS
    begins = windows.lengths - 1
    for _ in range(times.shape[1]):
        begins = begins - close[at, begins]  # the first step is never close to one before it
    return begins


def _removed(
    name: str, windows: Windows, context: Floats32 | None, spec: BundleSpec, rows: Ints, steps: Ints, out: Bools
) -> LeftOut:
    order = np.argsort(out, axis=1, kind="stable")
    kept = Windows(np.take_along_axis(windows.records[rows], order, axis=1), windows.lengths[rows] - out.sum(axis=1))
    features = step_features(kept, spec.features, spec.zone)
    return LeftOut(name, rows, steps, features, kept.lengths, None if context is None else context[rows])


def _with_usual_amount(
    windows: Windows, context: Floats32 | None, spec: BundleSpec, usual: UsualPayments, last: Ints
) -> Iterator[LeftOut]:
    at, amounts = np.arange(len(last)), np.ascontiguousarray(windows.records["amount"])
    steps = _medoids(amounts[:, :, None], np.arange(amounts.shape[1]) < last[:, None])
    outside = usual.amounts[_medoids(usual.amounts[None, :, None], np.ones((1, len(usual.amounts)), np.bool_))[0]]
    put_in, before = np.where(steps == OUTSIDE, outside, amounts[at, steps]), amounts[at, last]
    changed = Windows(windows.records.copy(), windows.lengths)
    changed.records["amount"][at, last] = put_in
    features = step_features(changed, spec.features, spec.zone)
    if context is not None:
        context = context.copy()
        for column, name in enumerate(spec.context):
            if name == "amount":
                context[:, column] = put_in
            elif name.startswith("amount_against_"):  # 0 where there is nothing to compare with
                known = context[:, column] != 0
                context[known, column] += (np.log1p(put_in) - np.log1p(before))[known]
    yield _taken(LeftOut("amount", at, steps, features, windows.lengths, context), np.flatnonzero(put_in != before))


def _with_usual_aspects(
    windows: Windows, context: Floats32 | None, spec: BundleSpec, usual: UsualPayments, last: Ints
) -> Iterator[LeftOut]:
    at, step = np.arange(len(last)), np.arange(windows.records.shape[1])
    features = step_features(windows, spec.features, spec.zone)
    for name, saying in ASPECTS.items():
        columns = [place for place, feature in enumerate(spec.features) if feature in saying]
        if not columns:
            continue
        others, strangers, asked = (
            step < last[:, None],
            np.ones(len(usual.amounts), np.bool_),
            np.ones(len(at), np.bool_),
        )
        if name == "time_since_previous":  # the first payment of a window follows none
            others, strangers, asked = others & (step > 0), usual.has_previous, last > 0
        steps = _medoids(features[:, :, columns], others)
        stranger = _medoids(usual.features[None, :, columns], strangers[None])[0]
        put_in = np.where(
            (steps == OUTSIDE)[:, None], usual.features[stranger, columns], features[at, steps][:, columns]
        )
        changed = features.copy()
        changed[at[:, None], last[:, None], columns] = put_in
        asked &= (steps != OUTSIDE) | (stranger != OUTSIDE)
        rows = np.flatnonzero(asked & (changed != features).any(axis=(1, 2)))
        yield _taken(LeftOut(name, at, steps, changed, windows.lengths, context), rows)


def _medoids(values: npt.NDArray[np.floating], among: Bools) -> Ints:
    """Return, of each row of ``values`` ``[n, k, c]``, which of those ``among`` ``[n, k]`` is nearest to the others.

    The last one of several; :data:`OUTSIDE` where there is none.
    """
    distances = np.abs(values[:, :, None] - values[:, None]).sum(axis=3)
    sums = np.where(among, np.where(among[:, None], distances, 0).sum(axis=2), np.inf)
    nearest = values.shape[1] - 1 - np.argmin(sums[:, ::-1], axis=1)
    return np.where(among.any(axis=1), nearest, OUTSIDE)


def _taken(left_out: LeftOut, rows: Ints) -> LeftOut:
    return LeftOut(
        left_out.name,
        left_out.rows[rows],
        left_out.steps[rows],
        left_out.features[rows],
        left_out.lengths[rows],
        None if left_out.context is None else left_out.context[rows],
    )
