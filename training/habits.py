"""How honest users of the simulator live: hours, amounts, merchants, VPN, trips, and bursts of small payments.

What makes fraud hard to tell lies here: many honest people buy at night, use a VPN, pay small sums in quick
succession or once in a while a large one, and travel, which turns their hours, sums and networks over for days.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.events import HOUR_MS, Bools, Events, Floats, Ints, Scenario, make_events, running_sum

FAVOURITES = 8


@dataclass(frozen=True)
class Habits:
    """One row a user; hours are hours of the day in UTC."""

    visits_a_day: Floats  # [users]
    peaks: Floats  # [users, 2] hours around which the user buys
    spread: Floats  # [users] standard deviation around a peak, hours
    log_amount: Floats  # [users] mean of the log amount
    log_spread: Floats  # [users] standard deviation of the log amount
    drift: Floats  # [users] change of the log amount a day: incomes and tastes move
    vpn: Floats  # [users] probability that a payment comes through a VPN
    burst: Floats  # [users] probability that a visit is several payments
    micropayer: Bools  # [users] whose bursts are small sums: games, parking, music
    favourites: Ints  # [users, FAVOURITES] merchants
    popularity: Floats  # [merchants] cumulative share

    def __len__(self) -> int:
        return len(self.visits_a_day)


def draw_habits(rng: np.random.Generator, users: int) -> Habits:
    """Return the habits of ``users`` people in a town with a merchant for every five of them, but at least 100."""
    weights = 1 / np.arange(6, max(100, users // 5) + 6) ** 0.9
    popularity = np.cumsum(weights) / weights.sum()
    first_peak = np.where(rng.random(users) < 0.14, rng.normal(24.5, 1.5, users), rng.normal(12.5, 2.5, users))
    micropayer = rng.random(users) < 0.12
    vpn_kind = rng.choice(3, users, p=[0.12, 0.22, 0.66])  # at home, now and then, hardly ever
    return Habits(
        visits_a_day=rng.gamma(3.0, 0.45, users),
        peaks=np.stack([first_peak, rng.normal(19.5, 2.0, users)], axis=1),
        spread=rng.uniform(0.8, 2.6, users),
        log_amount=rng.normal(3.3, 0.6, users),
        log_spread=rng.uniform(0.45, 0.9, users),
        drift=rng.normal(0, 0.003, users),
        vpn=np.array([0.85, 0.2, 0.02])[vpn_kind],
        burst=np.where(micropayer, rng.uniform(0.05, 0.2, users), rng.uniform(0.01, 0.06, users)),
        micropayer=micropayer,
        favourites=_popular(rng, popularity, (users, FAVOURITES)),
        popularity=popularity,
    )


def any_merchant(rng: np.random.Generator, habits: Habits, n: int) -> Ints:
    """Return ``int [n]`` merchants by popularity."""
    return _popular(rng, habits.popularity, (n,))


def _popular(rng: np.random.Generator, popularity: Floats, shape: tuple[int, ...]) -> Ints:
    return np.minimum(np.searchsorted(popularity, rng.random(shape)), len(popularity) - 1)


def usual_hours(rng: np.random.Generator, habits: Habits, users: npt.NDArray[np.integer]) -> Floats:
    """Return ``float [n]`` hours of the day at which these users would buy."""
    peak = habits.peaks[users, rng.integers(0, 2, len(users))]
    hours = peak + habits.spread[users] * rng.standard_normal(len(users))
    return np.where(rng.random(len(users)) < 0.05, rng.uniform(0, 24, len(users)), hours) % 24


@dataclass
class Trips:
    """Who is away: until which day, and how far their clock is shifted. Changes from day to day."""

    until: Ints  # [users] first day at home again
    shift: Floats  # [users] hours

    @classmethod
    def none(cls, users: int) -> "Trips":
        """Return everybody at home."""
        return cls(np.zeros(users, np.int64), np.zeros(users))

    def depart(self, rng: np.random.Generator, day: int) -> Bools:
        """Let about one in 120 of those at home leave for two to ten days; return ``bool [users]`` who is away."""
        leaves = (self.until <= day) & (rng.random(len(self.until)) < 1 / 120)
        self.until[leaves] = day + rng.integers(2, 11, leaves.sum())
        self.shift[leaves] = rng.integers(-9, 10, leaves.sum())
        return self.until > day


def honest_day(rng: np.random.Generator, habits: Habits, trips: Trips, day: int, day_start_ms: int) -> Events:
    """Return the honest payments of one day, in no order; a burst may run past its end."""
    away = trips.depart(rng, day)
    visits = rng.poisson(habits.visits_a_day * np.where(away, 1.4, 1.0))
    visitor = np.repeat(np.arange(len(habits)), visits)
    travels = away[visitor]
    hours = (usual_hours(rng, habits, visitor) + np.where(travels, trips.shift[visitor], 0)) % 24

    bursts = rng.random(len(visitor)) < habits.burst[visitor]
    counts = np.where(bursts, 1 + rng.geometric(0.35, len(visitor)), 1)
    user, travels = np.repeat(visitor, counts), np.repeat(travels, counts)
    n = len(user)
    gaps = rng.lognormal(np.log(180), 1.0, n)  # seconds
    gaps[np.cumsum(counts) - counts] = 0
    created_at_ms = day_start_ms + np.repeat(hours, counts) * HOUR_MS + running_sum(gaps, counts) * 1000

    log_amount = habits.log_amount[user] + habits.drift[user] * day + habits.log_spread[user] * rng.standard_normal(n)
    log_amount += np.where(travels, 0.4, 0)
    log_amount += np.where(rng.random(n) < 0.025, rng.uniform(1.2, 2.6, n), 0)  # once in a while a large purchase
    small = habits.micropayer[user] & np.repeat(bursts, counts) & (rng.random(n) < 0.9)
    log_amount = np.where(small, rng.normal(np.log(2.5), 0.6, n), log_amount)

    one_network = np.repeat(rng.random(len(visitor)), counts)
    is_vpn = one_network < np.where(travels, np.maximum(habits.vpn[user], 0.4), habits.vpn[user])
    favourite = habits.favourites[user, np.minimum(rng.exponential(2.5, n).astype(np.int64), FAVOURITES - 1)]
    at_favourite = rng.random(n) < np.where(travels, 0.05, 0.75)
    merchant = np.where(at_favourite, favourite, any_merchant(rng, habits, n))
    return make_events(user, created_at_ms, np.exp(log_amount), is_vpn, merchant, Scenario.HONEST)
