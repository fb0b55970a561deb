"""The Fraud Detection Handbook's definitions, written as it tells them: loops over days and cards."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Payment(NamedTuple):
    day: int
    card: int
    score: float
    is_fraud: bool


def known_cards(payments: Sequence[Payment], day: int, first_day: int, delay: int) -> set[int]:
    """Cards with a fraud in the seven days of training before the delay, or on a later day whose delay is over."""
    return {p.card for p in payments if p.is_fraud and first_day - delay - 7 <= p.day < day - delay}


def days_of_test(payments: Sequence[Payment], first_day: int, days: int, delay: int) -> list[Payment]:
    """The payments of each day of the test, without those of the cards that are known by then."""
    return [
        p
        for day in range(first_day, first_day + days)
        for p in payments
        if p.day == day and p.card not in known_cards(payments, day, first_day, delay)
    ]


def card_precision_top_k(payments: Sequence[Payment], k: int) -> Mapping[int, float]:
    """Of each day, the share of defrauded cards among the k that score highest; detected ones leave."""
    detected: set[int] = set()
    precisions = {}
    for day in sorted({p.day for p in payments}):
        of_day = [p for p in payments if p.day == day and p.card not in detected]
        scores: dict[int, float] = {}
        for p in of_day:
            scores[p.card] = max(p.score, scores.get(p.card, 0.0))
        top = sorted(scores, key=lambda card: scores[card], reverse=True)[:k]
        found = {p.card for p in of_day if p.is_fraud} & set(top)
        precisions[day] = len(found) / k
        detected |= found
    return precisions
