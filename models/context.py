"""The context of a scored event: what the daily profiles of its merchant and its user say, as columns.

A profile is :data:`VALUES` of one merchant or user as of the start of a day; :mod:`training.profiles` makes them, for
training and serving alike. A context column is a function of :class:`Profiled`; ``spec.json`` of a bundle names the
columns it was trained on. Pure NumPy.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from models.features import Floats, zone_offset_ms
from models.window import Ints

Floats32 = npt.NDArray[np.float32]
ProfileKind = Literal["merchant", "user"]

_EPOCH = date(1970, 1, 1).toordinal()
DAY_MS = 24 * 60 * 60 * 1000

PROFILE_KINDS: tuple[ProfileKind, ...] = ("merchant", "user")

#: The days that a profile looks back over.
WINDOWS_DAYS = (1, 7, 30)

#: What a profile holds, in this order, ``float32``.
VALUES = tuple(
    f"{value}_{days}d"
    for value in ("count", "mean_amount", "fraud_rate", "frauds", "fraud_amount")
    for days in WINDOWS_DAYS
)

#: A profile where there is no table to take one from: that of a day before which nothing happened.
NOTHING_KNOWN = np.zeros(len(VALUES), np.float32)

#: Tables of so many days are kept for events that come late.
KEPT_DAYS = 7

#: Stands for the day of a table where there is none.
NO_DAY = int(np.iinfo(np.int64).min)


@dataclass(frozen=True, slots=True)
class ProfileDefinition:
    """What decides a profile's values besides the events; training and serving have to agree on it."""

    zone: str  # IANA name; days begin at its midnight
    label_delay_days: int  # fraud rates are of transactions at least so many days old

    @property
    def name(self) -> str:
        """A word for the definition, part of every key in Redis; the number counts changes of the query."""
        return f"2:{self.zone}:{self.label_delay_days}d"


@dataclass(frozen=True, slots=True)
class Profiled:
    """Events with the profiles of their merchants and users, side by side."""

    merchants: Floats32  # [n, len(VALUES)]
    users: Floats32  # [n, len(VALUES)]
    amounts: Floats  # [n] of the events, in the input's currency

    def value(self, kind: ProfileKind, name: str) -> Floats32:
        """Return one of :data:`VALUES`, ``float32 [n]``."""
        profiles = self.merchants if kind == "merchant" else self.users
        return profiles[:, VALUES.index(name)]


def local_day(zone: str, at_ms: Ints) -> Ints:
    """Return the day that each instant (ms) falls on in ``zone``, in days since 1970-01-01, ``int64 [n]``.

    Raises:
        zoneinfo.ZoneInfoNotFoundError: no such IANA zone.
    """
    days: Ints = (at_ms + zone_offset_ms(zone, at_ms)) // DAY_MS
    return days


def day_date(day: int) -> date:
    """Return the date of a day given in days since 1970-01-01."""
    return date.fromordinal(_EPOCH + day)


def day_number(day: date) -> int:
    """Return a date in days since 1970-01-01."""
    return day.toordinal() - _EPOCH


def replayed_profile_day(zone: str, created_at_ms: Ints, arrived_at_ms: Ints, published_after_ms: int = 0) -> Ints:
    """Return the day of the table that serving would have used for events, ``int64 [n]``, :data:`NO_DAY` for none.

    That is the event's day, or the latest one that was published by then, if it is earlier; of the tables only the
    last :data:`KEPT_DAYS` are kept.

    Args:
        zone: of the profile's definition.
        created_at_ms: event time, ``int64 [n]`` ms.
        arrived_at_ms: the records' Kafka timestamps, ``int64 [n]`` ms.
        published_after_ms: how long after midnight a table is taken to be published.
    """
    newest = local_day(zone, arrived_at_ms - published_after_ms)
    day = np.minimum(local_day(zone, created_at_ms), newest)
    return np.where(day > newest - KEPT_DAYS, day, NO_DAY)


def _log(kind: ProfileKind, name: str, profiled: Profiled) -> Floats:
    return np.log1p(profiled.value(kind, name))


def _rate(kind: ProfileKind, name: str, profiled: Profiled) -> Floats:
    return profiled.value(kind, name)


def _amount_against(kind: ProfileKind, profiled: Profiled) -> Floats:
    """Log amount less the log of the mean over 30 days; 0 where no amount is known."""
    mean = profiled.value(kind, "mean_amount_30d").astype(np.float64)
    return np.where(mean > 0, np.log1p(profiled.amounts) - np.log1p(mean), 0.0)


def _amount(profiled: Profiled) -> Floats:
    return profiled.amounts


def _columns() -> Mapping[str, Callable[[Profiled], Floats]]:
    columns: dict[str, Callable[[Profiled], Floats]] = {"amount": _amount}
    for kind in PROFILE_KINDS:
        for days in WINDOWS_DAYS:
            columns[f"log_{kind}_count_{days}d"] = partial(_log, kind, f"count_{days}d")
            columns[f"log_{kind}_mean_amount_{days}d"] = partial(_log, kind, f"mean_amount_{days}d")
            columns[f"log_{kind}_frauds_{days}d"] = partial(_log, kind, f"frauds_{days}d")
            columns[f"log_{kind}_fraud_amount_{days}d"] = partial(_log, kind, f"fraud_amount_{days}d")
            columns[f"{kind}_fraud_rate_{days}d"] = partial(_rate, kind, f"fraud_rate_{days}d")
        columns[f"amount_against_{kind}"] = partial(_amount_against, kind)
    return columns


#: Every column that a context may have, by name.
CONTEXT = _columns()


#: What each preset of :data:`models.features.PRESETS` sees of the profiles, where there are any.
PRESET_CONTEXT: Mapping[str, tuple[str, ...]] = {
    "baseline": (),
    "default": (
        "amount",  # beside the step's logarithm: a limit on payments is sharp, and high up the logarithm is not
        *(
            f"log_{kind}_{value}_{days}d"
            for kind in PROFILE_KINDS
            for value in ("count", "frauds")
            for days in WINDOWS_DAYS
        ),
        *(f"{kind}_fraud_rate_{days}d" for kind in PROFILE_KINDS for days in WINDOWS_DAYS),
        *(f"log_user_mean_amount_{days}d" for days in WINDOWS_DAYS),
        *(f"log_{kind}_fraud_amount_30d" for kind in PROFILE_KINDS),
        "amount_against_user",
    ),
}


def context_columns(profiled: Profiled, names: Sequence[str]) -> Floats32:
    """Return ``float32 [n, len(names)]``, the context columns ``names`` of each event.

    Raises:
        KeyError: a name that is not in :data:`CONTEXT`.
    """
    context = np.empty((len(profiled.amounts), len(names)), np.float32)
    for column, name in enumerate(names):
        context[:, column] = CONTEXT[name](profiled)
    return context
