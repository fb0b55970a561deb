"""Reasons: what is left out, what that is worth, and whether a planted cause is named."""

from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bundle import load_bundle, starter
from models.context import CONTEXT, Floats32
from models.features import FEATURES, PRESETS
from models.golden import Golden
from models.left_out import ASPECTS, OUTSIDE, PROFILES, LeftOut, UsualPayments, burst_begins, leave_out, usual_payments
from models.reasons import LEAST_SHARE, MOST, Explainer, explain, explainer_of
from models.sentences import duration, sentence
from models.spec import BundleSpec
from models.window import RECORD, VPN, Ints, Windows
from tests.crafted import CRAFTED, honest

MONDAY_MS = 1_767_571_200_000  # 2026-01-05T00:00Z
HOUR_MS, MINUTE_MS = 3_600_000, 60_000
COLUMNS = ("amount", "merchant_fraud_rate_7d", "log_user_count_7d", "amount_against_user")


def spec_of(features: tuple[str, ...] = PRESETS["default"], context: tuple[str, ...] = ()) -> BundleSpec:
    return BundleSpec(
        model_version="v1",
        preset="default",
        features=features,
        sequence_length=10,
        window_max_age_ms=10**10,
        zone="UTC",
        context=context,
        threshold=0.2,
        trained_from=None,
        trained_to=None,
        label_rule="none",
        label_delay_days=0,
        seed=0,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        libraries={},
    )


def usual_of(spec: BundleSpec, amount: float = 20.0, context: tuple[float, ...] = ()) -> UsualPayments:
    features = np.zeros((1, len(spec.features)), np.float32)
    return UsualPayments(
        np.array([amount]), features, np.ones(1, np.bool_), np.array([context], np.float32) if context else None
    )


def window(*payments: tuple[float, float]) -> Windows:
    """Return one window of payments, given as hours since Monday's midnight and amounts."""
    windows = Windows.empty(1)
    windows.lengths[:] = len(payments)
    for step, (hours, amount) in enumerate(payments):
        windows.records[0, step] = (MONDAY_MS + int(hours * HOUR_MS), step + 1, amount, 0, 0)
    return windows


def left_out(windows: Windows, name: str, spec: BundleSpec | None = None, context: Floats32 | None = None) -> LeftOut:
    spec = spec or spec_of()
    some = [each for each in leave_out(windows, context, spec, usual_of(spec)) if each.name == name]
    assert some, f"{name} is not left out"
    return some[0]


@pytest.mark.parametrize(
    ("kind", "planted"),
    [("burst", {"burst"}), ("vpn at night", {"vpn", "time_of_day"}), ("amount jump", {"amount"})],
)
def test_the_planted_cause_is_named(kind: str, planted: set[str]) -> None:
    bundle = load_bundle(starter("default"))
    windows = CRAFTED[kind](np.random.default_rng(7), 800)
    probabilities = bundle.score(windows)
    flagged = probabilities > bundle.spec.threshold
    assert flagged.sum() >= 200
    reasons = explain(explainer_of(bundle), windows.take(flagged), probabilities[flagged], None)
    named = sum(planted <= {reason.name for reason in its} for its in reasons)
    assert named >= 0.9 * flagged.sum(), Counter(reason.name for its in reasons for reason in its)


def test_what_is_not_planted_is_not_flagged() -> None:
    bundle = load_bundle(starter("default"))
    assert (bundle.score(honest(np.random.default_rng(7), 800)) > bundle.spec.threshold).mean() < 0.01


def test_all_that_a_model_may_see_of_the_last_payment_can_be_left_out() -> None:
    said = {feature for features in ASPECTS.values() for feature in features}
    assert set(FEATURES) - said == {"amount", "log_amount", "amount_against_window"}, "these follow from the amount"
    others = [name for name in CONTEXT if not any(word in f"_{name}_" for word in PROFILES.values())]
    assert others == ["amount"]


