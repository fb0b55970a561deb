"""The gate's bootstrap is held to measures of drawn cards that are written out, its intervals to a known truth."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

metrics = pytest.importorskip("sklearn.metrics", reason="needs the training extra")

from models.context import DAY_MS, day_date  # noqa: E402
from training.daily import card_precision_top_k  # noqa: E402
from training.gate import ENOUGH_CARDS, LEVEL, MARGIN, compare, finding  # noqa: E402
from training.gate_bootstrap import MEASURES, average_precision, bootstrap, card_precision, log_loss  # noqa: E402
from training.metrics import loss_and_accuracy  # noqa: E402
from training.scored import Scored  # noqa: E402

FIRST = 20_000  # day that payments begin with
Floats32 = npt.NDArray[np.float32]


def payments_of(seed: int, cards: int = 300, payments: int = 4000, days: int = 5) -> tuple[Scored, Floats32]:
    """Return payments with one model's probabilities, and another's: a little worse, and calibrated as well.

    How suspicious a payment looks to a model, and whether it is a fraud, is much the same for all payments of a card.
    """
    rng = np.random.default_rng(seed)
    users = rng.integers(0, cards, payments)
    risk = rng.normal(-5, 1.2, cards)[users]  # log odds, what both models know
    luck, other_luck = rng.normal(0, 1.2, cards)[users], rng.normal(0, 1.3, cards)[users]
    odds = risk + luck + other_luck + rng.normal(0, 0.5, payments)
    is_fraud = rng.random(payments) < 1 / (1 + np.exp(-odds))
    created_at_ms = FIRST * DAY_MS + rng.integers(0, days * DAY_MS, payments)
    champion, challenger = ((1 / (1 + np.exp(-(risk + known)))).astype(np.float32) for known in (other_luck, luck))
    return Scored(champion, is_fraud.astype(np.float32), users.astype(np.uint64) * 7919, created_at_ms), challenger


def drawn(payments: Scored, weights: npt.NDArray[np.uint8]) -> Scored:
    """Write out a draw: each card as often as it was drawn, every copy a card of its own."""
    card = np.unique(payments.users, return_inverse=True)[1]
    rows = [np.flatnonzero((weights > copy)[card]) for copy in range(int(weights.max()))]
    copies = [payments.take(of_copy) for of_copy in rows]
    return Scored(
        np.concatenate([copy.probabilities for copy in copies]),
        np.concatenate([copy.is_fraud for copy in copies]),
        np.concatenate([copy.users + np.uint64(number) for number, copy in enumerate(copies)]),
        np.concatenate([copy.created_at_ms for copy in copies]),
    )


@pytest.mark.parametrize("decimals", [2, 7], ids=["with ties", "without"])
@pytest.mark.parametrize("seed", range(4))
def test_measures_of_drawn_cards_are_those_of_the_payments_written_out(seed: int, decimals: int) -> None:
    payments, _ = payments_of(seed)
    payments = replace(payments, probabilities=payments.probabilities.round(decimals))
    users, card = np.unique(payments.users, return_inverse=True)
    weights = np.random.default_rng(seed).poisson(1, len(users)).astype(np.uint8)
    is_fraud, p = payments.is_fraud > 0, payments.probabilities
    copies = drawn(payments, weights)

    expected = metrics.average_precision_score(copies.is_fraud, copies.probabilities)
    assert average_precision(card, is_fraud, p)(weights) == pytest.approx(expected, abs=1e-12)
    expected = loss_and_accuracy(copies.is_fraud, copies.probabilities)["loss"]
    assert log_loss(card, is_fraud, p)(weights) == pytest.approx(expected)


@pytest.mark.parametrize("k", [1, 7, 100])
@pytest.mark.parametrize("seed", range(4))
def test_the_card_precision_of_drawn_cards_is_that_of_their_copies(seed: int, k: int) -> None:
    payments, _ = payments_of(seed, cards=2000, payments=9000)
    assert len(np.unique(payments.probabilities)) > 1900, "so that no two cards are level"
    users, card = np.unique(payments.users, return_inverse=True)
    measure = card_precision(card, payments.is_fraud > 0, payments.probabilities, payments.days, k)

    for weights in (np.ones(len(users), np.uint8), np.random.default_rng(seed).poisson(1, len(users)).astype(np.uint8)):
        days = card_precision_top_k(drawn(payments, weights), k)
        assert len(days) == 5
        assert measure(weights) == pytest.approx(np.mean([day.precision for day in days]))
        assert k == 1 or measure(weights) > 0


def test_the_first_values_are_of_the_payments_as_they_are_and_the_same_seed_draws_the_same() -> None:
    payments, challenger = payments_of(1)
    values = bootstrap(payments, challenger, resamples=20, seed=5)

    assert values.shape == (2, len(MEASURES), 21)
    for model, p in enumerate((payments.probabilities, challenger)):
        assert values[model, 0, 0] == pytest.approx(metrics.average_precision_score(payments.is_fraud, p))
        days = card_precision_top_k(replace(payments, probabilities=p))
        assert values[model, 1, 0] == pytest.approx(np.mean([day.precision for day in days]))
        assert values[model, 2, 0] == pytest.approx(loss_and_accuracy(payments.is_fraud, p)["loss"])
    np.testing.assert_array_equal(values, bootstrap(payments, challenger, resamples=20, seed=5))
    others = bootstrap(payments, challenger, resamples=20, seed=6)
    np.testing.assert_array_equal(values[..., 0], others[..., 0])
    assert (values[..., 1:] != others[..., 1:]).any(axis=2).all()


def test_nine_intervals_of_ten_hold_the_truth_and_those_of_single_payments_do_not() -> None:
    many, others = payments_of(0, cards=60_000, payments=800_000)
    names = ["average_precision", "log_loss"]  # the card precision depends on how many cards there are
    truth = compare(many, others, resamples=1).measures
    held = {way: dict.fromkeys(names, 0) for way in ("cards", "payments")}
    tests = 60
    for seed in range(1, 1 + tests):
        payments, challenger = payments_of(seed)
        alone = replace(payments, users=np.arange(len(payments), dtype=np.uint64))
        for way, sample in (("cards", payments), ("payments", alone)):
            measures = compare(sample, challenger, resamples=120, seed=seed).measures
            for name in names:
                low, high = measures[name].low, measures[name].high
                assert low is not None
                assert high is not None
                held[way][name] += low <= truth[name].gain <= high

    for name in names:
        assert 0.82 < held["cards"][name] / tests < 0.97, (LEVEL, held)
        assert held["payments"][name] / tests < 0.8, held


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.01, 0.02, "better"),
        (0.0, 0.0, "not worse"),
        (-0.05, 0.3, "not worse"),
        (-0.04, -0.01, "not worse"),
        (-0.06, 0.1, "cannot tell"),
        (-0.06, 0.0, "cannot tell"),
        (-0.06, -0.01, "worse"),
    ],
)
def test_what_an_interval_says_where_five_hundredths_may_be_lost(low: float, high: float, expected: str) -> None:
    assert finding(low, high, 0.05) == expected


def test_the_same_model_is_not_worse_and_not_better() -> None:
    payments, _ = payments_of(2)
    comparison = compare(payments, payments.probabilities.copy(), resamples=50)

    assert {(each.low, each.gain, each.high) for each in comparison.measures.values()} == {(0.0, 0.0, 0.0)}
    assert (comparison.passed, comparison.better) == (True, False)


def test_a_challenger_that_knows_nothing_is_worse_in_everything_and_the_other_way_round_better() -> None:
    payments, _ = payments_of(3, cards=3000, payments=40_000)
    ignorant = np.random.default_rng(3).permutation(payments.probabilities)
    refused = compare(payments, ignorant, resamples=100)
    accepted = compare(replace(payments, probabilities=ignorant), payments.probabilities, resamples=100)

    assert {each.finding for each in refused.measures.values()} == {"worse"}
    assert not refused.passed
    assert {each.finding for each in accepted.measures.values()} == {"better"}
    assert accepted.better
    for name in MEASURES:
        assert refused.measures[name].gain == -accepted.measures[name].gain < 0
        share = MARGIN * refused.measures[name].champion
        assert refused.measures[name].margin == (max(share, 0.01) if name == "card_precision_at_100" else share)


def test_a_challenger_that_ranks_alike_but_says_three_times_too_much_is_refused_for_that() -> None:
    payments, _ = payments_of(4, cards=3000, payments=40_000)
    is_fraud = np.random.default_rng(4).random(len(payments)) < payments.probabilities
    payments = replace(payments, is_fraud=is_fraud.astype(np.float32))
    odds = 3 * payments.probabilities / (1 - payments.probabilities)
    comparison = compare(payments, (odds / (1 + odds)).astype(np.float32), resamples=100)

    assert comparison.measures["average_precision"].gain == pytest.approx(0, abs=1e-6)
    assert [name for name, each in comparison.measures.items() if each.finding == "worse"] == ["log_loss"]
    assert not comparison.passed


@pytest.mark.parametrize("defrauded", [1, ENOUGH_CARDS - 1, ENOUGH_CARDS])
def test_too_few_defrauded_cards_cannot_tell_and_so_do_not_pass(defrauded: int) -> None:
    payments, challenger = payments_of(5, cards=3000, payments=9000)
    victims = np.unique(payments.users[payments.is_fraud > 0])[:defrauded]
    payments = replace(payments, is_fraud=np.isin(payments.users, victims).astype(np.float32))
    comparison = compare(payments, challenger, resamples=50)

    assert comparison.defrauded_cards == defrauded
    few = defrauded < ENOUGH_CARDS
    assert all((each.low is None) == few for each in comparison.measures.values())
    if few:
        assert {each.finding for each in comparison.measures.values()} == {"cannot tell"}
        assert not comparison.passed


def test_a_comparison_says_of_what_it_is_and_holds_in_json() -> None:
    payments, challenger = payments_of(6)
    comparison = compare(payments, challenger, ["a note"], resamples=30, seed=9)

    assert (comparison.first_day, comparison.last_day) == (day_date(FIRST), day_date(FIRST + 4))
    assert (comparison.payments, comparison.frauds) == (len(payments), payments.is_fraud.sum())
    assert (comparison.resamples, comparison.seed, comparison.notes) == (30, 9, ("a note",))
    assert type(comparison).model_validate_json(comparison.model_dump_json()) == comparison


def test_what_cannot_be_compared_is_refused() -> None:
    payments, challenger = payments_of(7)
    with pytest.raises(ValueError, match="without a fraud"):
        compare(replace(payments, is_fraud=np.zeros_like(payments.is_fraud)), challenger)
    challenger[3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        compare(payments, challenger)
