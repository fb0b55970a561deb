"""From recorded events to a bundle: history, replay, split, the job."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="needs the training extra")
pytest.importorskip("sklearn", reason="needs the training extra")

import pyarrow.parquet as pq  # noqa: E402

from models.hashing import merchant_hash, transaction_hash  # noqa: E402
from models.window import VPN, WINDOW_MAX_AGE_MS  # noqa: E402
from tests.reference import Entry, ReferenceWindow  # noqa: E402
from training.columns import TrainingDataError  # noqa: E402
from training.dataset import BATCH, read_history, replay, split, split_by_row  # noqa: E402
from training.events import DAY_MS  # noqa: E402
from training.metrics import at_threshold, calibration, shuffle_steps, threshold_for  # noqa: E402
from training.simulator import simulate, simulate_days, write_parquet  # noqa: E402

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
FEATURES = ("log_amount", "is_vpn")


def at(day: float) -> datetime:
    return BEGIN + timedelta(days=day)


def transaction(name: str, day: float, amount: float = 1.0, user: str = "u", **more: Any) -> dict[str, Any]:
    row = {"transaction_id": name, "user_id": user, "amount": amount, "created_at": at(day), "is_vpn": False}
    return row | {"merchant_id": "m"} | more


def label(name: str, is_fraud: bool, day: float) -> dict[str, Any]:
    return {"transaction_id": name, "user_id": "u", "is_fraud": is_fraud, "labelled_at": at(day)}


def verdicts(directory: Path, column: str, values: list[Any]) -> None:
    """Write other values into a column of the labels, one of each to a transaction."""
    rows = [label(name, True, 1) | {column: value} for name, value in zip("abcdef", values, strict=False)]
    pq.write_table(pa.Table.from_pylist(rows), directory / "labels.parquet")
    pq.write_table(
        pa.Table.from_pylist([transaction(name, 1) for name in "abcdef"]), directory / "transactions.parquet"
    )


def times_in(directory: Path, values: list[int], kind: Any) -> None:
    """Write other times of payments, as numbers and what they are said to be."""
    rows = pa.Table.from_pylist([transaction(name, 1) for name, _ in zip("abcdef", values, strict=False)])
    place = rows.schema.get_field_index("created_at")
    pq.write_table(rows.set_column(place, "created_at", pa.array(values, kind)), directory / "transactions.parquet")


def record(directory: Path, transactions: list[dict[str, Any]], labels: list[dict[str, Any]]) -> Path:
    time = pa.timestamp("ms", tz="UTC")
    verdict = pa.schema(
        [("transaction_id", pa.string()), ("user_id", pa.string()), ("is_fraud", pa.bool_()), ("labelled_at", time)]
    )
    pq.write_table(pa.Table.from_pylist(transactions), directory / "transactions.parquet")
    pq.write_table(pa.Table.from_pylist(labels, verdict), directory / "labels.parquet")
    return directory


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("simulated")
    write_parquet(simulate_days(users=200, days=40, seed=4), directory)
    return directory


def test_history_is_in_order_of_time_and_equal_times_as_recorded(tmp_path: Path) -> None:
    rows = [transaction("c", 3), transaction("a", 1), transaction("b2", 2, 7.0), transaction("b1", 2, 8.0)]
    history = read_history(record(tmp_path, rows, []))
    assert history.records["transaction"].tolist() == [transaction_hash(name) for name in ("a", "b2", "b1", "c")]
    assert history.records["amount"].tolist() == [1.0, 7.0, 8.0, 1.0]


def test_a_transaction_recorded_twice_is_one_row_the_first(tmp_path: Path) -> None:
    rows = [transaction("a", 5, 1.0), transaction("a", 1, 999.0), transaction("b", 2)]
    history = read_history(record(tmp_path, rows, []))
    assert history.records["amount"].tolist() == [1.0, 1.0]
    assert history.records["transaction"].tolist() == [transaction_hash("b"), transaction_hash("a")]


def test_the_label_that_landed_last_by_the_cut_off_counts_and_none_is_not_fraud(tmp_path: Path) -> None:
    rows = [transaction(name, 1) for name in ("changed", "reverted", "later", "never")]
    labels = [
        label("reverted", False, 6),  # landed last, recorded first
        label("changed", False, 3),
        label("changed", True, 4),
        label("reverted", True, 5),
        label("later", True, 9),
        label("unknown", True, 2),
    ]
    directory = record(tmp_path, rows, labels)
    assert read_history(directory, at(8)).is_fraud.tolist() == [True, False, False, False]
    assert read_history(directory).is_fraud.tolist() == [True, False, True, False]
    assert read_history(directory, at(5.5)).is_fraud.tolist() == [True, True, False, False]


def test_missing_merchants_and_vpn_flags_are_none_and_no(tmp_path: Path) -> None:
    rows = [transaction("a", 1, is_vpn=None, merchant_id=None), transaction("b", 2, is_vpn=True)]
    records = read_history(record(tmp_path, rows, [])).records
    assert records["flags"].tolist() == [0, VPN]
    assert records["merchant"].tolist() == [0, merchant_hash("m")]


def test_replay_gives_the_windows_of_a_list_per_user_across_batches(
    simulated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.dataset.BATCH", 997)
    assert BATCH != 997
    history = read_history(simulated)
    lists: dict[int, ReferenceWindow] = {}
    row = 0
    for windows in replay(history, WINDOW_MAX_AGE_MS):
        for records, length in zip(windows.records, windows.lengths, strict=True):
            user = int(history.users[row])
            expected = lists.setdefault(user, ReferenceWindow(10, WINDOW_MAX_AGE_MS)).add(
                Entry(*history.records[row].tolist())
            )
            assert [Entry(*r) for r in records[:length].tolist()] == expected
            row += 1
    assert row == len(history)


def test_the_split_is_by_time_with_the_label_delay_before_validation(simulated: Path) -> None:
    history = read_history(simulated)
    data = split(history, FEATURES, max_age_ms=WINDOW_MAX_AGE_MS, zone="UTC", label_delay_days=7)
    for part in (data.train, data.validation, data.test):
        last = part.windows.records["created_at_ms"][np.arange(len(part)), part.windows.lengths - 1]
        assert last.min() >= part.begin_ms
        assert last.max() < part.end_ms
        assert part.features.shape == (len(part), 10, 2)
        assert part.context.shape == (len(part), 0)
        rows = slice(*np.searchsorted(history.created_at_ms, [part.begin_ms, part.end_ms]))
        assert part.users.tolist() == history.users[rows].tolist()
    assert data.validation.begin_ms - data.train.end_ms == 7 * DAY_MS
    assert data.test.begin_ms == data.validation.end_ms

    events = simulate(users=200, days=40, seed=4)
    test = events.events["created_at_ms"] >= data.test.begin_ms
    assert data.test.is_fraud.tolist() == events.is_fraud[test].tolist()


def test_a_model_learns_what_had_landed_when_validation_begins(tmp_path: Path) -> None:
    rows = [transaction(f"t{day}", day) for day in range(100)]
    frauds = {4: 11.0, 8: 61.0, 9: 97.0, 64: 97.0, 70: 75.0, 80: 99.0}  # of the day, landed on the day
    history = read_history(record(tmp_path, rows, [label(f"t{day}", True, at) for day, at in frauds.items()]))
    data = split(history, FEATURES, max_age_ms=WINDOW_MAX_AGE_MS, zone="UTC", label_delay_days=7)
    assert data.validation.begin_ms == pytest.approx((BEGIN + timedelta(63)).timestamp() * 1000, abs=DAY_MS)
    days = [(part.windows.records["created_at_ms"], part) for part in (data.train, data.validation, data.test)]
    learned = [np.flatnonzero(part.is_fraud).tolist() for _, part in days]
    assert learned[0] == [4, 8]
    assert [len(its) for its in learned[1:]] == [2, 1]


def test_a_cut_off_before_the_data_is_said(simulated: Path) -> None:
    with pytest.raises(TrainingDataError, match=r"is of 2025-01-01, and the cut-off is 2024-01-01 .*: give a later"):
        read_history(simulated, datetime(2024, 1, 1, tzinfo=UTC))


def test_events_too_young_to_be_labelled_are_left_out(simulated: Path) -> None:
    history = read_history(simulated, datetime(2025, 2, 6, tzinfo=UTC))
    data = split(history, FEATURES, max_age_ms=WINDOW_MAX_AGE_MS, zone="UTC", label_delay_days=5)
    assert data.test.end_ms == datetime(2025, 2, 1, tzinfo=UTC).timestamp() * 1000 + 1


def test_a_split_by_row_has_all_labelled_events_and_knows_no_gap(simulated: Path) -> None:
    history = read_history(simulated)
    data = split(history, FEATURES, max_age_ms=WINDOW_MAX_AGE_MS, zone="UTC", label_delay_days=7, by="rows")
    labelled = history.created_at_ms <= history.cut_off_ms - 7 * DAY_MS
    frauds = np.concatenate([part.is_fraud for part in (data.train, data.validation, data.test)])
    assert frauds.tolist() == history.is_fraud[labelled].tolist()
    assert len(data.train) + len(data.validation) == pytest.approx(0.8 * len(data), abs=1)
    with pytest.raises(TrainingDataError, match="validation rows, 0 are labelled as fraud"):
        split_by_row(replace(data.train, is_fraud=np.arange(len(data.train)) % 2 * (np.arange(len(data.train)) < 9)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "transactions.parquet").unlink(), r"transactions\.parquet does not exist"),
        (lambda d: (d / "labels.parquet").unlink(), r"labels\.parquet does not exist"),
        (lambda d: record(d, [{"transaction_id": "a", "amount": 1.0}], []), "lacks the columns user_id, created_at"),
        (lambda d: (d / "labels.parquet").write_bytes(b"a;b"), r"labels\.parquet cannot be read as Parquet: "),
        (
            lambda d: record(d, [transaction("a", 1), transaction("b", 1, amount=None)], []),
            r"transactions\.parquet has 1 row without amount, the first is row 2: leave them out",
        ),
        (
            lambda d: record(d, [transaction("a", 1, amount="19,90")], []),
            r"transactions\.parquet: amount is string, such as 19,90; it must be a number: with pandas, column\.str",
        ),
        (
            lambda d: record(d, [transaction("a", 1), transaction("b", 1, -2.5), transaction("c", 1, 1e13)], []),
            r"transactions\.parquet: amount is -2\.5 in row 2, and an amount is 0 to 1e\+12.* such rows, 2 in all",
        ),
        (
            lambda d: record(d, [transaction("a", 1, created_at="01.03.2026 18:21")], []),
            r"created_at is string, such as 01\.03\.2026 18:21; it must be.*utc=True\), with format=.%d\.%m",
        ),
        (
            lambda d: record(d, [transaction("a", 1, created_at=datetime(2026, 1, 1))], []),  # noqa: DTZ001
            r"created_at is timestamp\[us\], such as 2026-01-01 .* with a time zone: .*\.dt\.tz_localize",
        ),
        (lambda d: record(d, [transaction("a", 1, created_at=1767225600000)], []), "created_at is int64.*unit=.ms."),
        (lambda d: record(d, [transaction("a", -30_000)], []), "created_at is 1943.* in row 1, and a time is of 1970"),
        (
            lambda d: times_in(d, [1_767_225_600_000_000], pa.timestamp("ms", "UTC")),
            "created_at is 1767225600000000 in row 1, and a time is of 1970 to 9999",
        ),
        (
            lambda d: times_in(d, [-5], pa.timestamp("ms", "Nowhere/Land")),
            "created_at is -5 in row 1, and a time is of 1970 to 9999",
        ),
        (
            lambda d: times_in(d, [1_767_225_600_000_000], pa.timestamp("ms")),
            r"created_at is timestamp\[ms\], such as 1767225600000000; it must be .* with a time zone",
        ),
        (
            lambda d: record(d, [transaction("a", 1, user_id=1.5)], []),
            r"transactions\.parquet: user_id is double; it must",
        ),
        (
            lambda d: verdicts(d, "is_fraud", ["yes"]),
            r"labels\.parquet: is_fraud is string, such as yes; it must be true",
        ),
        (lambda d: verdicts(d, "is_fraud", [1, 0, 2]), r"labels\.parquet: is_fraud is 2 in row 3, and it must be true"),
        (
            lambda d: verdicts(d, "transaction_id", ["A", "B"]),
            r"none of the 2 labels in .*labels\.parquet is of a trans",
        ),
    ],
)
def test_data_that_cannot_be_read_says_which_file_and_what(
    tmp_path: Path, spoil: Callable[[Path], Any], message: str
) -> None:
    record(tmp_path, [transaction("a", 1)], [])
    spoil(tmp_path)
    with pytest.raises(TrainingDataError, match=message):
        read_history(tmp_path)


def test_verdicts_may_be_floats_of_half_precision(tmp_path: Path) -> None:
    record(tmp_path, [transaction(name, 1) for name in "abc"], [])
    labels = pa.Table.from_pylist([label(name, True, 2) for name in "abc"])
    half = pa.array([1, 0, 1], pa.float16())
    place = labels.schema.get_field_index("is_fraud")
    pq.write_table(labels.set_column(place, "is_fraud", half), tmp_path / "labels.parquet")

    assert read_history(tmp_path).is_fraud.tolist() == [True, False, True]


def test_numbers_are_ids_verdicts_and_flags_all_the_same(tmp_path: Path) -> None:
    """As pandas writes them: a column of 0 and 1 is no index of rows, and an id of a file is the id of another."""
    rows = [transaction(name, 1, user_id=7, merchant_id=9, is_vpn=1, amount=5) for name in "abc"]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "transactions.parquet")
    labels = [label(name, True, 2) | {"is_fraud": is_fraud} for name, is_fraud in (("a", 0), ("c", 1), ("x", 1))]
    pq.write_table(pa.Table.from_pylist(labels), tmp_path / "labels.parquet")

    history = read_history(tmp_path)

    assert history.is_fraud.tolist() == [False, False, True]
    assert history.strange_labels == 1
    assert history.records["merchant"].tolist() == [merchant_hash("9")] * 3
    assert history.records["flags"].tolist() == [VPN] * 3


def test_too_little_history_and_a_stretch_without_fraud_are_named(tmp_path: Path) -> None:
    days = [transaction(f"t{day}", day) for day in range(40)]

    def splitting(transactions: list[dict[str, Any]], labels: list[dict[str, Any]]) -> None:
        history = read_history(record(tmp_path, transactions, labels))
        split(history, FEATURES, max_age_ms=WINDOW_MAX_AGE_MS, zone="UTC", label_delay_days=7)

    with pytest.raises(TrainingDataError, match="too little history"):
        splitting(days[:9], [])
    with pytest.raises(TrainingDataError, match="0 are labelled as fraud"):
        splitting(days, [label("t30", True, 35)])
    with pytest.raises(TrainingDataError, match=r"no transaction is of the validation days, 20.*look for times"):
        splitting([*days, transaction("wrong", 36_500)], [label("t3", True, 4)])


def test_the_threshold_flags_the_alert_budget() -> None:
    probabilities = np.linspace(0, 1, 1001, dtype=np.float32)
    is_fraud = (probabilities > 0.98).astype(np.float32)
    threshold = threshold_for(probabilities, 0.01)
    result = at_threshold(is_fraud, probabilities, threshold)
    assert result["flagged"] == pytest.approx(0.01, abs=0.001)
    assert result["precision"] == 1.0
    assert result["recall"] == pytest.approx(0.5)


def test_calibration_tells_probabilities_that_mean_shares_from_those_that_do_not() -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.random(20_000, np.float32)
    is_fraud = (rng.random(20_000) < probabilities).astype(np.float32)
    assert calibration(is_fraud, probabilities)["expected_calibration_error"] < 0.02
    assert calibration(is_fraud, probabilities**3)["expected_calibration_error"] > 0.15


def test_calibration_does_not_depend_on_the_order_of_payments_with_equal_probabilities() -> None:
    probabilities = np.full(1000, 0.02, np.float32)
    frauds_first = (np.arange(1000) < 20).astype(np.float32)
    assert calibration(frauds_first, probabilities)["expected_calibration_error"] < 1e-6


@pytest.mark.parametrize("keep_last", [True, False])
def test_shuffling_keeps_the_steps_and_the_padding(keep_last: bool) -> None:
    lengths = np.arange(1, 11).repeat(50)
    features = np.arange(500 * 10, dtype=np.float32).reshape(500, 10, 1)
    shuffled = shuffle_steps(features, lengths, np.random.default_rng(1), keep_last=keep_last)
    for before, after, length in zip(features, shuffled, lengths, strict=True):
        assert sorted(after[:length].tolist()) == before[:length].tolist()
        assert after[length:].tolist() == before[length:].tolist()
        if keep_last:
            assert after[length - 1] == before[length - 1]
    moved = (shuffled != features).any(axis=(1, 2))
    assert moved[lengths >= 5].mean() > 0.9


def of_large_frauds(directory: Path, until_ms: float = np.inf) -> Path:
    """Record 40 days of 40 payments. A fifth are frauds: large ones, from ``until_ms`` on small ones."""
    directory.mkdir(exist_ok=True)
    rows = [(f"{day}-{user}", day + user / 100, user % 5 == 0) for day in range(40) for user in range(40)]
    payments = [
        transaction(name, day, 5000.0 if fraud == (at(day).timestamp() * 1000 < until_ms) else 5.0, name)
        for name, day, fraud in rows
    ]
    return record(directory, payments, [label(name, fraud, day + 1) for name, day, fraud in rows])


@pytest.mark.training
@pytest.mark.timeout(1200)  # three trainings, each with its evaluation
def test_the_job_tells_its_steps_and_leaves_a_bundle_and_a_champion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorflow", reason="needs the training extra")
    from models.bundle import load_bundle, resolve_model  # noqa: PLC0415 - after the check for TensorFlow
    from training.train_lstm_model import train, train_lstm  # noqa: PLC0415

    store, h5 = tmp_path / "store", tmp_path / "lstm_fraud_model.h5"
    options: dict[str, Any] = {"epochs": 1, "batch_size": 32, "store": store, "h5": h5}
    data = of_large_frauds(tmp_path / "data")
    rows = train(data, model_version="rows", split="rows", **options)
    assert not (store / "champion").exists(), "a split by row is for comparison"
    assert load_bundle(rows.bundle).bundle.metrics["split"] == "rows"
    assert "for comparison only" in (rows.bundle / "card.md").read_text()
    capsys.readouterr()

    trained = train(data, model_version="first", **options)

    lines = capsys.readouterr().out.splitlines()
    steps = [
        "Loading transaction sequences…",
        "Preparing sequences…",
        "Created ",
        "Building LSTM model…",
        'Model: "lstm_fraud_model", 121,665 parameters',
        "Training…",
        "Evaluating…",
        "Test Loss: ",
        "Test Accuracy: ",
        "Test AUC: ",
        f"Model saved to {h5}",
    ]
    told = [next(step for step in steps if line.startswith(step)) for line in lines if line.startswith(tuple(steps))]
    assert told == steps

    bundle = load_bundle(trained.bundle)
    assert bundle.spec.preset == "default"
    assert bundle.bundle.metrics["split"] == "time"
    assert bundle.spec.threshold == trained.metrics["threshold"]
    assert trained.metrics["alert_budget"] == 0.01
    assert bundle.spec.threshold_rule == "the probability above which 0.01 of the validation days' payments lie"
    assert bundle.bundle.metrics["training"]["validation_loss"] == trained.history.history["val_loss"]
    for measured in ("auc", "protocol_auc", "card_precision_at_100"):
        assert bundle.bundle.metrics[measured] - bundle.bundle.metrics["baseline"][measured] == pytest.approx(
            bundle.bundle.metrics["gain"][measured]
        )
    assert set(bundle.bundle.metrics["importance"]["by_feature"]) == set(bundle.spec.features)
    assert bundle.bundle.reference is not None, "drift is measured by it"
    page = (trained.bundle / "report.html").read_text()
    assert f"<title>first · {bundle.bundle.metrics['days_of_test'][0]['day']}" in page
    assert "<h3>Training" in page
    assert h5.read_bytes() == (trained.bundle / "lstm_fraud_model.h5").read_bytes()
    assert not [path.name for path in store.iterdir() if path.name.startswith(".")], "scratch is left"

    model, history = train_lstm(data, preset="baseline", model_version="second", **options)
    assert model.count_params() == 119_617
    assert len(history.history["val_loss"]) == 1
    assert load_bundle(store / "second").spec.features == ("amount", "hour_of_day", "is_weekend", "is_vpn")
    assert resolve_model(None, store) == store / "first", "a champion is not replaced"

    with pytest.raises(FileExistsError, match="never overwritten"):
        train(data, model_version="second", **options)


@pytest.mark.training
@pytest.mark.timeout(600)
def test_what_ranks_no_better_than_chance_does_not_replace_the_starter_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the test days large payments are honest and small ones are frauds, the opposite of what was learned."""
    pytest.importorskip("tensorflow", reason="needs the training extra")
    from typer.testing import CliRunner  # noqa: PLC0415 - after the check for TensorFlow

    from models.bundle import resolve_model, starter  # noqa: PLC0415
    from stream.cli import app  # noqa: PLC0415
    from training.train_lstm_model import train  # noqa: PLC0415

    history = read_history(of_large_frauds(tmp_path))
    test = split(history, FEATURES, max_age_ms=WINDOW_MAX_AGE_MS, zone="UTC", label_delay_days=7).test
    store = tmp_path / "store"
    trained = train(
        of_large_frauds(tmp_path, test.begin_ms), epochs=3, batch_size=32, store=store, h5=None, model_version="poor"
    )

    assert trained.metrics["auc"] < 0.5
    assert resolve_model(None, store) == starter("default")
    said = capsys.readouterr().out
    assert "its test AUC is not above 0.5, so it ranks frauds no better than chance. The starter stays" in said
    words = ["models", "promote", "poor", "--reason", "all the same"]
    ran = CliRunner().invoke(app, words, env={"TENFOLD_MODEL_STORE": str(store)})
    assert ran.exit_code == 0, ran.output
    assert resolve_model(None, store) == store / "poor"
