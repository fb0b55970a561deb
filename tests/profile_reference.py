"""What a profile is, in plain Python and slowly. Shares no code with training.profiles or models.context."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from math import floor
from zoneinfo import ZoneInfo

import numpy as np

WINDOWS = (1, 7, 30)
PRIOR_STRENGTH = 2


@dataclass(frozen=True)
class Payment:
    """A transaction as the archive has it; times in milliseconds."""

    offset: int
    transaction: str
    user: str
    merchant: str | None
    amount: float
    created_at: int
    arrived_at: int


@dataclass(frozen=True)
class Label:
    offset: int
    transaction: str
    user: str
    is_fraud: bool
    labelled_at: int
    arrived_at: int


@dataclass(frozen=True)
class Past:
    """Everything that ever happened."""

    payments: Sequence[Payment]
    labels: Sequence[Label]
    zone: str
    label_delay_days: int

    def day(self, at_ms: int) -> date:
        return _local_date(self.zone, at_ms)

    def profile(self, merchant: str | None, user: str | None, day: date) -> list[np.float32]:
        """Return the profile of one of the two as of the start of a day."""
        known = self._known(day)
        mine = [p for p in known if (user is not None and p.user == user) or (merchant and p.merchant == merchant)]
        counts, means, rates, all_frauds, fraud_amounts = [], [], [], [], []
        for window in WINDOWS:
            prior_mean = self._mean(known, day, window)
            counts.append(len(self._between(mine, day, 0, window)))
            means.append(self._mean(mine, day, window) if counts[-1] else prior_mean)
            aged = self._between(mine, day, self.label_delay_days, window)
            defrauded = [p for p in aged if self._is_fraud(p, day)]
            frauds = len(defrauded)
            rates.append((frauds + PRIOR_STRENGTH * self._base_rate(known, day)) / (len(aged) + PRIOR_STRENGTH))
            all_frauds.append(frauds)
            total = sum(floor(p.amount * 100 + 0.5) for p in defrauded)
            fraud_amounts.append(total / (100 * frauds) if frauds else 0.0)
        return [np.float32(value) for value in (*counts, *means, *rates, *all_frauds, *fraud_amounts)]

    def _known(self, day: date) -> list[Payment]:
        """Return what had landed before the day began, without repeated transaction ids."""
        known, last_seen = [], {}
        for payment in sorted(self.payments, key=lambda p: (p.arrived_at, p.offset)):
            landed = self.day(payment.arrived_at)
            if landed >= day:
                continue
            before = last_seen.get(payment.transaction)
            last_seen[payment.transaction] = landed
            if before is None or (landed - before).days > self.label_delay_days + 32:
                known.append(payment)
        return known

    def _between(self, payments: Sequence[Payment], day: date, delay: int, window: int) -> list[Payment]:
        end = day - timedelta(days=delay)
        return [p for p in payments if end - timedelta(days=window) <= self.day(p.created_at) < end]

    def _mean(self, payments: Sequence[Payment], day: date, window: int) -> float:
        inside = self._between(payments, day, 0, window)
        total = sum(floor(p.amount * 100 + 0.5) for p in inside)
        return total / (100 * len(inside)) if inside else 0.0

    def _base_rate(self, known: Sequence[Payment], day: date) -> float:
        aged = self._between(known, day, self.label_delay_days, 30)
        return sum(self._is_fraud(p, day) for p in aged) / len(aged) if aged else 0.0

    def _is_fraud(self, payment: Payment, day: date) -> bool:
        landed = [
            (max(label.labelled_at, label.arrived_at), label.arrived_at, label.offset, label.is_fraud)
            for label in self.labels
            if label.transaction == payment.transaction
        ]
        landed = [label for label in sorted(landed) if self.day(label[0]) < day]
        return landed[-1][-1] if landed else False


@cache
def _local_date(zone: str, at_ms: int) -> date:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)).astimezone(ZoneInfo(zone)).date()


def random_past(seed: int, zone: str, label_delay_days: int, first: date, days: int, events: int) -> Past:
    """Return transactions and labels as they come: late, repeated, contradicting, out of the blue."""
    rng = random.Random(seed)
    begin_ms = int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp()) * 1000
    hour = 3_600_000
    payments: list[Payment] = []
    labels: list[Label] = []
    for number in range(events):
        created_at = begin_ms + rng.randrange(days * 24 * hour)
        if rng.random() < 0.2:
            created_at -= created_at % (24 * hour) - rng.choice([-1, 0, 1]) - 24 * hour  # about midnight, in UTC
        late = rng.choice([0, 0, 0, 1, 400, 5 * hour, 30 * hour, 9 * 24 * hour, 60 * 24 * hour, -5 * hour])
        repeated = payments and rng.random() < 0.1
        transaction = rng.choice(payments).transaction if repeated else f"t{number}"
        payments.append(
            Payment(
                offset=number,
                transaction=transaction,
                user=f"user-{rng.randrange(6)}",
                merchant=f"merchant-{rng.randrange(5)}" if rng.random() < 0.9 else None,
                amount=rng.choice([0.0, 0.005, 1e12, round(rng.lognormvariate(3, 2), 2), rng.lognormvariate(3, 2)]),
                created_at=created_at,
                arrived_at=created_at + late,
            )
        )
        for _ in range(rng.choice([0, 0, 0, 1, 1, 2, 3])):
            labelled_at = created_at + int(rng.choice([-1, 0.1, 1, 6.5, 7, 7.5, 12, 40]) * 24 * hour)
            labels.append(
                Label(
                    offset=len(labels),
                    transaction=transaction if rng.random() < 0.95 else "nobody-knows",
                    user=payments[-1].user,
                    is_fraud=rng.random() < 0.6,
                    labelled_at=labelled_at,
                    arrived_at=labelled_at + rng.choice([0, 0, -5 * 24 * hour, 3 * hour, 50 * hour]),
                )
            )
    return Past(payments, labels, zone, label_delay_days)
