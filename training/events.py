"""What the simulator makes: transactions with the truth about them, as one NumPy record each."""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LAST_MS = 253_402_300_799_999  # of Python's calendar: the last of the year 9999

Events = npt.NDArray[np.void]  # [n] EVENT
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Scenario(IntEnum):
    """Who made a transaction: the honest user, or which kind of fraud."""

    HONEST = 0
    ACCOUNT_TAKEOVER = 1
    CARD_TESTING = 2
    CREEPING_AMOUNTS = 3
    SKIMMED_MERCHANT = 4


EVENT = np.dtype(
    [
        ("created_at_ms", "<i8"),  # event time, milliseconds since 1970-01-01T00:00Z
        ("user", "<i4"),  # row of the simulated user
        ("merchant", "<i4"),  # row of the simulated merchant
        ("amount", "<f8"),  # whole cents
        ("is_vpn", "?"),
        ("scenario", "i1"),  # Scenario
        ("labelled_at_ms", "<i8"),  # when the verdict lands, 0 where none ever does
    ]
)


def make_events(
    users: npt.NDArray[np.integer],
    created_at_ms: npt.NDArray[np.generic],
    amounts: Floats,
    is_vpn: Bools,
    merchants: npt.NDArray[np.integer],
    scenario: Scenario,
) -> Events:
    """Return ``[n] EVENT`` of one scenario, amounts rounded to cents and at least one, not labelled yet."""
    events = np.zeros(len(users), EVENT)
    events["created_at_ms"] = created_at_ms
    events["user"] = users
    events["merchant"] = merchants
    events["amount"] = np.maximum(np.round(amounts, 2), 0.01)
    events["is_vpn"] = is_vpn
    events["scenario"] = scenario
    return events


def running_sum(values: Floats, counts: Ints) -> Floats:
    """Return the cumulative sum of ``values`` within consecutive groups of ``counts`` entries (each at least 1)."""
    total = np.cumsum(values)
    firsts = np.cumsum(counts) - counts
    within: Floats = total - np.repeat(total[firsts] - values[firsts], counts)
    return within
