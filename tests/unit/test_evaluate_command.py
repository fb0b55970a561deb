"""``tenfold evaluate``: any bundle on any days of an archive."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("duckdb", reason="needs the training extra")
metrics = pytest.importorskip("sklearn.metrics", reason="needs the training extra")
pytest.importorskip("matplotlib", reason="needs the training extra")

import pyarrow.parquet as pq  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from models.bundle import load_bundle, starter  # noqa: E402
from stream.cli import app  # noqa: E402
from stream.errors import TenfoldError  # noqa: E402
from tests.bundles import make_bundle  # noqa: E402
from tests.profile_archives import SCORES, TOPICS, archive_past  # noqa: E402
from tests.profile_reference import Past, random_past  # noqa: E402
from tests.wanted import NOW_MS  # noqa: E402
from training.archive import open_archive  # noqa: E402
from training.archive_dataset import Wanted, part_of_range  # noqa: E402
from training.backtest import Range, backtest  # noqa: E402
from training.labels import open_labels  # noqa: E402
from training.periods import PeriodError  # noqa: E402

RANGE = Range(date(2026, 3, 5), date(2026, 3, 26))
DAYS = ["--from", "2026-03-05", "--to", "2026-03-26"]


@pytest.fixture(scope="module")
def past() -> Past:
    return random_past(7, "UTC", 7, date(2026, 2, 20), 60, 1500)


@pytest.fixture(scope="module")
def archive(past: Past, tmp_path_factory: pytest.TempPathFactory) -> str:
    url = str(tmp_path_factory.mktemp("archive"))
    archive_past(past, open_archive(url))
    return url


def counted_once(past: Past) -> set[int]:
    """Return the offsets of the payments in the range; of an id that is there again the first counts, if it is there."""  # noqa: E501
    begin_ms, end_ms = RANGE.bounds_ms
    firsts = {payment.transaction: payment for payment in sorted(past.payments, key=lambda p: -p.offset)}
    return {payment.offset for payment in firsts.values() if begin_ms <= payment.created_at < end_ms}


@pytest.mark.parametrize("network", ["context", "baseline"])
def test_a_bundle_is_judged_by_the_scores_that_backtest_gives(
    network: str, past: Past, archive: str, tmp_path: Path
) -> None:
    bundle, out = make_bundle(tmp_path / "bundle", network), tmp_path / "report"
    arguments = ["--archive", archive, "--model", str(bundle), *DAYS, "--out", str(out), "--alert-budget", "0.05"]

    ran = CliRunner().invoke(app, ["evaluate", *arguments, "--json"])

    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    scores = tmp_path / "scores.parquet"
    backtest(open_archive(archive), TOPICS, SCORES, load_bundle(bundle), RANGE, scores, NOW_MS)
    rows = pq.read_table(scores).to_pylist()
    counting = counted_once(past)
    firsts = [row for row in rows if row["source_offset"] in counting]
    is_fraud = np.array([bool(row["is_fraud"]) for row in firsts])
    probabilities = np.array([row["fraud_probability"] for row in firsts])
    assert (told["n"], told["frauds"]) == (len(firsts), is_fraud.sum())
    assert told["brier"] == pytest.approx(metrics.brier_score_loss(is_fraud, probabilities), abs=1e-6)
    # scores are published with six decimals, so that some are equal there that are not here
    assert told["auc"] == pytest.approx(metrics.roc_auc_score(is_fraud, probabilities), abs=1e-3)
    ap = metrics.average_precision_score(is_fraud, probabilities)
    assert told["average_precision"] == pytest.approx(ap, abs=5e-3)
    assert told["alert_budget"] == 0.05
    assert [week["days"] for week in told["weeks"]] == [7, 7, 7]
    assert told["protocol_n"] < told["n"]
    assert len(told["importance"]["by_context"]) == len(load_bundle(bundle).spec.context)

    assert sorted(path.name for path in out.iterdir()) == ["metrics.json", "report.html", "summary.md"]
    assert json.loads((out / "metrics.json").read_text()) | {"out": str(out)} == told
    page, summary = (out / "report.html").read_text(), (out / "summary.md").read_text()
    for week in told["weeks"]:
        assert week["from"] in page
        assert f"{week['from']} | {week['to']}" in summary
    assert f"{told['auc']:.3f}" in page
    assert f"{told['auc']:.3f}" in summary


def test_the_table_by_week_is_printed_and_days_of_the_training_are_said(archive: str, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", trained_from="2026-02-20T00:00Z", trained_to="2026-03-05T00:00:01Z")
    arguments = ["evaluate", "--archive", archive, "--model", str(bundle), "--to", "2026-03-26", "--from"]

    ran = CliRunner().invoke(app, [*arguments, "2026-03-05"])
    later = CliRunner().invoke(app, [*arguments, "2026-03-06"])

    assert ran.exit_code == 0, ran.output
    head, *weeks = ran.stdout.splitlines()
    assert head.split()[:3] == ["from", "payments", "frauds"]
    assert [line.split()[0] for line in weeks[:4]] == ["2026-03-05", "2026-03-12", "2026-03-19", "mean"]
    assert max(map(len, weeks)) <= 80
    assert "trained on some of these days" in ran.stdout
    assert "trained on some of these days" not in later.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_cards_frauds_are_known_since_their_labels_landed(past: Past, archive: str) -> None:
    begin_ms, end_ms = RANGE.bounds_ms
    with open_labels(open_archive(archive), TOPICS) as labels:
        extent = labels.extent(NOW_MS)
        assert extent is not None
        found = labels.frauds(begin_ms, end_ms, extent.known_ms)
    expected = []
    for payment in (payment for payment in past.payments if payment.offset in counted_once(past)):
        said = sorted(
            (max(label.labelled_at, label.arrived_at), label.arrived_at, label.offset, label.is_fraud)
            for label in past.labels
            if label.transaction == payment.transaction
        )
        if said and said[-1][3]:
            expected.append((payment.created_at, said[-1][0]))
    assert sorted(zip(found.created_at_ms.tolist(), found.landed_at_ms.tolist(), strict=True)) == sorted(expected)
    assert len(expected) > 10


def test_cards_that_are_known_from_before_the_range_are_left_out(past: Past, archive: str, tmp_path: Path) -> None:
    spec = load_bundle(starter("baseline")).spec
    wanted = Wanted(
        features=spec.features,
        context=(),
        sequence_length=spec.sequence_length,
        max_age_ms=spec.window_max_age_ms,
        zone=spec.zone,
        first=RANGE.first,
        until=RANGE.until,
        label_delay_days=spec.label_delay_days,
        validation_days=0,
        test_days=0,
        honest_per_fraud=1,
        seed=1,
        split="time",
        now_ms=NOW_MS,
    )
    made = part_of_range(open_archive(archive), TOPICS, SCORES, wanted, tmp_path)
    assert len(made.windows) == len(counted_once(past))
    assert made.frauds.created_at_ms.min() < RANGE.bounds_ms[0]
    assert np.isin(made.frauds.users, made.windows.users).any(), "users of windows and of frauds are told apart"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--from", "spring", "--to", "2026-03-26"], "--from spring: give a day"),
        (["--from", "2026-03-05", "--to", "2026-03-05"], "there is nothing from 2026-03-05 to 2026-03-05"),
        (["--from", "2026-03-05", "--to", "2027-03-05"], "--to 2027-03-05: events are labelled 7 days later"),
        (["--from", "2020-03-05", "--to", "2020-04-05"], "there is nothing from 2020-03-05 to 2020-04-05"),
        ([*DAYS, "--alert-budget", "1"], "--alert-budget 1: give a share"),
        ([*DAYS, "--model", "nowhere"], "nowhere is not a directory"),
    ],
)
def test_what_cannot_be_judged_is_said_and_leaves_no_report(
    options: list[str], message: str, archive: str, tmp_path: Path
) -> None:
    arguments = ["--archive", archive, "--model", str(starter("baseline")), "--out", str(tmp_path / "report")]
    ran = CliRunner().invoke(app, ["evaluate", *arguments, *options])
    assert isinstance(ran.exception, TenfoldError)
    assert message in str(ran.exception)
    assert not list(tmp_path.glob("report/*"))


def test_days_without_a_fraud_are_refused(past: Past, tmp_path: Path) -> None:
    archive_past(Past(**{**vars(past), "labels": past.labels[:0]}), open_archive(str(tmp_path / "archive")))
    arguments = ["--archive", str(tmp_path / "archive"), "--model", str(starter("baseline")), *DAYS]
    ran = CliRunner().invoke(app, ["evaluate", *arguments])
    assert isinstance(ran.exception, TenfoldError)
    assert "0 are labelled as fraud" in str(ran.exception)


def test_a_place_that_cannot_be_written_is_named(archive: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    arguments = ["--archive", archive, "--model", str(starter("baseline")), "--out", str(tmp_path / "file"), *DAYS]
    ran = CliRunner().invoke(app, ["evaluate", *arguments])
    assert isinstance(ran.exception, TenfoldError)
    assert "file cannot be written" in str(ran.exception)
    assert not isinstance(ran.exception, PeriodError)