def test_of_a_burst_the_run_up_to_the_last_payment_counts() -> None:
    windows = window((1, 1), (2, 1), (9, 1), (9.5, 1), (10.4, 1))
    assert burst_begins(windows).tolist() == [2]
    left = left_out(windows, "burst")
    assert (left.steps.tolist(), left.lengths.tolist()) == ([2], [3])
    gap = PRESETS["default"].index("log_seconds_since_previous")
    assert left.features[0, 2, gap] == pytest.approx(np.log1p(8.4 * 3600))
    assert not len(left_out(window((1, 1), (9, 1), (9.5, 1)), "burst").rows), "two payments are none"


@given(st.integers(1, 10), st.integers(0, 2**32))
def test_a_payment_is_left_out_as_if_it_had_never_been(length: int, seed: int) -> None:
    windows = honest(np.random.default_rng(seed), 3)
    windows.lengths[1] = length
    windows.records[1, length:] = np.zeros(1, RECORD)
    spec = spec_of()
    removed = [each for each in leave_out(windows, None, spec, usual_of(spec)) if each.name == "earlier_payment"]
    assert sorted(
        (int(row), int(step)) for each in removed for row, step in zip(each.rows, each.steps, strict=True)
    ) == [(row, step) for row in range(3) for step in range(int(windows.lengths[row]) - 1)]
    for each in removed:
        for place, (row, step) in enumerate(zip(each.rows, each.steps, strict=True)):
            kept = np.delete(windows.records[row], step)
            assert each.lengths[place] == windows.lengths[row] - 1
            amounts = np.log1p(kept["amount"])[: each.lengths[place]]
            np.testing.assert_allclose(each.features[place, : each.lengths[place], 0], amounts, rtol=1e-6)
            assert (each.features[place, each.lengths[place] :] == -1).all(), "padding"


def test_the_last_payment_gets_the_usual_value_of_those_before_it() -> None:
    windows = window((10, 7), (34, 9), (58, 8), (82, 5), (122, 900))  # at 10 o'clock, but on Saturday at 2
    windows.records["flags"][0, 4] = VPN
    names = PRESETS["default"]
    amount = left_out(windows, "amount")
    assert amount.steps.tolist() == [2]
    assert amount.features[0, 4, names.index("log_amount")] == pytest.approx(np.log1p(8))
    assert abs(amount.features[0, 4, names.index("amount_against_window")]) < 0.3
    night = left_out(windows, "time_of_day")
    assert night.features[0, 4, names.index("hour_sin")] == pytest.approx(np.sin(10 * np.pi / 12))
    assert night.features[0, 4, names.index("is_night")] == 0
    assert left_out(windows, "vpn").features[0, 4, names.index("is_vpn")] == 0
    assert left_out(windows, "weekend").features[0, 4, names.index("is_weekend")] == 0
    gap = left_out(windows, "time_since_previous")
    assert gap.features[0, 4, names.index("log_seconds_since_previous")] == pytest.approx(np.log1p(24 * 3600))
    for each in (amount, night, gap):
        original = left_out(windows, "vpn").features[0]
        assert np.array_equal(each.features[0, :4], original[:4]), "only the last payment is changed"


def test_what_is_as_usual_is_not_asked_about() -> None:
    windows = window((10, 7), (34, 7), (58, 7))
    spec = spec_of()
    asked = {each.name for each in leave_out(windows, None, spec, usual_of(spec)) if len(each.rows)}
    assert asked == {"earlier_payment"}


def test_a_first_payment_is_held_against_payments_of_the_held_out_days() -> None:
    windows = window((3, 900))
    amount = left_out(windows, "amount")
    assert (amount.steps.tolist(), amount.features[0, 0, 0]) == ([OUTSIDE], pytest.approx(np.log1p(20)))
    assert not len(left_out(windows, "time_since_previous").rows), "it follows none"


