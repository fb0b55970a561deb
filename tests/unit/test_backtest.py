"""Scores of the past: those that the scorer made, and what is known of the truth beside them."""

import csv
import json
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="needs the archive extra")
duckdb = pytest.importorskip("duckdb", reason="needs the archive extra")

import pyarrow.parquet as pq  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from models.bundle import load_bundle, starter  # noqa: E402
from models.context import NO_DAY, Profiled, ProfileDefinition, context_columns, day_date, local_day  # noqa: E402
from stream import microbatch  # noqa: E402
from stream.answers import answer  # noqa: E402
from stream.cli import app  # noqa: E402
from stream.contract import timestamp  # noqa: E402
from stream.errors import UsageError  # noqa: E402
from stream.microbatch import MicroBatch  # noqa: E402
from stream.window_store import Mark  # noqa: E402
from tests.bundles import make_bundle  # noqa: E402
from tests.pages import the_block  # noqa: E402
from tests.profile_archives import SCORES, TOPICS, archive_past, archive_scores  # noqa: E402
from tests.profile_reference import Past, Payment, random_past  # noqa: E402
from tests.unit.test_microbatch import MemoryStore, score  # noqa: E402
from tests.wanted import NOW_MS  # noqa: E402
from training.archive import open_archive  # noqa: E402
from training.backtest import BacktestError, Range, backtest  # noqa: E402
from training.profiles import open_profiles  # noqa: E402
from training.replay import replay_partition  # noqa: E402

FIRST = date(2026, 2, 20)
RANGE = Range(date(2026, 3, 5), date(2026, 4, 5))


@pytest.fixture(scope="module")
def past() -> Past:
    return random_past(7, "UTC", 7, FIRST, 60, 600)


def inside(payment: Payment) -> bool:
    begin_ms, end_ms = RANGE.bounds_ms
    return begin_ms <= payment.created_at < end_ms


def served(payments: list[Payment], model: microbatch.Model) -> dict[int, dict[str, object]]:
    """Return the scores that the scorer makes of payments in micro-batches of 64, by offset."""
    store, scores = MemoryStore(Mark("T1", "epoch", 0)), {}
    for begin in range(0, len(payments), 64):
        some = payments[begin : begin + 64]
        values = [
            json.dumps(
                {
                    "transaction_id": payment.transaction,
                    "user_id": payment.user,
                    "amount": payment.amount,
                    "created_at": timestamp(payment.created_at),
                    "merchant_id": payment.merchant,
                }
            ).encode()
            for payment in some
        ]
        batch = MicroBatch(
            "transactions",
            [0] * len(some),
            [payment.offset for payment in some],
            [payment.arrived_at for payment in some],
            [payment.user.encode() for payment in some],
            [*values],
            {0: store.marks[0] or Mark("", "", 0)},
            None,
        )
        scored = score(batch, store, model=model)
        store.save(scored.saves)
        for row, output in zip(scored.rows.tolist(), answer(scored, model.spec, "").scores, strict=True):
            scores[batch.offsets[row]] = json.loads(output.value or b"")
    return scores


