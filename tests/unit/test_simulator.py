"""The simulated stream keeps its promises, and no single payment gives its frauds away."""

import itertools
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from models.features import PRESETS, step_features
from models.window import RECORD, VPN, WINDOW_MAX_AGE_MS, Windows, advance
from stream.contract import FRAUD_LABEL, TRANSACTION, epoch_ms
from training.events import DAY_MS, Scenario
from training.simulator import Simulated, labels_as_json, simulate, simulate_days, transactions_as_json, write_parquet

START = datetime(2026, 3, 7, 15, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def two_months() -> Simulated:
    return simulate(users=1500, days=60, seed=11)


def test_a_seed_gives_the_same_stream_again_and_another_seed_another_one() -> None:
    once, again, other = simulate(50, 10, 1), simulate(50, 10, 1), simulate(50, 10, 2)
    assert np.array_equal(once.events, again.events)
    assert not set(once.transaction_ids()) & set(other.transaction_ids())
    assert not set(once.user_ids()) & set(other.user_ids())


def test_a_longer_stream_begins_with_the_shorter_one() -> None:
    short, long = simulate(50, 10, 1), simulate(50, 20, 1)
    assert np.array_equal(short.events, long.events[: len(short)])
    assert short.transaction_ids() == long.transaction_ids()[: len(short)]


def test_days_put_together_are_the_stream_in_order_of_time() -> None:
    days = list(simulate_days(50, 10, 1))
    whole = simulate(50, 10, 1)
    assert len(days) == 10
    assert np.array_equal(np.concatenate([day.events for day in days]), whole.events)
    assert list(itertools.chain(*(day.transaction_ids() for day in days))) == whole.transaction_ids()
    assert (np.diff(whole.events["created_at_ms"]) >= 0).all()


def test_a_stream_lies_between_its_start_and_its_end_and_keeps_the_hours_of_the_day() -> None:
    simulated = simulate(400, 14, 3, START)
    times = simulated.events["created_at_ms"]
    assert times.min() >= START.timestamp() * 1000
    assert times.max() < START.timestamp() * 1000 + 14 * DAY_MS
    takeovers = times[simulated.events["scenario"] == Scenario.ACCOUNT_TAKEOVER]
    hours = takeovers // 3_600_000 % 24
    assert ((hours >= 22) | (hours < 8)).mean() > 0.7


@pytest.mark.parametrize("arguments", [(0, 1, 1), (1, 0, 1), (1, 1, -1)])
def test_senseless_sizes_are_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1 user, 1 day"):
        simulate(*arguments)


def test_a_start_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        simulate(1, 1, 1, datetime(2026, 1, 1))  # noqa: DTZ001 - that is the case


def test_about_one_payment_in_a_hundred_is_a_fraud_and_every_scenario_occurs(two_months: Simulated) -> None:
    assert 0.006 < two_months.is_fraud.mean() < 0.014
    shares = np.bincount(two_months.events["scenario"], minlength=5)[1:] / two_months.is_fraud.sum()
    assert (shares > 0.03).all(), shares
    assert (shares < 0.6).all(), shares


def test_every_fraud_and_a_few_honest_payments_are_labelled_days_later(two_months: Simulated) -> None:
    events, fraud = two_months.events, two_months.is_fraud
    labelled = events["labelled_at_ms"] > 0
    assert labelled[fraud].all()
    assert 0.01 < labelled[~fraud].mean() < 0.03
    delay = (events["labelled_at_ms"] - events["created_at_ms"])[labelled] / DAY_MS
    assert 6 < delay.mean() < 8
    assert delay.min() > 0
    assert delay.max() <= 30


def test_messages_are_what_the_contract_says() -> None:
    simulated = simulate(50, 10, 1)
    messages = list(transactions_as_json(simulated))
    assert len(messages) == len(simulated)
    for key, value, created_at_ms in messages:
        transaction = TRANSACTION.validate_json(value)
        assert set(transaction) == {
            "transaction_id",
            "user_id",
            "amount",
            "created_at",
            "is_vpn",
            "merchant_id",
        }
        assert key == transaction["user_id"].encode()
        assert epoch_ms(transaction["created_at"]) == created_at_ms
    labels = [FRAUD_LABEL.validate_json(value) for _, value, _ in labels_as_json(simulated)]
    ids = dict(zip(simulated.transaction_ids(), simulated.is_fraud.tolist(), strict=True))
    assert {label["transaction_id"] for label in labels if label["is_fraud"]} == {i for i, bad in ids.items() if bad}


def test_parquet_holds_the_stream_as_it_is_on_the_wire(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs the archive extra")
    import pyarrow.parquet as pq  # noqa: PLC0415 - optional

    simulated = simulate(50, 10, 1)
    written = write_parquet(simulate_days(50, 10, 1), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.parquet", "transactions.parquet"]

    transactions = pq.read_table(tmp_path / "transactions.parquet")
    labels = pq.read_table(tmp_path / "labels.parquet")
    assert written == (len(simulated), simulated.is_fraud.sum(), labels.num_rows)
    assert [f"{field.name} {field.type}" for field in transactions.schema] == [
        "transaction_id string",
        "user_id string",
        "amount double",
        "created_at timestamp[ms, tz=UTC]",
        "is_vpn bool",
        "merchant_id string",
    ]
    assert [f"{field.name} {field.type}" for field in labels.schema] == [
        "transaction_id string",
        "user_id string",
        "is_fraud bool",
        "labelled_at timestamp[ms, tz=UTC]",
    ]
    sent = [TRANSACTION.validate_json(value) for _, value, _ in transactions_as_json(simulated)]
    for row, message in zip(transactions.to_pylist(), sent, strict=True):
        assert row.pop("created_at").timestamp() * 1000 == epoch_ms(message.pop("created_at"))
        assert row == message


def windows_of(simulated: Simulated) -> Windows:
    events = simulated.events
    records = np.zeros(len(events), RECORD)
    records["created_at_ms"] = events["created_at_ms"]
    records["transaction"] = np.arange(1, len(events) + 1)
    records["amount"] = events["amount"]
    records["flags"] = np.where(events["is_vpn"], VPN, 0)
    users = events["user"].astype(np.int64)
    return advance(Windows.empty(users.max() + 1), users, records, WINDOW_MAX_AGE_MS).scored


def test_a_single_payment_does_not_give_the_frauds_away_but_the_run_before_it_does(two_months: Simulated) -> None:
    pytest.importorskip("sklearn", reason="needs the training extra")
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - optional
    from sklearn.metrics import average_precision_score  # noqa: PLC0415

    def average_precision(columns: npt.NDArray[np.floating]) -> float:
        train = len(columns) * 2 // 3
        fraud = two_months.is_fraud
        model = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.08, random_state=0)
        model.fit(columns[:train], fraud[:train])
        return float(average_precision_score(fraud[train:], model.predict_proba(columns[train:])[:, 1]))

    events = two_months.events
    hour = events["created_at_ms"] / 3_600_000 % 24
    day = events["created_at_ms"] // DAY_MS % 7
    single = average_precision(np.stack([events["amount"], hour, day, events["is_vpn"], events["merchant"]], axis=1))
    windows = windows_of(two_months)
    steps = step_features(windows, PRESETS["default"])
    last_first = np.take_along_axis(
        steps, np.maximum(windows.lengths[:, None] - 1 - np.arange(10), 0)[:, :, None], axis=1
    )
    run = average_precision(last_first.reshape(len(steps), -1))

    assert single < 0.3, f"single payments reach AP {single:.3f}"
    assert run > 2 * single, f"windows reach AP {run:.3f}, single payments {single:.3f}"
    print(f"single {single:.3f} run {run:.3f}")
