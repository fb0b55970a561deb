"""The numbers that the network sees of a window, one column a step.

Pure NumPy. A feature is a function of :class:`Steps`; a preset is a list of feature names; ``spec.json`` of a bundle
names the features it was trained on, so that serving computes the same ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from models.window import VPN, WINDOW_MAX_AGE_MS, Ints, Windows

Floats = npt.NDArray[np.floating]

NIGHT_BEGINS = 22  # hours of local time; the night crosses midnight
NIGHT_ENDS = 6

#: What stands in the steps behind a window's length. No real step has -1 in every feature.
PADDING = -1.0


@dataclass(frozen=True)
class Steps:
    """The records of windows as columns, each ``[n, T]``; values behind a window's length mean nothing."""

    windows: Windows
    zone: str  # IANA name

    @cached_property
    def created_at_ms(self) -> Ints:
        """Event time, milliseconds since the epoch."""
        return np.ascontiguousarray(self.windows.records["created_at_ms"])

    @cached_property
    def local_hours(self) -> Ints:
        """Whole hours of local wall-clock time since 1970-01-01T00:00."""
        return (self.created_at_ms + zone_offset_ms(self.zone, self.created_at_ms)) // 3_600_000

    @cached_property
    def hour(self) -> Ints:
        """Local hour of the day, 0 to 23."""
        return self.local_hours % 24

    @cached_property
    def day_of_week(self) -> Ints:
        """Local day of the week, Monday is 0."""
        return (self.local_hours // 24 + 3) % 7  # 1970-01-01 was a Thursday

    @cached_property
    def amount(self) -> Floats:
        """Amount in the input's currency."""
        return np.ascontiguousarray(self.windows.records["amount"])

    @cached_property
    def log_amount(self) -> Floats:
        """``log(1 + amount)``."""
        return np.log1p(self.amount)


def is_night(hour: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Return whether an hour of the day is in the night, 22:00 to 06:00."""
    return (hour >= NIGHT_BEGINS) | (hour < NIGHT_ENDS)


def is_weekend(day_of_week: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Return whether a day (Monday is 0) is Saturday or Sunday."""
    return day_of_week >= 5


def _log_seconds_since_previous(steps: Steps) -> Floats:
    """``log(1 + s)`` since the step before; the first has nothing before it for as long as a window reaches back."""
    gaps = np.empty(steps.created_at_ms.shape, np.float64)
    gaps[:, :1] = WINDOW_MAX_AGE_MS
    gaps[:, 1:] = np.diff(steps.created_at_ms, axis=1)
    return np.log1p(np.maximum(gaps, 0) / 1000)


def _amount_against_window(steps: Steps) -> Floats:
    """Log amount less the mean log amount of the steps before it; 0 for the first."""
    before = np.cumsum(steps.log_amount, axis=1) - steps.log_amount
    count = np.arange(before.shape[1])
    against: Floats = np.where(count > 0, steps.log_amount - before / np.maximum(count, 1), 0.0)
    return against


FEATURES: dict[str, Callable[[Steps], npt.NDArray[np.generic]]] = {
    "amount": lambda steps: steps.amount,
    "hour_of_day": lambda steps: steps.hour,
    "is_weekend": lambda steps: is_weekend(steps.day_of_week),
    "is_night": lambda steps: is_night(steps.hour),
    "is_vpn": lambda steps: (steps.windows.records["flags"] & VPN) != 0,
    "log_amount": lambda steps: steps.log_amount,
    "hour_sin": lambda steps: np.sin(steps.hour * (2 * np.pi / 24)),
    "hour_cos": lambda steps: np.cos(steps.hour * (2 * np.pi / 24)),
    "log_seconds_since_previous": _log_seconds_since_previous,
    "amount_against_window": _amount_against_window,
}

PRESETS: dict[str, tuple[str, ...]] = {
    "baseline": ("amount", "hour_of_day", "is_weekend", "is_vpn"),
    "default": (
        "log_amount",
        "hour_sin",
        "hour_cos",
        "is_weekend",
        "is_night",
        "is_vpn",
        "log_seconds_since_previous",
        "amount_against_window",
    ),
}


def step_features(windows: Windows, names: Sequence[str], zone: str = "UTC") -> npt.NDArray[np.float32]:
    """Return ``float32 [n, T, F]``, the features ``names`` of every step, :data:`PADDING` behind each window's length.

    Raises:
        KeyError: a name that is not in :data:`FEATURES`.
    """
    steps = Steps(windows, zone)
    n, length = windows.records.shape
    features = np.empty((n, length, len(names)), np.float32)
    for column, name in enumerate(names):
        features[:, :, column] = FEATURES[name](steps)
    features[np.arange(length) >= windows.lengths[:, None]] = PADDING
    return features


def zone_offset_ms(zone: str, at_ms: Ints) -> Ints:
    """Return what local time in ``zone`` adds to UTC at each instant, in milliseconds.

    Raises:
        zoneinfo.ZoneInfoNotFoundError: no such IANA zone.
    """
    if zone == "UTC":
        return np.zeros_like(at_ms)
    transitions, offsets = _zone_table(zone)
    return offsets[np.searchsorted(transitions, at_ms, side="right")]


@cache
def _zone_table(zone: str) -> tuple[Ints, Ints]:
    """Return the instants at which a zone's offset changes, 1970 to 2100, and the offsets between them."""
    info = ZoneInfo(zone)

    def offset(second: int) -> int:
        delta = datetime.fromtimestamp(second, UTC).astimezone(info).utcoffset() or timedelta()
        return int(delta.total_seconds())

    begin, end, week = 0, 4_102_444_800, 7 * 86_400  # offsets hold for longer than a week
    transitions: list[int] = []
    offsets = [offset(begin)]
    for second in range(begin, end, week):
        low, high = second, second + week
        if offset(high) == offsets[-1]:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == offsets[-1] else (low, middle)
        transitions.append(high * 1000)
        offsets.append(offset(high))
    return np.array(transitions, np.int64), np.array(offsets, np.int64) * 1000