def test_usual_are_golden_payments_that_the_model_does_not_flag() -> None:
    windows = honest(np.random.default_rng(1), 3)
    windows.lengths[2] = 1
    golden = Golden(windows, np.zeros((3, 10, 8), np.float32), None, np.array([0.1, 0.9, 0.2], np.float32))
    usual = usual_payments(golden, 0.5)
    assert usual.amounts.tolist() == [windows.records["amount"][0, 9], windows.records["amount"][2, 0]]
    assert usual.has_previous.tolist() == [True, False]
    assert len(usual_payments(golden, 0.01).amounts) == 3, "all of them, where it flags all"


def test_a_profile_is_left_out_as_a_whole_and_the_amount_wherever_it_stands() -> None:
    spec = spec_of(context=COLUMNS)
    context = np.array([[900, 0.5, 3, 2], [900, 0.5, 3, 0]], np.float32)
    windows = Windows(np.repeat(window((10, 8), (34, 900)).records, 2, axis=0), np.array([2, 2]))
    usual = usual_of(spec, context=(20.0, 0.01, 1.0, 0.1))
    by_name = {each.name: each for each in leave_out(windows, context, spec, usual) if len(each.rows)}

    def changed(name: str) -> list[list[float]]:
        told = by_name[name].context
        assert told is not None
        return told.round(3).tolist()  # type: ignore[no-any-return]

    lower = round(2 + float(np.log1p(8) - np.log1p(900)), 3)
    assert changed("amount") == [pytest.approx([8, 0.5, 3, lower]), pytest.approx([8, 0.5, 3, 0])]
    assert changed("merchant_profile")[0] == pytest.approx([900, 0.01, 3, 2])
    assert changed("user_profile")[0] == pytest.approx([900, 0.5, 1, 0.1])
    assert changed("earlier_payment")[0] == pytest.approx([900, 0.5, 3, 2])


def last_steps(features: Floats32, lengths: Ints) -> Floats32:
    return features[np.arange(len(lengths)), lengths - 1]


def test_reasons_are_ordered_by_effect_and_only_what_matters_is_one() -> None:
    spec = spec_of(("is_vpn", "is_night", "is_weekend", "amount"))

    def predict(features: Floats32, lengths: Ints, _: Floats32 | None) -> Floats32:
        return last_steps(features, lengths) @ np.array([0.5, 0.2, 0.03, 0.0001], np.float32)

    windows = window((10, 100), (34, 100), (58, 100), (122, 1000))
    windows.records["flags"][0, 3] = VPN
    reasons = explain(Explainer(spec, predict, usual_of(spec)), windows, np.array([0.83]), None)[0]
    assert [(reason.name, reason.effect) for reason in reasons] == [
        ("vpn", 0.5),
        ("time_of_day", 0.2),
        ("amount", 0.09),
    ]
    assert reasons[2].sentence == "amount 1,000.00; usual 100.00"


def test_a_payment_of_a_burst_is_not_told_beside_the_burst() -> None:
    spec = spec_of(("amount",))

    def predict(_: Floats32, lengths: Ints, __: Floats32 | None) -> Floats32:
        return (lengths / 10).astype(np.float32)

    windows = window((1, 5), (9, 5), (9.1, 5), (9.2, 5), (9.3, 5))
    [reasons] = explain(Explainer(spec, predict, usual_of(spec)), windows, np.array([0.5]), None)
    assert [reason.name for reason in reasons] == ["burst", "earlier_payment"]
    assert [reason.sentence for reason in reasons] == [
        "4 payments within 18 minutes",
        "a payment of 5.00, 8 hours before",
    ]


def test_no_finite_answer_is_no_reason() -> None:
    spec = spec_of()

    def predict(_: Floats32, lengths: Ints, __: Floats32 | None) -> Floats32:
        return np.full(len(lengths), np.nan, np.float32)

    assert explain(Explainer(spec, predict, usual_of(spec)), window((1, 5), (2, 9)), np.array([0.5]), None) == [[]]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 10))
