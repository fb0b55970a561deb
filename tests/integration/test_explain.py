"""``tenfold explain`` on a real broker and in an archive: a score made again is the one that a scorer published."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import redis
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from models.bundle import load_bundle, starter
from models.context import CONTEXT, ProfileDefinition
from models.window import RECORD
from stream.cli import app
from stream.contract import timestamp
from stream.explain_model import ExplainError, served_context
from stream.parse import ParsedTransaction
from stream.profile_layout import ProfileKeys
from stream.settings import load
from stream.topics import topic_id
from tests.oracle import read_topic
from tests.scorers import Deployment
from tests.traffic import Record, produce, traffic

pytestmark = pytest.mark.broker

BEGIN_MS = 1_770_000_000_000


def payment(number: int, minutes: float, **changed: object) -> Record:
    fields = {
        "transaction_id": f"anna-{number}",
        "user_id": "anna",
        "amount": 10.0 + number,
        "created_at": timestamp(BEGIN_MS + int(minutes * 60_000)),
        "merchant_id": f"m-{number % 3}",
    }
    return Record(b"anna", json.dumps(fields | changed).encode(), bad=False)


def annas() -> list[Record]:
    """Fourteen payments in order, one that is late, and one whose id was there before."""
    in_order = [payment(number, 10.0 * number) for number in range(14)]
    late = payment(14, 85.0)
    again = payment(9, 150.0, amount=999.0)
    old = payment(15, -200 * 24 * 60.0)
    return [*in_order, late, again, old, payment(16, 160.0, amount=4_000.0, is_vpn=True)]


@pytest.fixture
def scored(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    produce(deployment.bootstrap, deployment.input_topic, traffic(300, 5, seed=8))
    produce(deployment.bootstrap, deployment.input_topic, iter(annas()))
    scorer = deployment.scorer()
    deployment.wait_until_scored([scorer])
    assert scorer.stop() == 0
    for name, value in deployment.environment().items():
        if name.startswith("TENFOLD_"):
            monkeypatch.setenv(name, value)
    return deployment


def explained(*words: str, code: int = 0) -> list[dict[str, object]]:
    ran = CliRunner().invoke(app, ["explain", *words, "--json"])
    assert ran.exit_code == code, ran.output
    found: list[dict[str, object]] = json.loads(ran.stdout)
    return found


def ids(told: dict[str, object]) -> list[str]:
    return [step["transaction_id"] for step in told["window"]]  # type: ignore[attr-defined,index]


def archive_all(deployment: Deployment, url: str) -> None:
    """Archive what is on the topics, as the archiver does."""
    from training.archive import FileName, Kind, open_archive  # noqa: PLC0415
    from training.archive_records import Records, to_rows  # noqa: PLC0415
    from training.archive_writer import write_rows  # noqa: PLC0415

    archive = open_archive(url)
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap})
    kinds = {deployment.input_topic: Kind.TRANSACTIONS, deployment.output_topic: Kind.SCORES}
    for topic, kind in kinds.items():
        columns: dict[tuple[int, str], Records] = {}
        for record in read_topic(deployment.bootstrap, topic):
            day = datetime.fromtimestamp(record.timestamp()[1] / 1000, UTC).date().isoformat()
            its = columns.setdefault((record.partition(), day), Records())
            its.offsets.append(record.offset())
            its.timestamps_ms.append(record.timestamp()[1])
            its.keys.append(record.key())
            its.values.append(record.value())
            its.headers.append(dict(record.headers() or []))
        for (partition, day), its in columns.items():
            table = to_rows(kind, its, topic_id(admin, topic, 10), partition).table
            first, last = table["offset"][0].as_py(), table["offset"][-1].as_py()
            write_rows(archive, FileName(topic, datetime.fromisoformat(day).date(), partition, first, last), table)


def test_scores_made_again_are_the_published_ones(scored: Deployment, tmp_path: Path) -> None:
    [first], [full], [late], [old] = (explained(f"anna-{number}") for number in (0, 13, 14, 15))
    twice, [flagged] = explained("anna-9"), explained("anna-16")
    every = [first, full, late, old, flagged, *twice]

    assert all(told["same"] for told in every)
    assert all(told["source"]["window_is_whole"] for told in every)  # type: ignore[index]
    published = [told["published"]["fraud_probability"] for told in every]  # type: ignore[index]
    assert published == pytest.approx([told["recomputed"]["fraud_probability"] for told in every], abs=2e-6)  # type: ignore[index]
    assert len(set(published)) > 4
    assert ids(first) == ["anna-0"]
    assert ids(full) == [f"anna-{number}" for number in range(4, 14)]
    assert ids(late)[-2:] == ["anna-8", "anna-14"]
    assert ids(old) == ["anna-15"]
    assert [told["amount"] for told in twice] == [19.0, 999.0]
    assert all(ids(told)[-1] == "anna-9" and told["window"][-1]["amount"] == 19.0 for told in twice)  # type: ignore[index]

    pytest.importorskip("duckdb")
    archive = str(tmp_path / "archive")
    archive_all(scored, archive)
    for told in (late, flagged):
        [again] = explained(str(told["transaction_id"]), "--archive", archive)
        assert again["same"]
        assert again["source"]["from"] == "archive"  # type: ignore[index]
        assert [again[name] for name in ("window", "recomputed")] == [told[name] for name in ("window", "recomputed")]
    assert [told["same"] for told in explained("anna-9", "--archive", archive)] == [True, True]


def test_another_model_is_told_with_both_scores(scored: Deployment) -> None:
    records = read_topic(scored.bootstrap, scored.output_topic)
    published = [record for record in records if b'"anna-16"' in record.value()]
    changed = json.loads(published[0].value()) | {"model_version": "gone", "fraud_probability": 0.5}
    producer = Producer({"bootstrap.servers": scored.bootstrap, "partitioner": "murmur2_random"})
    producer.produce(scored.output_topic, json.dumps(changed), b"anna", headers=published[0].headers())
    assert producer.flush(30) == 0

    [told] = explained("anna-16", code=1)
    assert told["same"] is False
    assert "gone" in told["different_because"][0]  # type: ignore[index]
    ran = CliRunner().invoke(app, ["explain", "anna-16"])
    assert "0.500000 was published" in ran.stdout
    assert "is not in the store any more" in ran.stdout


def test_another_engine_is_among_the_causes_where_the_window_is_as_long(scored: Deployment) -> None:
    published = [
        record for record in read_topic(scored.bootstrap, scored.output_topic) if b'"anna-13"' in record.value()
    ]
    producer = Producer({"bootstrap.servers": scored.bootstrap, "partitioner": "murmur2_random"})
    for changed in ({"fraud_probability": 0.5}, {"fraud_probability": 0.5, "window_length": 3}):
        value = json.loads(published[0].value()) | changed
        producer.produce(scored.output_topic, json.dumps(value), b"anna", headers=published[0].headers())
        assert producer.flush(30) == 0
        [told] = explained("anna-13", code=1)
        named = any("TENFOLD_RUNTIME" in cause for cause in told["different_because"])  # type: ignore[attr-defined]
        assert named != ("window_length" in changed)


def test_a_payment_without_a_score_is_told_what_to_do(scored: Deployment) -> None:
    ran = CliRunner().invoke(app, ["explain", "nobody-1"])

    assert ran.exit_code == 1
    assert scored.output_topic in str(ran.exception)
    assert "--archive" in str(ran.exception)


def test_a_score_whose_record_is_another_payment_is_not_explained_by_that(scored: Deployment) -> None:
    """As after the topic was made anew: what is at that offset now is somebody else's."""
    of_another = next(
        record for record in read_topic(scored.bootstrap, scored.output_topic) if b'"anna-16"' in record.value()
    )
    value = json.loads(of_another.value()) | {"transaction_id": "bert-1", "user_id": "bert"}
    producer = Producer({"bootstrap.servers": scored.bootstrap, "partitioner": "murmur2_random"})
    producer.produce(scored.output_topic, json.dumps(value), b"bert", headers=of_another.headers())
    assert producer.flush(30) == 0

    ran = CliRunner().invoke(app, ["explain", "bert-1"])
    assert ran.exit_code == 1
    assert "is not the payment that was scored" in str(ran.exception)
    assert "anna" not in ran.output + str(ran.exception)


def test_an_index_of_profiles_that_cannot_be_read_is_named(redis_url: str, group_id: str) -> None:
    spec = load_bundle(starter("default")).spec.model_copy(update={"context": tuple(CONTEXT)})
    settings = load(redis_url=redis_url, input_topic=f"transactions-{group_id}")
    index = ProfileKeys(settings.input_topic, ProfileDefinition(spec.zone, spec.label_delay_days)).index
    with redis.Redis.from_url(redis_url) as client:
        client.set(index, "none")
    payment = ParsedTransaction("anna-1", "anna", 5.0, timestamp(BEGIN_MS))
    with pytest.raises(ExplainError, match="is no index of profiles"):
        served_context(settings, spec, payment, np.zeros(1, RECORD), None)
