"""Scores, payments and verdicts of some weeks, and how good the scores were: plainly, with scikit-learn's measures.

Shares no code with the monitor.
"""

import json
import random
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from confluent_kafka import Producer
from sklearn.metrics import average_precision_score, precision_score, recall_score, roc_auc_score

from stream.contract import timestamp
from tests import handbook
from training.archive import Kind

DAY_MS = 86_400_000
FIRST_DAY = 20_500  # 2026-02-16, in days since 1970-01-01
FREE = {"retention.ms": "-1"}  # topics of records that are old by their timestamps


class Payment(NamedTuple):
    """A payment and the score that was published of it; times in milliseconds."""

    transaction: str
    user: str
    amount: float
    created_at: int
    probability: float
    flagged: bool


class Verdict(NamedTuple):
    """A label as it stands on its topic."""

    transaction: str
    user: str
    is_fraud: bool
    labelled_at: int
    arrived_at: int


@dataclass(frozen=True)
class Past:
    """Everything that ever happened, in order of arrival; of several payments of one id the first counts."""

    payments: Sequence[Payment]
    verdicts: Sequence[Verdict]

    def __len__(self) -> int:
        """How many records it is on the three topics."""
        return 2 * len(self.payments) + len(self.verdicts)

    def cut(self, at_ms: int) -> "tuple[Past, Past]":
        """Return what had come by an instant, and what came later."""
        paid = bisect_left(self.payments, at_ms, key=lambda each: each.created_at)
        said = bisect_left(self.verdicts, at_ms, key=lambda each: each.arrived_at)
        before = Past(self.payments[:paid], self.verdicts[:said])
        return before, Past(self.payments[paid:], self.verdicts[said:])

    @cached_property
    def once(self) -> list[Payment]:
        """The payments, each id once."""
        return list({payment.transaction: payment for payment in reversed(self.payments)}.values())[::-1]

    @cached_property
    def of_user(self) -> dict[str, list[Payment]]:
        """The payments of each user, each id once."""
        by_user: dict[str, list[Payment]] = {}
        for payment in self.once:
            by_user.setdefault(payment.user, []).append(payment)
        return by_user

    def row(self, day: int, delay: int, span: int) -> dict[str, Any]:
        """Return what the table has to say of the ``span`` days that end with ``day``, judged after a delay."""
        judged_at = (day + 1 + delay) * DAY_MS
        verdicts = self.in_force(judged_at)
        first = day - span + 1
        of_span = [payment for payment in self.once if first <= payment.created_at // DAY_MS <= day]
        first = min(payment.created_at // DAY_MS for payment in of_span)
        y = np.array([is_fraud(payment, verdicts) for payment in of_span])
        p = np.array([payment.probability for payment in of_span])
        flagged = np.array([payment.flagged for payment in of_span])
        fresh = [payment for payment in of_span if not self._is_known(payment, verdicts, first, delay)]
        cards = handbook.card_precision_top_k([_as_handbook(payment, verdicts) for payment in fresh], 100)
        fresh_y = np.array([is_fraud(payment, verdicts) for payment in fresh])
        fresh_p = np.array([payment.probability for payment in fresh])
        at_budget = p.astype(np.float32) > np.quantile(p.astype(np.float32), 0.99)
        amounts = np.array([payment.amount for payment in of_span])
        return {
            "label_delay_days": delay,
            "span_days": span,
            "payments": len(of_span),
            "labelled": sum(payment.transaction in verdicts for payment in of_span),
            "frauds": int(y.sum()),
            "flagged": int(flagged.sum()),
            "precision": precision_score(y, flagged) if flagged.any() else None,
            "recall": recall_score(y, flagged) if y.any() else None,
            "auc": _if_both(roc_auc_score, y, p),
            "average_precision": _if_both(average_precision_score, y, p),
            "protocol_auc": _if_both(roc_auc_score, fresh_y, fresh_p),
            "protocol_average_precision": _if_both(average_precision_score, fresh_y, fresh_p),
            "card_precision_at_100": float(np.mean(list(cards.values()))) if cards else None,
            "precision_at_budget": precision_score(y, at_budget) if at_budget.any() else None,
            "recall_at_budget": recall_score(y, at_budget) if y.any() else None,
            "caught_amount": amounts[y & flagged].sum(),
            "missed_amount": amounts[y & ~flagged].sum(),
            "frauds_without_amount": 0,
        }

    def in_force(self, by_ms: int) -> dict[str, Verdict]:
        """Return the last verdict on each transaction that had landed by an instant."""
        landed = [verdict for verdict in self.verdicts if _landed_at(verdict) <= by_ms]
        return {verdict.transaction: verdict for verdict in sorted(landed, key=_landed_at)}

    def _is_known(self, payment: Payment, verdicts: dict[str, Verdict], first: int, delay: int) -> bool:
        """Return whether the card was known as defrauded when the payment's day began."""
        begin = payment.created_at // DAY_MS * DAY_MS
        return any(
            other.created_at >= (first - delay - 7) * DAY_MS
            and is_fraud(other, verdicts)
            and _landed_at(verdicts[other.transaction]) < begin
            for other in self.of_user[payment.user]
        )


def random_past(seed: int, users: int, payments: int, days: int) -> Past:
    """Make up a past, with what is awkward in it: repetitions, contradictions, verdicts on what nobody knows."""
    rng = random.Random(seed)
    made = sorted(_payments(rng, users, payments, days), key=lambda payment: payment.created_at)
    end = (FIRST_DAY + days) * DAY_MS
    made.append(Payment("the-last", "user-0", 1.0, end + 1, 0.0, flagged=False))
    said: list[Verdict] = []
    for payment in made:
        fraud = rng.random() < 0.02 + 0.3 * payment.probability**2
        if fraud or rng.random() < 0.1:
            at = payment.created_at + int(rng.uniform(0.2, 9) * DAY_MS)
            said.append(Verdict(payment.transaction, payment.user, fraud, at, at + rng.randrange(3_600_000)))
            if rng.random() < 0.2:  # somebody thinks again
                at += int(rng.uniform(0.01, 4) * DAY_MS)
                said.append(Verdict(payment.transaction, payment.user, not fraud, at, at + rng.randrange(3_600_000)))
    said += [Verdict(f"unknown-{n}", "user-0", n % 2 == 0, at, at) for n in range(30) for at in [end - n * DAY_MS // 3]]
    return Past(made, sorted((each for each in said if each.arrived_at < end), key=lambda each: each.arrived_at))


def _payments(rng: random.Random, users: int, payments: int, days: int) -> Iterator[Payment]:
    for number in range(payments):
        created_at = FIRST_DAY * DAY_MS + rng.randrange(days * DAY_MS)
        probability = round(rng.betavariate(1, 6), rng.choice([2, 6]))  # with ties
        # a threshold that changes, and lists that keep some from being flagged
        flagged = probability > (0.3 if created_at // DAY_MS % 2 else 0.4) and rng.random() < 0.95
        payment = Payment(
            f"t-{number}",
            f"user-{rng.randrange(users)}",
            round(rng.lognormvariate(3, 1.5), 2),
            created_at,
            probability,
            flagged,
        )
        yield payment
        if rng.random() < 0.02:  # sent again, scored otherwise
            later = payment.created_at + 1 if payment.created_at % DAY_MS < DAY_MS - 1 else payment.created_at
            yield payment._replace(created_at=later, probability=0.5, flagged=not flagged, amount=7.0)


def send(bootstrap: str, topics: dict[Kind, str], past: Past) -> None:
    """Send a past to its topics, the scores in transactions; records have the times at which they came."""
    plain = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    for payment in past.payments:
        _send(plain, topics[Kind.TRANSACTIONS], payment.user, payment_of(payment), payment.created_at)
    for verdict in past.verdicts:
        _send(plain, topics[Kind.LABELS], verdict.user, label_of(verdict), verdict.arrived_at)
    assert plain.flush(60) == 0
    transactional = Producer(
        {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "transactional.id": topics[Kind.SCORES]}
    )
    transactional.init_transactions(60)
    for begin in range(0, len(past.payments), 200):
        transactional.begin_transaction()
        for payment in past.payments[begin : begin + 200]:
            _send(transactional, topics[Kind.SCORES], payment.user, score_of(payment), payment.created_at + 20)
        transactional.commit_transaction(60)


def payment_of(payment: Payment) -> dict[str, object]:
    """Return a payment as it is sent."""
    return {
        "transaction_id": payment.transaction,
        "user_id": payment.user,
        "amount": payment.amount,
        "created_at": timestamp(payment.created_at),
    }


def label_of(verdict: Verdict) -> dict[str, object]:
    """Return a verdict as it is sent."""
    return {
        "transaction_id": verdict.transaction,
        "user_id": verdict.user,
        "is_fraud": verdict.is_fraud,
        "labelled_at": timestamp(verdict.labelled_at),
    }


def score_of(payment: Payment) -> dict[str, object]:
    """Return the score of a payment as it is published."""
    return {
        "transaction_id": payment.transaction,
        "user_id": payment.user,
        "created_at": timestamp(payment.created_at),
        "fraud_probability": payment.probability,
        "lstm_score": int(payment.probability * 100),
        "sequence_anomaly": payment.flagged,
        "insufficient_history": False,
        "window_length": 10,
        "profile_day": None,
        "model_version": "m",
        "scored_at": timestamp(payment.created_at + 20),
    }


def is_fraud(payment: Payment, verdicts: dict[str, Verdict]) -> bool:
    """Return whether a payment is known as fraud; without a verdict it is not."""
    return payment.transaction in verdicts and verdicts[payment.transaction].is_fraud


def _landed_at(verdict: Verdict) -> int:
    return max(verdict.labelled_at, verdict.arrived_at)


def _as_handbook(payment: Payment, verdicts: dict[str, Verdict]) -> handbook.Payment:
    card = int(payment.user.rpartition("-")[2])
    return handbook.Payment(payment.created_at // DAY_MS, card, payment.probability, is_fraud(payment, verdicts))


def _if_both(measure: Any, y: Any, p: Any) -> float | None:
    return float(measure(y, p)) if 0 < y.sum() < len(y) else None


def _send(producer: Producer, topic: str, key: str, value: dict[str, object], at_ms: int) -> None:
    producer.produce(topic, key=key.encode(), value=json.dumps(value).encode(), timestamp=at_ms)
