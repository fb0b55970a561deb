"""A real scorer with a model that reads profiles: its scores are those of replay with what training joins."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import redis
from confluent_kafka import Message, Producer
from typer.testing import CliRunner

from models.bundle import load_bundle
from models.context import NO_DAY, Floats32, Profiled, ProfileDefinition, context_columns, day_number
from stream.cli import app
from stream.contract import timestamp
from stream.profile_layout import ProfileKeys
from stream.pseudonyms import Pseudonyms
from tests.bundles import make_bundle
from tests.oracle import judge, read_topic, replay
from tests.profile_archives import TOPICS, archive_past
from tests.profile_reference import Past, Payment, random_past
from tests.scorers import Deployment
from training.archive import Archive, open_archive
from training.profiles import open_profiles
from training.profiles_publish import publish
from training.profiles_table import build_table, read_table

pytestmark = pytest.mark.broker

FIRST, DAYS = date(2026, 2, 20), 60
ZONE = "UTC"  # that of the golden probabilities
CONTEXT = (
    "merchant_fraud_rate_30d",
    "user_fraud_rate_7d",
    "log_user_count_7d",
    "log_merchant_mean_amount_30d",
    "amount_against_user",
)


def produce(deployment: Deployment, payments: Sequence[Payment]) -> None:
    producer = Producer({"bootstrap.servers": deployment.bootstrap, "partitioner": "murmur2_random"})
    for payment in payments:
        value = {
            "transaction_id": f"live-{payment.offset}",
            "user_id": payment.user,
            "amount": payment.amount,
            "created_at": timestamp(payment.created_at),
            "merchant_id": payment.merchant,
        }
        producer.produce(deployment.input_topic, json.dumps(value), payment.user)
    assert producer.flush(30) == 0


def context_by(
    archive: Archive, definition: ProfileDefinition, days: dict[str, int], records: list[Message]
) -> Floats32:
    """Return the context that training joins for records; ``days`` are those of the scores, by transaction id."""
    messages = [json.loads(record.value() or b"") for record in records]
    with open_profiles(archive, TOPICS, definition) as profiles:
        joined = profiles.of_events(
            pa.array([message["merchant_id"] for message in messages], pa.string()),
            pa.array([message["user_id"] for message in messages]),
            np.array([days[message["transaction_id"]] for message in messages]),
        )
    amounts = np.array([message["amount"] for message in messages])
    return context_columns(Profiled(joined[:, 0], joined[:, 1], amounts), CONTEXT)


def expected_day(past: Past, payment: Payment, published: Sequence[date]) -> str | None:
    fitting = [day for day in published if day <= past.day(payment.created_at)]
    return max(fitting).isoformat() if fitting else None


@pytest.mark.parametrize("pseudonym_keys", ["", f"{'1b' * 32},{'0a' * 32}"], ids=["clear", "pseudonyms"])
def test_scores_are_those_of_replay_with_what_training_joins(
    deployment: Deployment, redis_url: str, tmp_path: Path, pseudonym_keys: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = random_past(6, ZONE, 7, FIRST, DAYS, 400)
    archive, place = open_archive(str(tmp_path / "archive")), open_archive(str(tmp_path / "profiles"))
    archive_past(past, archive)
    definition = ProfileDefinition(ZONE, 7)
    keys = ProfileKeys(deployment.input_topic, definition, Pseudonyms.parse(pseudonym_keys))
    bundle = load_bundle(make_bundle(tmp_path / "bundle", "context", zone=ZONE, context=CONTEXT))
    days = [FIRST + timedelta(days=back) for back in (40, 41, 43)]
    live = [
        p
        for p in past.payments
        if days[0] - timedelta(days=1) <= past.day(p.created_at) <= days[-1] + timedelta(days=1)
    ]

    def publish_table(day: date) -> None:
        build_table(archive, TOPICS, definition, day, place)
        with redis.Redis.from_url(redis_url) as client:
            publish(client, keys, read_table(place, definition, day), datetime.now(UTC))

    settings = {"TENFOLD_PSEUDONYM_KEYS": pseudonym_keys} if pseudonym_keys else {}
    scorer = deployment.scorer(TENFOLD_MODEL=str(tmp_path / "bundle"), **settings).wait_until_ready()
    stages: list[tuple[list[date], list[Payment]]] = []
    for published in ([], days[:2], days):  # tables come while it scores
        if published:
            for day in published:
                publish_table(day)
        mine = live[len(stages) :: 3]
        stages.append((published, mine))
        produce(deployment, mine)
        deployment.wait_until_scored([scorer])
    missing = scorer.metric("tenfold_profiles_missing_total")
    stale = scorer.metric("tenfold_profiles_stale_total")
    assert scorer.stop() == 0

    records = read_topic(deployment.bootstrap, deployment.output_topic)
    scores = {score["transaction_id"]: score for score in (json.loads(record.value() or b"") for record in records)}
    profile_days = {
        f"live-{payment.offset}": expected_day(past, payment, published)
        for published, payments in stages
        for payment in payments
    }
    assert {name: score["profile_day"] for name, score in scores.items()} == profile_days
    assert missing == sum(day is None for day in profile_days.values()) > 0
    assert stale == sum(
        expected_day(past, payment, published) not in {None, past.day(payment.created_at).isoformat()}
        for published, payments in stages
        for payment in payments
    )

    numbers = {
        name: NO_DAY if day is None else day_number(date.fromisoformat(day)) for name, day in profile_days.items()
    }
    expected = replay(
        read_topic(deployment.bootstrap, deployment.input_topic),
        bundle,
        context_of=lambda records: context_by(archive, definition, numbers, records),
    )
    verdict = judge(expected, records, [])
    assert verdict.right, verdict
    assert len({probability for probability, _ in expected.scores.values()}) > len(live) / 2, (
        "a model that sees nothing"
    )

    for name, value in deployment.environment(TENFOLD_MODEL=str(tmp_path / "bundle"), **settings).items():
        if name.startswith("TENFOLD_"):
            monkeypatch.setenv(name, value)
    by_day = {day: name for name, day in profile_days.items()}
    assert len(by_day) == 4  # none among them
    for day, name in by_day.items():
        ran = CliRunner().invoke(app, ["explain", name, "--json"])
        [told] = json.loads(ran.stdout)
        assert told["same"], told
        assert told["recomputed"]["profile_day"] == day
        assert set(told["context"]) == set(CONTEXT)
