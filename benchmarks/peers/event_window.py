"""The window and the features of one event at a time, in plain Python.

A per-event framework has no batch to spread NumPy's cost per call over: with :mod:`models.window` and
:mod:`models.features` an event would cost it ten times as much. These compute the same for the features of the
preset ``default`` in UTC; a test holds them to it. What concerns a transaction alone is computed once, when it arrives.
"""

from collections.abc import Mapping
from math import cos, log1p, pi, sin
from struct import Struct
from typing import Any

import numpy as np
import numpy.typing as npt

from models.features import PRESETS, is_night, is_weekend
from models.hashing import transaction_hash
from models.window import SEQUENCE_LENGTH, WINDOW_MAX_AGE_MS
from stream.contract import epoch_ms

FEATURES = PRESETS["default"]

_HOUR_MS = 3_600_000
_FIRST_GAP = log1p(WINDOW_MAX_AGE_MS / 1000)  # what the first step's gap is taken to be
_SIN_COS = [(sin(hour * 2 * pi / 24), cos(hour * 2 * pi / 24)) for hour in range(24)]
_NIGHT = is_night(np.arange(24)).astype(float).tolist()
_WEEKEND = is_weekend(np.arange(7)).astype(float).tolist()


#: A transaction as a window keeps it: event time (ms), 64-bit hash of its id, and the features log_amount, hour_sin,
#: hour_cos, is_weekend, is_night, is_vpn. A plain tuple: with named ones an event takes half as long again.
Step = tuple[int, int, float, float, float, float, float, float]

_PACKED = Struct("<qQ6d")
_LARGEST = SEQUENCE_LENGTH * _PACKED.size


def step_of(transaction: Mapping[str, Any]) -> Step:
    """Return a parsed transaction as a step."""
    created_at_ms = epoch_ms(transaction["created_at"])
    hours = created_at_ms // _HOUR_MS
    hour, weekday = hours % 24, (hours // 24 + 3) % 7  # 1970-01-01 was a Thursday, Monday is 0
    return (
        created_at_ms,
        transaction_hash(transaction["transaction_id"]),
        log1p(transaction["amount"]),
        *_SIN_COS[hour],
        _WEEKEND[weekday],
        _NIGHT[hour],
        float(transaction.get("is_vpn", False)),
    )


def arrive(packed: bytes, event: Step) -> tuple[list[Step], bytes]:
    """Return the window that ``event`` is scored on, oldest first, and the packed window to keep.

    By the definition of :func:`models.window.advance`. ``packed`` is what this returned for the user's event before,
    empty for the first.
    """
    kept: list[Step] = list(_PACKED.iter_unpack(packed))
    at_ms, transaction, *_ = event
    if transaction in [step[1] for step in kept]:
        known = next(place for place, step in enumerate(kept) if step[1] == transaction)
        return _seen_from_last(kept[: known + 1]), packed
    if not kept or kept[-1][0] <= at_ms:
        kept.append(event)
        return _seen_from_last(kept), (packed + _PACKED.pack(*event))[-_LARGEST:]
    place = sum(step[0] <= at_ms for step in kept)
    kept.insert(place, event)
    return _seen_from_last(kept[: place + 1]), b"".join([_PACKED.pack(*step) for step in kept[-SEQUENCE_LENGTH:]])


def _seen_from_last(steps: list[Step]) -> list[Step]:
    """Return the last ten steps without those that are too old for the last of them."""
    steps = steps[-SEQUENCE_LENGTH:]
    oldest_ms = steps[-1][0] - WINDOW_MAX_AGE_MS
    return steps if steps[0][0] >= oldest_ms else [step for step in steps if step[0] >= oldest_ms]


def features(window: list[Step]) -> npt.NDArray[np.float32]:
    """Return :data:`FEATURES` of a window's steps, ``float32 [1, len(window), 8]``."""
    columns: list[float] = []
    log_amounts, before_ms = 0.0, 0
    for number, (at_ms, _, log_amount, *others) in enumerate(window):
        gap = log1p((at_ms - before_ms) / 1000) if number else _FIRST_GAP
        against = log_amount - log_amounts / number if number else 0.0
        columns += (log_amount, *others, gap, against)
        log_amounts += log_amount
        before_ms = at_ms
    return np.array(columns, np.float32).reshape(1, len(window), len(FEATURES))
