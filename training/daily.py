"""Measures of a day's work at alerts, as the Fraud Detection Handbook has them (chapter 4, precision top-k). Pure."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from training.scored import Scored

#: Cards that can be looked into on a day.
CARDS_A_DAY = 100


class DayOfCards(NamedTuple):
    """How a day's list of cards turned out."""

    day: int  # since 1970-01-01
    precision: float  # defrauded among the cards of the list, over the list's length, filled or not
    defrauded: int  # cards that were defrauded on the day and not detected before


def card_precision_top_k(payments: Scored, k: int = CARDS_A_DAY) -> list[DayOfCards]:
    """Return the card precision of each day that has a payment.

    A card's score of a day is the highest of its payments, and ``k`` cards are looked into. Cards that were detected
    leave the following days. Cards that are known from before the test have to be left out of ``payments``.
    """
    detected = np.empty(0, np.uint64)
    days = []
    for day, of_day in _days(payments):
        fresh = of_day.take(~np.isin(of_day.users, detected))
        cards, card = np.unique(fresh.users, return_inverse=True)
        score, defrauded = np.full(len(cards), -np.inf), np.zeros(len(cards), np.bool_)
        np.maximum.at(score, card, fresh.probabilities)
        np.logical_or.at(defrauded, card, fresh.is_fraud > 0)
        top = np.argsort(-score, kind="stable")[:k]
        found = cards[top[defrauded[top]]]
        detected = np.concatenate([detected, found])
        days.append(DayOfCards(day, len(found) / k, int(defrauded.sum())))
    return days


class DayOfAlerts(NamedTuple):
    """How a day's alerts turned out."""

    day: int  # since 1970-01-01
    payments: int
    frauds: int
    alerts: int
    precision: float  # frauds among the alerts


def daily_precision(payments: Scored, alert_budget: float) -> list[DayOfAlerts]:
    """Return the precision of each day that has a payment, its most suspicious ones flagged up to the budget.

    Args:
        payments: in any order.
        alert_budget: share of a day's payments that is flagged, rounded; one at least.
    """
    days = []
    for day, of_day in _days(payments):
        alerts = max(1, round(alert_budget * len(of_day)))
        flagged = np.argsort(-of_day.probabilities, kind="stable")[:alerts]
        precision = float(of_day.is_fraud[flagged].mean())
        days.append(DayOfAlerts(day, len(of_day), int(of_day.is_fraud.sum()), alerts, precision))
    return days


def _days(payments: Scored) -> Iterator[tuple[int, Scored]]:
    order = np.argsort(payments.days, kind="stable")
    days, begins = np.unique(payments.days[order], return_index=True)
    rows: list[npt.NDArray[np.int64]] = np.split(order, begins[1:])
    for day, of_day in zip(days.tolist(), rows, strict=False):  # no day, but one empty split, of no payment
        yield day, payments.take(of_day)
