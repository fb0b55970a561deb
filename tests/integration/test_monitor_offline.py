"""What the monitor says of a week is what ``tenfold evaluate`` says of it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("duckdb", reason="needs the archive extra")
pytest.importorskip("sklearn", reason="needs the training extra")
pytest.importorskip("matplotlib", reason="needs the training extra")

import pyarrow.parquet as pq
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from models.bundle import load_bundle
from models.context import day_date
from stream.cli import app
from stream.redis_client import connect
from stream.settings import load
from tests import profile_reference
from tests.bundles import make_bundle
from tests.judged_past import DAY_MS, FIRST_DAY, Past, Payment, label_of, payment_of, random_past, score_of
from tests.profile_archives import SCORES, TOPICS, archive_past
from tests.wanted import NOW_MS
from training.archive import Kind, open_archive
from training.archive_records import Records
from training.backtest import Range, backtest
from training.monitor_metrics import MonitorMetrics
from training.monitor_publish import Publisher, kept_days
from training.monitor_records import keep
from training.monitor_state import Append, Mark, State
from training.monitor_table import read_day

pytestmark = pytest.mark.broker

DAYS, DELAY = 24, 7
LAST_DAY = FIRST_DAY + DAYS - 1 - DELAY  # that can be judged
THE_SAME = ("auc", "average_precision", "protocol_auc", "protocol_average_precision", "card_precision_at_100")
PLACES = {Kind.SCORES: (SCORES, 0), Kind.TRANSACTIONS: (TOPICS.transactions, 0), Kind.LABELS: (TOPICS.labels, 0)}


def archived(past: Past) -> profile_reference.Past:
    """Return a past as archives of tests are made of."""
    payments = [
        profile_reference.Payment(
            place, each.transaction, each.user, None, each.amount, each.created_at, each.created_at
        )
        for place, each in enumerate(past.payments)
    ]
    labels = [profile_reference.Label(place, *verdict) for place, verdict in enumerate(past.verdicts)]
    return profile_reference.Past(payments, labels, "UTC", DELAY)


def put(state: State, kind: Kind, values: list[dict[str, object]], at_ms: list[int]) -> None:
    """Put messages into the state, as the monitor's loop does."""
    encoded: list[bytes | None] = [json.dumps(value).encode() for value in values]
    keys: list[bytes | None] = [str(value["user_id"]).encode() for value in values]
    records = Records(list(range(len(values))), at_ms, keys, encoded, [{}] * len(values))
    kept = keep(kind, records)
    assert not kept.refused
    assert state.append([Append(PLACES[kind], None, Mark("id", len(values), at_ms[-1]), kept.by_day)]) == [True]


def test_the_figures_of_a_week_are_those_of_its_evaluation(redis_url: str, group_id: str, tmp_path: Path) -> None:
    past = random_past(5, users=60, payments=2_000, days=DAYS)
    archive = open_archive(str(tmp_path / "archive"))
    archive_past(archived(past), archive)
    begin, end = datetime.fromtimestamp(FIRST_DAY * 86_400, UTC).date(), day_date(LAST_DAY + 1)
    network = load_bundle(make_bundle(tmp_path / "network", "baseline"))
    backtest(archive, TOPICS, SCORES, network, Range(begin, end), tmp_path / "scores.parquet", NOW_MS)
    rows = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    threshold = float(np.quantile([row["fraud_probability"] for row in rows], 0.95)) + 1e-7  # none is so near
    bundle = make_bundle(tmp_path / "bundle", "baseline", threshold=threshold)
    scored: list[Payment] = []
    for row in rows:
        paid, p = past.payments[row["source_offset"]], row["fraud_probability"]
        scored.append(paid._replace(probability=p, flagged=p > threshold))

    with connect(load(redis_url=redis_url)) as client:
        state = State(client, group_id, kept_days([DELAY]))
        put(state, Kind.SCORES, [score_of(each) for each in scored], [each.created_at for each in scored])
        paid_at = [each.created_at for each in past.payments]
        put(state, Kind.TRANSACTIONS, [payment_of(each) for each in past.payments], paid_at)
        labels = [label_of(verdict) for verdict in past.verdicts]
        put(state, Kind.LABELS, labels, [verdict.arrived_at for verdict in past.verdicts])
        places = {kind: [place] for kind, place in PLACES.items()}
        table = open_archive(str(tmp_path / "quality"))
        publisher = Publisher(state, places, [DELAY], table, MonitorMetrics(CollectorRegistry()))
        while publisher.publish_next((FIRST_DAY + DAYS) * DAY_MS):
            pass

    days = ["--from", day_date(LAST_DAY - 6).isoformat(), "--to", end.isoformat()]
    arguments = ["--archive", str(tmp_path / "archive"), "--model", str(bundle), *days, "--json"]
    ran = CliRunner().invoke(app, ["evaluate", *arguments])
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    [week] = [row for row in read_day(table, day_date(LAST_DAY)).to_pylist() if row["span_days"] == 7]
    assert (week["payments"], week["frauds"]) == (told["n"], told["frauds"])
    assert (week["precision"], week["recall"]) == (told["precision"], told["recall"])
    # scores are published with six decimals, so that some are equal there that are not here
    assert {name: week[name] for name in THE_SAME} == pytest.approx({name: told[name] for name in THE_SAME}, abs=2e-3)
    assert told["frauds"] > 20
    assert told["precision"] is not None
