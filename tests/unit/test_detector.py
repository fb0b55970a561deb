"""The model as a library: dicts in, a verdict out."""

import asyncio
import shutil
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models.bundle
from models.features import PRESETS
from models.golden import Golden, read_golden
from models.runtime import TOLERANCE, OnnxRuntime
from models.window import VPN
from stream.lstm_detector import Detection, LSTMFraudDetector
from stream.lstm_predictor import LSTMPredictor
from tests.bundles import make_bundle
from tests.keras_files import KERAS_FILES

BASELINE = KERAS_FILES / "baseline.h5"
START = datetime(2026, 3, 6, 20, 30, tzinfo=UTC)  # a Friday


def judge(detector: LSTMFraudDetector, transactions: list[dict[str, Any]]) -> Detection:
    return asyncio.run(detector.predict_sequence(transactions))


def ready(n: int = 10, **changes: Any) -> list[dict[str, Any]]:
    return [{"amount": 20.0 + i, "hour_of_day": 3, "is_weekend": 1, "is_vpn": i % 2} | changes for i in range(n)]


def raw(n: int = 10, **changes: Any) -> list[dict[str, Any]]:
    return [
        {"amount": 20.0 + i, "created_at": (START + timedelta(hours=i)).isoformat(), "is_vpn": i % 2 == 1} | changes
        for i in range(n)
    ]


def expected(features: list[list[float]]) -> float:
    return float(LSTMPredictor(BASELINE).predict(np.array([features], np.float32))[0])


@pytest.fixture(scope="module")
def baseline_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("detector") / "baseline")


@pytest.fixture(scope="module")
def default_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("detector") / "default", "default")


def test_the_verdict_has_exactly_these_keys_in_plain_types() -> None:
    verdict = judge(LSTMFraudDetector(BASELINE), ready())
    probability = expected([[20.0 + i, 3, 1, i % 2] for i in range(10)])
    assert {key: type(value) for key, value in verdict.items()} == {
        "fraud_probability": float,
        "lstm_score": int,
        "sequence_anomaly": bool,
        "insufficient_history": bool,
    }
    assert verdict["fraud_probability"] == pytest.approx(probability, abs=1e-6)
    assert verdict["lstm_score"] == int(verdict["fraud_probability"] * 100)
    assert verdict["insufficient_history"] is False


@pytest.mark.parametrize("n", [0, 1, 9])
def test_under_ten_transactions_nothing_is_computed(n: int) -> None:
    assert judge(LSTMFraudDetector(BASELINE), ready(n)) == {
        "fraud_probability": 0.0,
        "lstm_score": 0,
        "sequence_anomaly": False,
        "insufficient_history": True,
    }


def test_of_more_than_ten_the_last_ten_count() -> None:
    detector = LSTMFraudDetector(BASELINE)
    long = [{"amount": 9e5, "hour_of_day": 1, "is_weekend": 0, "is_vpn": 1}, *ready(10)]
    assert judge(detector, long) == judge(detector, ready(10))


def test_missing_fields_are_noon_and_zero() -> None:
    verdict = judge(LSTMFraudDetector(BASELINE), [{}] * 10)
    assert verdict["fraud_probability"] == pytest.approx(expected([[0, 12, 0, 0]] * 10), abs=1e-6)


def test_numbers_of_all_kinds_are_taken() -> None:
    detector = LSTMFraudDetector(BASELINE)
    kinds = ready(10, amount=Decimal("12.5"), hour_of_day=np.int64(3), is_weekend=True, is_vpn=np.bool_(False))
    assert judge(detector, kinds) == judge(detector, ready(10, amount=12.5, is_vpn=0))


@pytest.mark.parametrize("value", ["12.50", None, [1], float("nan"), float("inf"), 1j])
def test_a_value_that_is_no_number_is_refused_by_field_and_position(value: object) -> None:
    transactions = ready()
    transactions[6]["amount"] = value
    with pytest.raises(ValueError, match=r"transactions\[-4\] has a 'amount' that is not a finite number"):
        judge(LSTMFraudDetector(BASELINE), transactions)


@pytest.mark.parametrize("threshold", [0.4, 0.55])
def test_the_threshold_is_the_bundles_own_and_seven_tenths_without_one(tmp_path: Path, threshold: float) -> None:
    rng = np.random.default_rng(5)
    steps = np.stack(
        [rng.lognormal(4, 2, (3000, 10)), *rng.integers(0, [[[24]], [[2]], [[2]]], (3, 3000, 10))], axis=-1
    )
    from_low_to_high = steps[LSTMPredictor(BASELINE).predict(steps).argsort()[[0, 1000, 2000, -3, -2, -1]]]
    windows = [[dict(zip(PRESETS["baseline"], step, strict=True)) for step in each] for each in from_low_to_high]
    bundle = LSTMFraudDetector(make_bundle(tmp_path / "bundle", threshold=threshold))
    file = LSTMFraudDetector(BASELINE)
    for detector, limit in ((bundle, threshold), (file, 0.7)):
        verdicts = [judge(detector, window) for window in windows]
        assert {verdict["sequence_anomaly"] for verdict in verdicts} == {False, True}, "both must occur"
        for verdict in verdicts:
            assert verdict["sequence_anomaly"] is (verdict["fraud_probability"] > limit)


def as_dicts(golden: Golden, row: int) -> list[dict[str, Any]]:
    return [
        {
            "amount": float(record["amount"]),
            "created_at": datetime.fromtimestamp(int(record["created_at_ms"]) / 1000, UTC),
            "is_vpn": bool(record["flags"] & VPN),
        }
        for record in golden.windows.records[row]
    ]


