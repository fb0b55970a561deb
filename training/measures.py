"""What a model does on days that it has not seen: the numbers of ``metrics.json``, over all, by week and by day."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.context import day_date
from training.daily import CARDS_A_DAY, card_precision_top_k, daily_precision
from training.known_cards import Frauds, of_known_cards
from training.metrics import at_threshold, calibration, loss_and_accuracy, ranking, reliability, threshold_for
from training.scored import Scored

WEEK = 7  # days

#: What is compared from week to week and from model to model; the first two are over all payments.
COMPARED = ("auc", "average_precision", "protocol_auc", "protocol_average_precision", "card_precision_at_100")


@dataclass(frozen=True)
class Known:
    """What is known beside the scores of the days of a test."""

    frauds: Frauds  # at least those from known_cards.first_known_ms on
    label_delay_days: int  # how long after an event its label is awaited


def measure(payments: Scored, known: Known, threshold: float, alert_budget: float) -> dict[str, Any]:
    """Return the measures of a model on the days of a test, for JSON; what cannot be measured is ``None``.

    ``protocol`` measures are the Fraud Detection Handbook's: without the payments of cards that were known as
    defrauded before the day. A week begins with the first day of the test, and its protocol with its own first day.
    Days are UTC.
    """
    is_fraud, probabilities = payments.is_fraud, payments.probabilities
    at_budget = threshold_for(probabilities, alert_budget)
    weeks = by_week(payments, known, threshold)
    return {
        **loss_and_accuracy(is_fraud, probabilities),
        **ranking(is_fraud, probabilities),
        **by_protocol(payments, known),
        "threshold": threshold,
        **at_threshold(is_fraud, probabilities, threshold),
        "alert_budget": alert_budget,
        "at_budget": {"threshold": at_budget, **at_threshold(is_fraud, probabilities, at_budget)},
        **calibration(is_fraud, probabilities),
        "n": len(payments),
        "frauds": int(is_fraud.sum()),
        "reliability": [bin_._asdict() for bin_ in reliability(is_fraud, probabilities)],
        "weeks": weeks,
        "mean_of_weeks": mean_of(weeks),
        "days_of_test": _by_day(payments, known, alert_budget),
    }


def by_protocol(payments: Scored, known: Known) -> dict[str, float | int | None]:
    """Return the Handbook's measures of a test that begins with the first day of the payments.

    Cards that were known before a day are left out of it; ``card_precision_at_100`` is the mean over the days.
    """
    fresh = _fresh(payments, known)
    days = card_precision_top_k(fresh)
    return {
        **{f"protocol_{name}": value for name, value in ranking(fresh.is_fraud, fresh.probabilities).items()},
        f"card_precision_at_{CARDS_A_DAY}": float(np.mean([day.precision for day in days])) if days else None,
        "protocol_n": len(fresh),
        "protocol_frauds": int(fresh.is_fraud.sum()),
    }


def by_week(payments: Scored, known: Known, threshold: float) -> list[dict[str, Any]]:
    """Return the measures of each week, the last of which may be shorter; weeks without a payment are left out."""
    first, week = int(payments.days.min()), (payments.days - payments.days.min()) // WEEK
    rows = []
    for number in np.unique(week).tolist():
        of_week = payments.take(week == number)
        begin = first + number * WEEK
        last = min(begin + WEEK - 1, int(payments.days.max()))
        rows.append(
            {
                "from": day_date(begin).isoformat(),
                "to": day_date(last).isoformat(),
                "days": last - begin + 1,
                "n": len(of_week),
                "frauds": int(of_week.is_fraud.sum()),
                **ranking(of_week.is_fraud, of_week.probabilities),
                **by_protocol(of_week, known),
                **at_threshold(of_week.is_fraud, of_week.probabilities, threshold),
            }
        )
    return rows


def mean_of(weeks: list[dict[str, Any]]) -> dict[str, float | None]:
    """Return the means of :data:`COMPARED` over the whole weeks; ``None`` where one has no value, or none is whole."""
    columns = {name: [week[name] for week in weeks if week["days"] == WEEK] for name in COMPARED}
    return {name: None if not values or None in values else float(np.mean(values)) for name, values in columns.items()}


def compared(measures: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a model's measures what stands beside another's: over all payments, and as mean of the weeks."""
    return {name: measures[name] for name in COMPARED} | {"mean_of_weeks": measures["mean_of_weeks"]}


def gain(measures: Mapping[str, Any], baseline: Mapping[str, Any]) -> dict[str, float | None]:
    """Return by how much a model is better than another in each of :data:`COMPARED`."""
    pairs = {name: (measures[name], baseline[name]) for name in COMPARED}
    return {name: None if None in pair else pair[0] - pair[1] for name, pair in pairs.items()}


def _fresh(payments: Scored, known: Known) -> Scored:
    first_day = int(payments.days.min())
    return payments.take(~of_known_cards(payments, known.frauds, first_day, known.label_delay_days))


def _by_day(payments: Scored, known: Known, alert_budget: float) -> list[dict[str, Any]]:
    cards = {day.day: day for day in card_precision_top_k(_fresh(payments, known))}
    return [
        {
            "day": day_date(alerts.day).isoformat(),
            "n": alerts.payments,
            "frauds": alerts.frauds,
            "alerts": alerts.alerts,
            "precision_at_budget": alerts.precision,
            f"card_precision_at_{CARDS_A_DAY}": cards[alerts.day].precision if alerts.day in cards else None,
            "defrauded_cards": cards[alerts.day].defrauded if alerts.day in cards else 0,
        }
        for alerts in daily_precision(payments, alert_budget)
    ]