def test_reasons_do_not_depend_on_what_else_is_explained(seed: int, length: int) -> None:
    bundle = load_bundle(starter("default"))
    explainer = explainer_of(bundle)
    rng = np.random.default_rng(seed)
    parts = [craft(rng, 2) for craft in CRAFTED.values()]
    windows = Windows(
        np.concatenate([part.records for part in parts]), np.concatenate([part.lengths for part in parts])
    )
    windows.lengths[0] = length
    windows.records[0, length:] = np.zeros(1, RECORD)
    probabilities = bundle.score(windows)
    together = explain(explainer, windows, probabilities, None)
    for row, its in enumerate(together):
        only = slice(row, row + 1)
        [alone] = explain(explainer, windows.take(only), probabilities[only], None)
        assert [reason.effect for reason in alone] == pytest.approx([reason.effect for reason in its], abs=2e-4)
        assert len(its) <= MOST
        effects = [reason.effect for reason in its]
        assert effects == sorted(effects, reverse=True)
        assert all(effect >= LEAST_SHARE * probabilities[row] for effect in effects)


@pytest.mark.parametrize(
    ("name", "step", "expected"),
    [
        ("earlier_payment", 1, "a payment of 12.50, 2 days before"),
        ("burst", 1, "3 payments within 3 days"),
        ("amount", 0, "amount 1,900.00; usual 3.00"),
        ("amount", OUTSIDE, "amount 1,900.00"),
        ("time_of_day", 0, "at 03:17 (Europe/Paris); usual is around 14:00"),
        ("time_of_day", OUTSIDE, "at 03:17 (Europe/Paris)"),
        ("weekend", 0, "on a Saturday; usual are weekdays"),
        ("weekend", OUTSIDE, "on a Saturday"),
        ("vpn", 0, "through a VPN; usual is without"),
        ("vpn", OUTSIDE, "through a VPN"),
        ("time_since_previous", 1, "17 minutes after the previous payment; usual gap 2 days"),
        ("time_since_previous", OUTSIDE, "17 minutes after the previous payment"),
        ("merchant_profile", OUTSIDE, "what happened at this merchant in the last 30 days"),
        ("user_profile", OUTSIDE, "what this user did in the last 30 days"),
    ],
)
def test_a_reason_is_a_sentence_for_a_person(name: str, step: int, expected: str) -> None:
    day_ms = 24 * HOUR_MS
    payments = np.zeros(4, RECORD)
    payments["created_at_ms"] = MONDAY_MS + 13 * HOUR_MS + np.array([0, 2 * day_ms, 0, 0])
    payments["created_at_ms"][2:] = MONDAY_MS + 5 * day_ms + 2 * HOUR_MS + np.array([0, 17]) * MINUTE_MS
    payments["amount"] = 3, 12.5, 8, 1900
    payments["flags"][3] = VPN
    assert sentence(name, payments, step, "Europe/Paris") == expected


def test_a_sentence_for_each_name_and_none_for_others() -> None:
    with pytest.raises(ValueError, match="no reason is called 'luck'"):
        sentence("luck", np.zeros(1, RECORD), 0, "UTC")


@pytest.mark.parametrize(
    ("ms", "expected"),
    [
        (0, "0 seconds"),
        (600, "1 second"),
        (119_000, "119 seconds"),
        (120_000, "2 minutes"),
        (400_000, "7 minutes"),
        (48 * HOUR_MS - 1, "48 hours"),
        (48 * HOUR_MS + 1, "3 days"),
    ],
)
def test_what_a_burst_lies_within_is_rounded_up(ms: int, expected: str) -> None:
    assert duration(ms, up=True) == expected


@pytest.mark.parametrize(
    ("ms", "expected"),
    [
        (0, "0 seconds"),
        (1_999, "1 second"),
        (119_000, "119 seconds"),
        (120_000, "2 minutes"),
        (7_199_000, "119 minutes"),
        (7_200_000, "2 hours"),
        (48 * HOUR_MS - 1, "47 hours"),
        (48 * HOUR_MS, "2 days"),
    ],
)
def test_a_duration_is_told_in_its_largest_unit(ms: int, expected: str) -> None:
    assert duration(ms) == expected