def test_raw_transactions_are_scored_as_the_scorer_scores_them(tmp_path: Path) -> None:
    golden = read_golden(KERAS_FILES / "default.npz")
    detector = LSTMFraudDetector(make_bundle(tmp_path / "all", "default", window_max_age_ms=10**15))
    full = np.flatnonzero(golden.windows.lengths == 10)
    for row in full:
        verdict = judge(detector, as_dicts(golden, row))
        assert abs(verdict["fraud_probability"] - golden.probabilities[row]) <= TOLERANCE


def test_transactions_too_old_for_the_bundles_window_are_left_out(tmp_path: Path) -> None:
    detector = LSTMFraudDetector(make_bundle(tmp_path / "bundle", "default", window_max_age_ms=4 * 3_600_000))
    transactions = raw()
    changed_long_ago = [transactions[0] | {"amount": 99_999.0}, *transactions[1:]]
    changed_lately = [*transactions[:8], transactions[8] | {"amount": 99_999.0}, transactions[9]]
    assert judge(detector, transactions) == judge(detector, changed_long_ago)
    assert judge(detector, transactions) != judge(detector, changed_lately)


def test_where_only_created_at_tells_the_time_the_baseline_features_come_from_it(baseline_bundle: Path) -> None:
    verdict = judge(LSTMFraudDetector(baseline_bundle), raw())
    local = [START + timedelta(hours=i) for i in range(10)]
    features = [[20.0 + i, at.hour, at.weekday() >= 5, i % 2] for i, at in enumerate(local)]
    assert verdict["fraud_probability"] == pytest.approx(expected(features), abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"created_at": "2026-03-06T20:30:00"}, r"transactions\[-10\] has a 'created_at' without an offset"),
        ({"created_at": START.replace(tzinfo=None)}, "'created_at' without an offset"),
        ({"created_at": "yesterday"}, "'created_at' that is not RFC 3339: 'yesterday'"),
        ({"amount": -1}, "a negative 'amount'"),
        ({"is_vpn": "no"}, "'is_vpn' that is not a finite number"),
    ],
)
def test_a_raw_field_that_cannot_be_read_is_refused(default_bundle: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        judge(LSTMFraudDetector(default_bundle), raw(**changes))


def test_dicts_that_lack_what_the_features_need_are_refused_by_field_and_preset(default_bundle: Path) -> None:
    detector = LSTMFraudDetector(default_bundle)
    with pytest.raises(ValueError, match="no 'created_at', which the features of preset 'default'"):
        judge(detector, ready())
    without_amount = [{key: value for key, value in each.items() if key != "amount"} for each in raw()]
    with pytest.raises(ValueError, match="no 'amount', which the features of preset 'default'"):
        judge(detector, without_amount)


def test_without_a_trained_model_the_starters_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, baseline_bundle: Path, default_bundle: Path
) -> None:
    for bundle in (baseline_bundle, default_bundle):
        shutil.copytree(bundle, tmp_path / "starter" / bundle.name)
    monkeypatch.setattr(models.bundle, "STARTER", tmp_path / "starter")
    monkeypatch.chdir(tmp_path)
    detector = LSTMFraudDetector()
    assert judge(detector, ready()) == judge(LSTMFraudDetector(baseline_bundle), ready())
    assert judge(detector, raw()) == judge(LSTMFraudDetector(default_bundle), raw())


def test_a_trained_model_at_the_default_path_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    shutil.copy(BASELINE, tmp_path / "models" / "lstm_fraud_model.h5")
    monkeypatch.chdir(tmp_path)
    assert judge(LSTMFraudDetector(), ready()) == judge(LSTMFraudDetector(BASELINE), ready())


def test_a_file_of_the_default_preset_reads_raw_transactions(default_bundle: Path) -> None:
    """It is what training leaves at the default path."""
    from_file = judge(LSTMFraudDetector(default_bundle / "lstm_fraud_model.h5"), raw())
    from_bundle = judge(LSTMFraudDetector(default_bundle), raw())
    assert from_file["fraud_probability"] == pytest.approx(from_bundle["fraud_probability"], abs=1e-6)
    with pytest.raises(ValueError, match=r"created_at.*default"):
        judge(LSTMFraudDetector(default_bundle / "lstm_fraud_model.h5"), ready())


def test_a_model_that_reads_more_than_transactions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"reads \d+ features and [1-9]\d* of context.* give the bundle's directory"):
        LSTMFraudDetector(KERAS_FILES / "context.h5")
    with pytest.raises(ValueError, match=r"also reads amount, log_merchant_count_1d, "):
        LSTMFraudDetector(make_bundle(tmp_path / "context", "context"))
    with pytest.raises(FileNotFoundError):
        LSTMFraudDetector(tmp_path / "elsewhere.h5")


def test_the_event_loop_goes_on_while_the_model_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    began, may_end = threading.Event(), threading.Event()
    compute = OnnxRuntime.predict

    def slow(*arguments: Any) -> Any:
        began.set()
        assert may_end.wait(timeout=60), "the event loop never ran"
        return compute(*arguments)

    monkeypatch.setattr(OnnxRuntime, "predict", slow)
    detector = LSTMFraudDetector(BASELINE)

    async def both() -> Detection:
        verdict = asyncio.create_task(detector.predict_sequence(ready()))
        while not began.is_set():
            await asyncio.sleep(0)
        may_end.set()  # only a loop that is not blocked gets here
        return await verdict

    assert asyncio.run(both())["insufficient_history"] is False
