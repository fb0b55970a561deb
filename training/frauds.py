"""Frauds of the simulator that unfold over time. Each function returns all payments of the victims' stories.

None is given away by one payment: what tells is the run of them against what the user did before, or (a skimmed
merchant) what happened to other customers.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.events import DAY_MS, EVENT, HOUR_MS, Events, Scenario, make_events, running_sum
from training.habits import Habits, any_merchant, usual_hours

Users = npt.NDArray[np.integer]

#: Stories that begin per user and day. With 1.5 payments a user and day they come to about 1 % of the payments.
TAKEOVERS = 0.0012
CARD_TESTS = 0.0007
CREEPS = 0.0002
#: Chance that a merchant's terminal is skimmed from today on, for how many days, and how many cards it copies a day.
SKIMS, SKIM_DAYS, CARDS_COPIED = 0.0004, 4, 2


def account_takeovers(rng: np.random.Generator, habits: Habits, victims: Users, day_start_ms: int) -> Events:
    """A stranger in the account: three to eight payments in a few hours, mostly of the night and through a VPN."""
    counts = rng.integers(3, 9, len(victims))
    user = np.repeat(victims, counts)
    n = len(user)
    at_night = rng.random(len(victims)) < 0.85
    hours = np.where(at_night, rng.normal(26, 1.8, len(victims)), rng.uniform(6, 22, len(victims)))
    gaps = rng.lognormal(np.log(9), 1.0, n)  # minutes
    created_at_ms = day_start_ms + np.repeat(hours, counts) * HOUR_MS + running_sum(gaps, counts) * 60_000
    amounts = np.exp(habits.log_amount[user] + 0.5 + 0.9 * rng.standard_normal(n))
    is_vpn = np.repeat(rng.random(len(victims)) < 0.85, counts)
    return make_events(user, created_at_ms, amounts, is_vpn, any_merchant(rng, habits, n), Scenario.ACCOUNT_TAKEOVER)


def card_tests(rng: np.random.Generator, habits: Habits, victims: Users, day_start_ms: int) -> Events:
    """A stolen number is tried with four to ten small sums, seconds or minutes apart, and then cashed out."""
    tests = rng.integers(4, 11, len(victims))
    counts = tests + rng.integers(1, 3, len(victims))
    user = np.repeat(victims, counts)
    n = len(user)
    cash_out = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts) >= np.repeat(tests, counts)
    gaps = np.where(cash_out, rng.lognormal(np.log(20 * 60), 1.0, n), rng.lognormal(np.log(40), 0.8, n))  # seconds
    hours = np.repeat(rng.uniform(0, 24, len(victims)), counts)
    created_at_ms = day_start_ms + hours * HOUR_MS + running_sum(gaps, counts) * 1000
    small = rng.normal(np.log(2.5), 0.6, n)
    large = habits.log_amount[user] + 1.6 + 0.5 * rng.standard_normal(n)
    is_vpn = np.repeat(rng.random(len(victims)) < 0.3, counts)
    return make_events(
        user,
        created_at_ms,
        np.exp(np.where(cash_out, large, small)),
        is_vpn,
        any_merchant(rng, habits, n),
        Scenario.CARD_TESTING,
    )


def creeping_amounts(rng: np.random.Generator, habits: Habits, victims: Users, day_start_ms: int) -> Events:
    """A shared or cloned card: about three payments a day at the user's own hours, dearer from day to day."""
    counts = rng.integers(10, 21, len(victims))
    user = np.repeat(victims, counts)
    n = len(user)
    nth = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    progress = nth / np.repeat(counts - 1, counts)
    day = np.floor(nth / 3)
    created_at_ms = day_start_ms + day * DAY_MS + usual_hours(rng, habits, user) * HOUR_MS
    amounts = np.exp(habits.log_amount[user] + 0.3 + 1.9 * progress + 0.25 * rng.standard_normal(n))
    is_vpn = rng.random(n) < np.maximum(habits.vpn[user], 0.1)
    merchants = np.repeat(any_merchant(rng, habits, len(victims)), counts)  # one shop that takes whatever it gets
    return make_events(user, created_at_ms, amounts, is_vpn, merchants, Scenario.CREEPING_AMOUNTS)


def skimmed_cards(rng: np.random.Generator, habits: Habits, victims: Users, day_start_ms: int) -> Events:
    """Cards copied at one merchant are used five to twenty days later, one to four times, in ordinary amounts."""
    counts = rng.integers(1, 5, len(victims))
    user = np.repeat(victims, counts)
    n = len(user)
    hours = np.repeat(rng.integers(5, 21, len(victims)) * 24 + rng.uniform(7, 23, len(victims)), counts)
    gaps = rng.lognormal(np.log(50), 1.2, n)  # minutes
    created_at_ms = day_start_ms + hours * HOUR_MS + running_sum(gaps, counts) * 60_000
    amounts = np.exp(habits.log_amount[user] + 0.3 + 0.7 * rng.standard_normal(n))
    is_vpn = rng.random(n) < 0.1
    return make_events(user, created_at_ms, amounts, is_vpn, any_merchant(rng, habits, n), Scenario.SKIMMED_MERCHANT)


@dataclass
class Skimmers:
    """Which merchants' terminals are skimmed; changes from day to day."""

    until: npt.NDArray[np.int64]  # [merchants] first clean day

    @classmethod
    def none(cls, habits: Habits) -> "Skimmers":
        """Return clean terminals everywhere."""
        return cls(np.zeros(len(habits.popularity), np.int64))

    def copy(self, rng: np.random.Generator, day: int, payments: Events) -> Users:
        """Return the users among the day's payments whose card is copied."""
        begins = (self.until <= day) & (rng.random(len(self.until)) < SKIMS)
        self.until[begins] = day + SKIM_DAYS
        merchant = payments["merchant"]
        chance = CARDS_COPIED / np.bincount(merchant, minlength=len(self.until))[merchant]
        copied = (self.until[merchant] > day) & (rng.random(len(payments)) < chance)
        users: Users = np.unique(payments["user"][copied])
        return users


def frauds_of_day(
    rng: np.random.Generator, habits: Habits, skimmers: Skimmers, day: int, day_start_ms: int, honest: Events
) -> Events:
    """Return all payments of the stories that begin today, in no order, also those of later days."""
    stories = [
        story(rng, habits, rng.integers(0, len(habits), rng.poisson(rate * len(habits))), day_start_ms)
        for story, rate in ((account_takeovers, TAKEOVERS), (card_tests, CARD_TESTS), (creeping_amounts, CREEPS))
    ]
    stories.append(skimmed_cards(rng, habits, skimmers.copy(rng, day, honest), day_start_ms))
    return np.concatenate([np.empty(0, EVENT), *stories])
