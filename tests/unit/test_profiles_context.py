"""Context columns, and the day of the table that goes with an event."""

from datetime import UTC, date, datetime

import numpy as np
import pytest

from models.context import (
    CONTEXT,
    NO_DAY,
    NOTHING_KNOWN,
    VALUES,
    Profiled,
    context_columns,
    day_date,
    day_number,
    local_day,
    replayed_profile_day,
)

HOUR_MS = 3_600_000


def ms(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp()) * 1000  # type: ignore[arg-type, misc]


def test_columns_are_those_asked_for_in_that_order() -> None:
    merchants = np.arange(len(VALUES), dtype=np.float32)[None] + 1
    users = merchants * 100
    names = ["user_fraud_rate_7d", "log_merchant_count_1d", "amount_against_user"]

    context = context_columns(Profiled(merchants, users, np.array([600.0])), names)

    rate, count, mean = VALUES.index("fraud_rate_7d"), VALUES.index("count_1d"), VALUES.index("mean_amount_30d")
    assert context.dtype == np.float32
    assert context.tolist() == [
        [
            users[0, rate],
            np.log1p(merchants[0, count]),
            np.float32(np.log1p(600.0) - np.log1p(np.float64(users[0, mean]))),
        ]
    ]


def test_every_column_is_finite_where_nothing_is_known_and_at_the_largest_amount() -> None:
    nothing = np.stack([NOTHING_KNOWN, NOTHING_KNOWN])
    names = [name for name in CONTEXT if name != "amount"]
    context = context_columns(Profiled(nothing, nothing, np.array([0.0, 1e12])), ["amount", *names])
    assert context.shape == (2, len(CONTEXT))
    assert context[:, 0].tolist() == np.array([0, 1e12], np.float32).tolist()
    assert not context[:, 1:].any()


def test_a_column_that_does_not_exist_is_an_error() -> None:
    nothing = NOTHING_KNOWN[None]
    with pytest.raises(KeyError, match="merchant_mood"):
        context_columns(Profiled(nothing, nothing, np.array([1.0])), ["merchant_mood"])


def test_a_day_begins_at_midnight_of_the_zone() -> None:
    instants = np.array([ms(2026, 3, 28, 22, 59), ms(2026, 3, 28, 23, 0), ms(2026, 3, 29, 22, 0)])  # +1, then +2
    days = local_day("Europe/Paris", instants)
    assert [day_date(day) for day in days.tolist()] == [date(2026, 3, 28), date(2026, 3, 29), date(2026, 3, 30)]
    assert day_number(date(1970, 1, 1)) == 0


@pytest.mark.parametrize(
    ("created_at", "arrived_at", "expected"),
    [
        ((2026, 1, 20, 12), (2026, 1, 20, 12), date(2026, 1, 20)),
        ((2026, 1, 20, 1), (2026, 1, 20, 1), date(2026, 1, 19)),  # the day's own is not published yet
        ((2026, 1, 17, 12), (2026, 1, 20, 12), date(2026, 1, 17)),  # late: never a later table than the event
        ((2026, 1, 14, 12), (2026, 1, 20, 12), date(2026, 1, 14)),  # the oldest of seven
        ((2026, 1, 14, 12), (2026, 1, 21, 1), date(2026, 1, 14)),
        ((2026, 1, 13, 12), (2026, 1, 20, 12), None),
        ((2026, 1, 21, 1), (2026, 1, 20, 12), date(2026, 1, 20)),  # ahead of its time
    ],
)
def test_replay_takes_the_table_that_was_there(
    created_at: tuple[int, ...], arrived_at: tuple[int, ...], expected: date | None
) -> None:
    [day] = replayed_profile_day("UTC", np.array([ms(*created_at)]), np.array([ms(*arrived_at)]), 2 * HOUR_MS).tolist()
    assert day == (NO_DAY if expected is None else day_number(expected))