def test_the_past_is_scored_as_the_scorer_scored_it(past: Past, tmp_path: Path) -> None:
    archive, bundle = open_archive(str(tmp_path / "archive")), load_bundle(starter("default"))
    archive_past(past, archive)

    done = backtest(archive, TOPICS, SCORES, bundle, RANGE, tmp_path / "scores.parquet", NOW_MS)

    live = served(list(past.payments), bundle)
    rows = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    assert [row["source_offset"] for row in rows] == [p.offset for p in past.payments if inside(p)]
    assert done.events == len(rows) > 200
    assert done.anomalies == sum(row["sequence_anomaly"] for row in rows)
    assert done.insufficient_history == sum(row["insufficient_history"] for row in rows) > 0
    days = {payment.created_at // 86_400_000 for payment in past.payments if inside(payment)}
    assert done.days_without_events == (RANGE.until - RANGE.first).days - len(days)
    for row in rows:
        score = live[row["source_offset"]]
        assert row["fraud_probability"] == pytest.approx(score["fraud_probability"], abs=1e-5)
        assert row["created_at"] == datetime.fromisoformat(str(score["created_at"]))
        for name in ("transaction_id", "user_id", "window_length", "insufficient_history", "model_version"):
            assert row[name] == score[name]
        assert row["lstm_score"] == int(row["fraud_probability"] * 100)
    assert len({row["fraud_probability"] for row in rows}) > 50


def test_what_is_known_of_the_truth_stands_beside_the_score(past: Past, tmp_path: Path) -> None:
    archive, bundle = open_archive(str(tmp_path / "archive")), load_bundle(starter("baseline"))
    archive_past(past, archive)

    done = backtest(archive, TOPICS, SCORES, bundle, RANGE, tmp_path / "scores.parquet", NOW_MS)

    rows = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    for row in rows:
        labels = sorted(
            (
                max(label.labelled_at, label.arrived_at),
                label.arrived_at,
                label.offset,
                label.is_fraud,
                label.labelled_at,
            )
            for label in past.labels
            if label.transaction == row["transaction_id"]
        )
        assert row["is_fraud"] == (labels[-1][3] if labels else None)
        at = row["labelled_at"]
        assert (at and round(at.timestamp() * 1000)) == (labels[-1][4] if labels else None)
    known = [row["is_fraud"] for row in rows if row["is_fraud"] is not None]
    assert (done.labelled, done.frauds) == (len(known), sum(known))
    assert (done.not_scorable, done.profile_days_archived, done.profile_days_by_rule) == (0, 0, 0)


def test_a_model_that_reads_profiles_gets_those_of_each_day(past: Past, tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path / "archive"))
    bundle = load_bundle(make_bundle(tmp_path / "bundle", "context"))
    archive_past(past, archive)

    backtest(archive, TOPICS, SCORES, bundle, RANGE, tmp_path / "scores.parquet", NOW_MS)

    [replayed] = replay_partition(
        archive, "transactions", 0, sequence_length=10, max_age_ms=bundle.spec.window_max_age_ms, columns=("offset",)
    )
    rows = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    payments = [payment for payment in past.payments if inside(payment)]
    # tables are published at midnight, and seven of them are kept
    newest = local_day("UTC", np.array([payment.arrived_at for payment in payments]))
    days = np.minimum(local_day("UTC", np.array([payment.created_at for payment in payments])), newest)
    days = np.where(days > newest - 7, days, NO_DAY)
    assert [row["profile_day"] for row in rows] == [None if day == NO_DAY else day_date(day) for day in days.tolist()]
    assert 0 < (days == NO_DAY).sum() < len(days)

    with open_profiles(archive, TOPICS, ProfileDefinition("UTC", 7)) as profiles:
        merchants = pa.array([payment.merchant for payment in payments], pa.string())
        found = profiles.of_events(merchants, pa.array([payment.user for payment in payments]), days)
    amounts = np.array([payment.amount for payment in payments])
    context = context_columns(Profiled(found[:, 0], found[:, 1], amounts), bundle.spec.context)
    windows = replayed.scored.take(np.array([payment.offset for payment in payments]))
    expected = bundle.score(windows, context)
    np.testing.assert_allclose([row["fraud_probability"] for row in rows], expected, atol=1e-6)
    assert np.abs(expected - bundle.score(windows, np.zeros_like(context))).max() > 0.01, "profiles make no difference"


