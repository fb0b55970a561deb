"""The measures of a model: held to scikit-learn, and to the Fraud Detection Handbook's definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

metrics = pytest.importorskip("sklearn.metrics", reason="needs the training extra")

from sklearn.calibration import calibration_curve  # noqa: E402

from models.context import DAY_MS  # noqa: E402
from stream.encode import rounded  # noqa: E402
from tests import handbook  # noqa: E402
from training.daily import card_precision_top_k, daily_precision  # noqa: E402
from training.known_cards import Frauds, first_known_ms, of_known_cards  # noqa: E402
from training.measures import COMPARED, Known, by_protocol, gain, measure  # noqa: E402
from training.metrics import loss_and_accuracy, ranking, reliability, threshold_by_cost  # noqa: E402
from training.scored import Scored  # noqa: E402
from training.threshold import ThresholdRule  # noqa: E402

DELAY = 7
FIRST, DAYS = 20_000, 30  # of the past; the test begins on FIRST + 16


def random_past(seed: int, cards: int = 60, payments: int = 3000) -> Scored:
    """Payments of some weeks, more suspicious where they are frauds."""
    rng = np.random.default_rng(seed)
    is_fraud = rng.random(payments) < 0.05
    scores = np.clip(rng.normal(0.3 + 0.2 * is_fraud, 0.15), 0, 1).astype(np.float32)
    return Scored(
        scores,
        is_fraud.astype(np.float32),
        rng.integers(0, cards, payments).astype(np.uint64) * 7919,
        np.sort(FIRST * DAY_MS + rng.integers(0, DAYS * DAY_MS, payments)),
    )


def frauds_of(past: Scored) -> Frauds:
    """All frauds, each known the delay after it was made."""
    fraud = past.is_fraud > 0
    return Frauds(past.users[fraud], past.created_at_ms[fraud], past.created_at_ms[fraud] + DELAY * DAY_MS)


def as_payments(past: Scored) -> list[handbook.Payment]:
    columns = (past.days, past.users, past.probabilities, past.is_fraud > 0)
    return [handbook.Payment(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def since(past: Scored, day: int) -> Scored:
    return past.take(past.days >= day)


@pytest.mark.parametrize("seed", range(5))
def test_known_cards_are_those_of_the_handbook(seed: int) -> None:
    past, first_day = random_past(seed), FIRST + 16
    test = since(past, first_day)
    fresh = test.take(~of_known_cards(test, frauds_of(past), first_day, DELAY))
    expected = handbook.days_of_test(as_payments(past), first_day, DAYS - 16, DELAY)
    assert sorted(as_payments(fresh)) == sorted(expected)
    assert 0 < len(fresh) < len(test)


@pytest.mark.parametrize("k", [3, 100])
@pytest.mark.parametrize("seed", range(5))
def test_card_precision_is_that_of_the_handbook(seed: int, k: int) -> None:
    past = since(random_past(seed), FIRST + 16)
    expected = handbook.card_precision_top_k(as_payments(past), k)
    assert {day.day: day.precision for day in card_precision_top_k(past, k)} == expected
    assert len(set(expected.values())) > 1


def test_the_protocol_measures_the_days_without_known_cards() -> None:
    past, first_day = random_past(1), FIRST + 16
    fresh = handbook.days_of_test(as_payments(past), first_day, DAYS - 16, DELAY)
    told = by_protocol(since(past, first_day), Known(frauds_of(past), DELAY))
    y, p = [payment.is_fraud for payment in fresh], [payment.score for payment in fresh]
    assert told == {
        "protocol_auc": pytest.approx(metrics.roc_auc_score(y, p)),
        "protocol_average_precision": pytest.approx(metrics.average_precision_score(y, p)),
        "card_precision_at_100": pytest.approx(np.mean(list(handbook.card_precision_top_k(fresh, 100).values()))),
        "protocol_n": len(fresh),
        "protocol_frauds": sum(y),
    }


def test_a_card_is_known_from_the_day_that_begins_after_its_label_has_landed() -> None:
    midnight = 100 * DAY_MS
    test = Scored(
        np.zeros(3, np.float32), np.zeros(3, np.float32), np.full(3, 5, np.uint64), DAY_MS * np.arange(99, 102)
    )

    def known(landed_at_ms: int, created_at_ms: int = 90 * DAY_MS, user: int = 5) -> list[bool]:
        frauds = Frauds(np.array([user], np.uint64), np.array([created_at_ms]), np.array([landed_at_ms]))
        return of_known_cards(test, frauds, 99, DELAY).tolist()

    assert known(midnight - 1) == [False, True, True]
    assert known(midnight) == [False, False, True]
    assert known(midnight, user=6) == [False, False, False]
    earliest = first_known_ms(99, DELAY)
    assert known(0, earliest) == [True, True, True]
    assert known(0, earliest - 1) == [False, False, False]


def test_each_week_is_measured_by_a_protocol_that_begins_with_it() -> None:
    past, first_day = random_past(2), FIRST + 16
    test, known = since(past, first_day), Known(frauds_of(past), DELAY)
    told = measure(test, known, 0.4, 0.05)
    assert [(week["days"], week["n"]) for week in told["weeks"]] == [
        (7, int(((test.days >= first_day) & (test.days < first_day + 7)).sum())),
        (7, int((test.days >= first_day + 7).sum())),
    ]
    second = test.take(test.days >= first_day + 7)
    expected = ranking(second.is_fraud, second.probabilities) | by_protocol(second, known)
    assert told["weeks"][1].items() >= expected.items()
    for name in COMPARED:
        assert told["mean_of_weeks"][name] == pytest.approx(np.mean([week[name] for week in told["weeks"]]))


def test_the_mean_is_of_whole_weeks_and_of_nothing_where_a_week_has_no_fraud() -> None:
    past = random_past(3)
    known = Known(frauds_of(past), DELAY)
    nine_days = measure(past.take(past.days < FIRST + 9), known, 0.4, 0.05)
    assert [week["days"] for week in nine_days["weeks"]] == [7, 2]
    assert nine_days["mean_of_weeks"]["auc"] == nine_days["weeks"][0]["auc"]

    fraudless = past.take((past.days < FIRST + 14) & ((past.days < FIRST + 7) | (past.is_fraud == 0)))
    measured = measure(fraudless, known, 0.4, 0.05)
    assert measured["weeks"][1]["auc"] is None
    assert measured["weeks"][1]["recall"] is None
    assert measured["mean_of_weeks"]["auc"] is None
    assert gain(measured, measured) == dict.fromkeys(COMPARED, 0.0)
    assert gain(measured | {"auc": None}, measured)["auc"] is None


def test_each_day_flags_its_share_and_counts_its_cards() -> None:
    past = random_past(4)
    told = daily_precision(past, 0.05)
    assert [day.day for day in told] == list(range(FIRST, FIRST + DAYS))
    for day in told:
        of_day = past.take(past.days == day.day)
        flagged = of_day.probabilities >= np.sort(of_day.probabilities)[-day.alerts]
        assert (day.payments, day.frauds) == (len(of_day), of_day.is_fraud.sum())
        assert day.alerts == round(0.05 * len(of_day))
        assert day.precision == pytest.approx(metrics.precision_score(of_day.is_fraud, flagged))
    assert [day.alerts for day in daily_precision(past, 1e-9)] == [1] * DAYS

    days = measure(past, Known(frauds_of(past), DELAY), 0.4, 0.05)["days_of_test"]
    assert [day["precision_at_budget"] for day in days] == [day.precision for day in told]
    assert days[0]["day"] == "2024-10-04"


def test_the_numbers_over_all_days_are_those_of_scikit_learn() -> None:
    past = random_past(5)
    told = measure(past, Known(frauds_of(past), DELAY), 0.45, 0.02)
    y, p = past.is_fraud, past.probabilities
    assert told["auc"] == pytest.approx(metrics.roc_auc_score(y, p))
    assert told["average_precision"] == pytest.approx(metrics.average_precision_score(y, p))
    assert told["precision"] == pytest.approx(metrics.precision_score(y, p > 0.45))
    assert told["recall"] == pytest.approx(metrics.recall_score(y, p > 0.45))
    assert told["brier"] == pytest.approx(metrics.brier_score_loss(y, p))
    assert told["loss"] == pytest.approx(metrics.log_loss(y, np.clip(p.astype(np.float64), 1e-7, 1 - 1e-7)))
    assert told["accuracy"] == pytest.approx(metrics.accuracy_score(y, p > 0.5))
    assert told["at_budget"]["flagged"] == pytest.approx(0.02, abs=0.001)
    best = p >= np.sort(p)[-round(0.02 * len(p))]
    assert told["at_budget"]["precision"] == pytest.approx(metrics.precision_score(y, best))


def test_the_reliability_curve_is_that_of_scikit_learn_with_counts() -> None:
    past = random_past(6)
    rates, means = calibration_curve(past.is_fraud, past.probabilities, n_bins=10, strategy="uniform")
    curve = reliability(past.is_fraud, past.probabilities)
    np.testing.assert_allclose([bin_.fraud_rate for bin_ in curve], rates)
    np.testing.assert_allclose([bin_.mean_probability for bin_ in curve], means, rtol=1e-6)
    assert sum(bin_.payments for bin_ in curve) == len(past)
    assert reliability(np.ones(1, np.float32), np.ones(1, np.float32))[0].payments == 1


def test_payments_of_one_kind_have_no_ranking() -> None:
    for is_fraud in (np.zeros(3, np.float32), np.ones(3, np.float32)):
        assert ranking(is_fraud, np.arange(3, dtype=np.float32)) == {"auc": None, "average_precision": None}
    assert loss_and_accuracy(np.zeros(2, np.float32), np.array([0, 1], np.float32))["accuracy"] == 0.5


@pytest.mark.parametrize("cost", [0.5, 3.0, 12.0, 1000.0])
def test_no_threshold_costs_less_than_the_one_by_cost(cost: float) -> None:
    rng = np.random.default_rng(7)
    p = rng.integers(1, 40, 500) / 40  # many are equal
    y = (rng.random(500) < p**2).astype(np.float32)

    def costs(threshold: float) -> float:
        return float((p > threshold).sum() + cost * (y[p <= threshold] > 0).sum())

    threshold = threshold_by_cost(y, p, cost)
    cheapest = min(costs(other) for other in (*np.unique(p).tolist(), 1e-6))
    assert costs(threshold) == cheapest
    assert 0 < threshold < 1
    assert threshold == ThresholdRule(cost_of_missed=cost).choose(y, p)


@given(
    # in steps of a quarter of the last published digit: some are equal once they are published, and some are before
    st.lists(st.tuples(st.integers(40_000, 40_040), st.booleans()), min_size=1, max_size=60),
    st.sampled_from([0.01, 0.1, 0.5]),
    st.sampled_from([0.5, 3.0, 50.0]),
)
def test_the_published_verdicts_keep_to_the_budget_and_none_would_cost_less(
    payments: list[tuple[int, bool]], budget: float, cost: float
) -> None:
    p = np.array([quarters / 4e6 for quarters, _ in payments], np.float32)
    y = np.array([is_fraud for _, is_fraud in payments], np.float32)
    published = rounded(p)

    assert (published > ThresholdRule(budget).choose(y, p)).sum() <= budget * len(p) + 1  # it may lie between two

    def costs(threshold: float) -> float:
        return float((published > threshold).sum() + cost * y[published <= threshold].sum())

    chosen = ThresholdRule(cost_of_missed=cost).choose(y, p)
    assert costs(chosen) == min(costs(other) for other in (*published.tolist(), 0.0))


def test_a_threshold_by_cost_of_honest_probabilities_is_one_in_the_cost() -> None:
    rng = np.random.default_rng(8)
    p = rng.random(200_000).astype(np.float32)
    y = (rng.random(200_000) < p).astype(np.float32)
    assert threshold_by_cost(y, p, 5.0) == pytest.approx(0.2, abs=0.03)


def test_a_rule_that_means_nothing_is_refused_and_one_that_does_says_what() -> None:
    with pytest.raises(ValueError, match="give a share of the payments"):
        ThresholdRule(alert_budget=1.0)
    with pytest.raises(ValueError, match="give more than 0"):
        ThresholdRule(cost_of_missed=0)
    assert "above which 0.01 of the validation days' payments lie" in str(ThresholdRule())
    assert "a missed fraud as much as 20 reviews" in str(ThresholdRule(cost_of_missed=20))