def test_the_day_of_an_archived_score_counts_and_else_the_rule(past: Past, tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path / "archive"))
    bundle = load_bundle(make_bundle(tmp_path / "bundle", "context"))
    archive_past(past, archive)
    backtest(archive, TOPICS, SCORES, bundle, RANGE, tmp_path / "rule.parquet", NOW_MS)
    payments = [payment for payment in past.payments if inside(payment)]
    scored = payments[: len(payments) // 2]
    of_day = date(2026, 3, 1)
    archive_scores(archive, [(payment, of_day) for payment in scored], bundle.spec.model_version)

    done = backtest(archive, TOPICS, SCORES, bundle, RANGE, tmp_path / "archived.parquet", NOW_MS)

    assert done.profile_days_archived == len(scored)
    assert done.profile_days_by_rule == len(payments) - len(scored)
    rule, archived = (pq.read_table(tmp_path / f"{name}.parquet").to_pylist() for name in ("rule", "archived"))
    assert {row["profile_day"] for row in archived[: len(scored)]} == {of_day}
    assert archived[len(scored) :] == rule[len(scored) :]
    pairs = zip(archived[: len(scored)], rule, strict=False)
    assert sum(a["fraud_probability"] != r["fraud_probability"] for a, r in pairs) > len(scored) // 2


def test_a_range_without_an_event_leaves_the_file_that_was_there(past: Past, tmp_path: Path) -> None:
    archive, out = open_archive(str(tmp_path / "archive")), tmp_path / "scores.parquet"
    archive_past(past, archive)
    out.write_bytes(b"before")
    nothing = Range(date(2020, 1, 1), date(2020, 1, 2))
    with pytest.raises(
        BacktestError, match="no event from 2020-01-01 to 2020-01-02: its files are of what arrived from 2026-"
    ):
        backtest(archive, TOPICS, SCORES, load_bundle(starter("baseline")), nothing, out, NOW_MS)
    assert out.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "scores.parquet"]


def test_a_place_that_cannot_be_written_is_named(past: Past, tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path / "archive"))
    archive_past(past, archive)
    out = tmp_path / "nowhere" / "scores.parquet"
    with pytest.raises(BacktestError, match=r"nowhere/scores\.parquet cannot be written"):
        backtest(archive, TOPICS, SCORES, load_bundle(starter("baseline")), RANGE, out, NOW_MS)


def test_the_command_says_what_it_scored(past: Past, tmp_path: Path) -> None:
    archive_past(past, open_archive(str(tmp_path / "archive")))
    options = ["--archive", str(tmp_path / "archive"), "--model", str(starter("default")), "--from", "2026-03-05"]
    out = tmp_path / "scores.parquet"

    ran = CliRunner().invoke(app, ["backtest", *options, "--to", "2026-04-05", "--out", str(out), "--json"])

    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["events"] == len(pq.read_table(out)) == sum(map(inside, past.payments))
    assert told["model_version"] == "starter-default"
    for last, message in (("tomorrow", "--to tomorrow: give a day"), ("2026-03-05", "is the day after the last")):
        ran = CliRunner().invoke(app, ["backtest", *options, "--to", last, "--out", str(out)])
        assert isinstance(ran.exception, UsageError)
        assert message in str(ran.exception)


def test_scores_are_parquet_and_the_page_makes_a_csv_of_them(
    past: Past, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    archive = open_archive("archive")
    archive_past(past, archive)
    options = [
        "--archive",
        "archive",
        "--model",
        str(starter("baseline")),
        "--from",
        "2026-03-05",
        "--to",
        "2026-04-05",
    ]

    ran = CliRunner().invoke(app, ["backtest", *options, "--out", "scores.csv"])
    block = the_block("docs/training.md", "COPY").text
    ran_well = CliRunner().invoke(app, ["backtest", *options, "--out", "scores.parquet", "--json"])
    duckdb.sql(block)

    assert isinstance(ran.exception, UsageError)
    assert "--out scores.csv is written as Parquet: give a name that ends in .parquet" in str(ran.exception)
    assert block.strip() in str(ran.exception)
    with Path("scores.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == json.loads(ran_well.stdout)["events"]
