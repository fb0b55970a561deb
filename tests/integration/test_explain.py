"""``tenfold explain`` on a real broker and in an archive: a score made again is the one that a scorer published."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import redis
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from models.bundle import load_bundle, starter
from models.context import CONTEXT, ProfileDefinition
from models.window import RECORD
from stream.cli import app
from stream.contract import timestamp
from stream.explain_model import ExplainError, served_context
from stream.parse import ParsedTransaction
from stream.partitioner import partitions_of
from stream.profile_layout import ProfileKeys
from stream.settings import load
from stream.topics import topic_id
from tests.oracle import read_topic
from tests.scorers import Deployment
from tests.topics import Topics, grow
from tests.traffic import Record, produce, traffic

pytestmark = pytest.mark.broker

BEGIN_MS = 1_770_000_000_000


def payment(number: int, minutes: float, user: str = "anna", **changed: object) -> Record:
    fields = {
        "transaction_id": f"{user}-{number}",
        "user_id": user,
        "amount": 10.0 + number,
        "created_at": timestamp(BEGIN_MS + int(minutes * 60_000)),
        "merchant_id": f"m-{number % 3}",
    }
    return Record(user.encode(), json.dumps(fields | changed).encode(), bad=False)


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
    score(deployment, annas())
    ask_about(deployment, monkeypatch)
    return deployment


def score(deployment: Deployment, records: list[Record]) -> None:
    produce(deployment.bootstrap, deployment.input_topic, iter(records))
    scorer = deployment.scorer()
    deployment.wait_until_scored([scorer])
    assert scorer.stop() == 0


def ask_about(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in deployment.environment().items():
        if name.startswith("TENFOLD_"):
            monkeypatch.setenv(name, value)


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


def publish_again(deployment: Deployment, of: str, key: bytes = b"anna", **changed: object) -> None:
    """Publish the score of a payment once more, with other fields, as the answer to the same record."""
    published = read_topic(deployment.bootstrap, deployment.output_topic)
    score = next(each for each in published if f'"{of}"'.encode() in each.value())
    producer = Producer({"bootstrap.servers": deployment.bootstrap, "partitioner": "murmur2_random"})
    value = json.dumps(json.loads(score.value()) | changed)
    producer.produce(deployment.output_topic, value, key, headers=score.headers())
    assert producer.flush(30) == 0


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
    publish_again(scored, "anna-16", model_version="gone", fraud_probability=0.5)

    [told] = explained("anna-16", code=1)
    assert told["same"] is False
    assert "gone" in told["different_because"][0]  # type: ignore[index]
    ran = CliRunner().invoke(app, ["explain", "anna-16"])
    assert ran.stdout.startswith("score      0.500000: flagged\n")
    store = load().model_store
    assert f"the model that made it, gone, is not in the store {store} (TENFOLD_MODEL_STORE; is" in ran.stdout


def test_another_engine_is_among_the_causes_where_the_window_is_as_long(scored: Deployment) -> None:
    for changed in ({"fraud_probability": 0.5}, {"fraud_probability": 0.5, "window_length": 3}):
        publish_again(scored, "anna-13", **changed)
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
    publish_again(scored, "anna-16", b"bert", transaction_id="bert-1", user_id="bert")

    ran = CliRunner().invoke(app, ["explain", "bert-1"])
    assert (ran.exit_code, ran.stdout) == (1, "")
    [line] = ran.stderr.splitlines()
    assert "is another payment now" in line
    assert "--archive" in line
    assert "anna" not in line


def test_an_index_of_profiles_that_cannot_be_read_is_named(redis_url: str, group_id: str) -> None:
    spec = load_bundle(starter("default")).spec.model_copy(update={"context": tuple(CONTEXT)})
    settings = load(redis_url=redis_url, input_topic=f"transactions-{group_id}")
    index = ProfileKeys(settings.input_topic, ProfileDefinition(spec.zone, spec.label_delay_days)).index
    with redis.Redis.from_url(redis_url) as client:
        client.set(index, "none")
    payment = ParsedTransaction("anna-1", "anna", 5.0, timestamp(BEGIN_MS))
    with pytest.raises(ExplainError, match="is no index of profiles"):
        served_context(settings, spec, payment, np.zeros(1, RECORD), None)


@pytest.fixture
def archived(scored: Deployment, topics: Topics, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """All that is on the topics, archived by an archiver; TENFOLD_ARCHIVE says where."""
    pytest.importorskip("duckdb")
    from tests.archivers import Archiving  # noqa: PLC0415
    from training.archive import Kind  # noqa: PLC0415

    names = {
        Kind.TRANSACTIONS: scored.input_topic,
        Kind.LABELS: topics.create("fraud-labels", 1),
        Kind.SCORES: scored.output_topic,
    }
    archiving = Archiving(scored.bootstrap, scored.group_id, scored.directory, names)
    archiver = archiving.archiver("--max-rows", "50")
    archiving.wait_until_archived([archiver])
    assert archiver.stop() == 0
    monkeypatch.setenv("TENFOLD_LABELS_TOPIC", names[Kind.LABELS])
    monkeypatch.setenv("TENFOLD_ARCHIVE", str(scored.directory / "archive"))
    return scored


def keep(deployment: Deployment, topic: str, last: int, partitions: tuple[int, ...] = (0, 1, 2)) -> None:
    """Delete all records of partitions but the last ones, as retention does."""
    records = read_topic(deployment.bootstrap, topic)
    ends = {record.partition(): record.offset() + 1 for record in records if record.partition() in partitions}
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap})
    starts = [TopicPartition(topic, partition, end - last) for partition, end in ends.items()]
    for deleted in admin.delete_records(starts).values():
        deleted.result(30)


def made_of(told: dict[str, object]) -> tuple[object, ...]:
    """Return payment, window with its features, and the score that was made again."""
    return tuple(told[name] for name in ("transaction_id", "amount", "created_at", "window", "recomputed"))


def test_what_the_log_has_lost_is_taken_from_the_archive(archived: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    [whole] = explained("anna-16")
    keep(archived, archived.input_topic, last=1)
    [told] = explained("anna-16")

    assert told["same"]
    assert told["source"]["from"] == "topic"  # type: ignore[index]
    assert told["source"]["window_is_whole"]  # type: ignore[index]
    assert told["source"]["read_from_offset"] == told["source"]["offset"]  # type: ignore[index]
    assert made_of(told) == made_of(whole)
    assert told["published"]["fraud_probability"] == pytest.approx(  # type: ignore[index]
        told["recomputed"]["fraud_probability"],  # type: ignore[index]
        abs=2e-6,
    )

    monkeypatch.delenv("TENFOLD_ARCHIVE")
    [short] = explained("anna-16", code=1)
    assert ids(short) == ["anna-16"]
    assert "is not there any more" in short["different_because"][0]  # type: ignore[index]


def test_what_kafka_has_deleted_altogether_is_told_out_of_the_archive(archived: Deployment) -> None:
    [late], [flagged], twice = explained("anna-14"), explained("anna-16"), explained("anna-9")
    keep(archived, archived.input_topic, last=0)
    scored_still = explained("anna-16")
    keep(archived, archived.output_topic, last=0)
    again = [*explained("anna-14"), *explained("anna-16"), *explained("anna-9")]

    assert [told["source"]["from"] for told in (*scored_still, *again)] == ["archive"] * 5  # type: ignore[index]
    assert all(told["same"] for told in again)
    assert [made_of(told) for told in again] == [made_of(told) for told in (late, flagged, *twice)]
    published = [told["published"]["fraud_probability"] for told in again]  # type: ignore[index]
    assert published == pytest.approx([told["recomputed"]["fraud_probability"] for told in again], abs=2e-6)  # type: ignore[index]

    ran = CliRunner().invoke(app, ["explain", "nobody-1"])
    assert ran.exit_code == 1
    assert str(archived.directory / "archive") in str(ran.exception)


def test_a_message_that_is_gone_hides_no_other_of_its_id(archived: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    first, again = explained("anna-9")
    keep(archived, archived.input_topic, last=3)  # anna-9 for the second time, and what came then
    both = explained("anna-9")
    assert [told["source"]["from"] for told in both] == ["archive", "topic"]  # type: ignore[index]
    assert [made_of(told) for told in both] == [made_of(first), made_of(again)]

    publish_again(archived, "anna-16", transaction_id="anna-9")  # as after the topic was made anew
    ran = CliRunner().invoke(app, ["explain", "anna-9", "--json"])
    assert ran.exit_code == 1
    assert [made_of(told) for told in json.loads(ran.stdout)] == [made_of(first), made_of(again)]
    [line] = ran.stderr.splitlines()
    assert "is another payment now" in line
    assert line.endswith("the archive does not have it")

    nowhere = str(archived.directory / "absent")
    monkeypatch.setenv("TENFOLD_ARCHIVE", nowhere)
    ran = CliRunner().invoke(app, ["explain", "anna-9", "--json"])
    assert ran.exit_code == 1
    assert [told["amount"] for told in json.loads(ran.stdout)] == [again["amount"]], "what Kafka has is told"
    deleted, _ = ran.stderr.splitlines()
    assert "Kafka has deleted it" in deleted
    assert "; the archive does not say: " in deleted
    assert nowhere in deleted

    monkeypatch.delenv("TENFOLD_ARCHIVE")
    ran = CliRunner().invoke(app, ["explain", "anna-9"])
    assert ran.exit_code == 1
    assert "anna-9 of anna: 999.00" in ran.stdout
    assert "19.00" not in ran.stdout.partition("payment    ")[2].partition("\n")[0]
    source, published = first["source"], first["published"]
    place = f"{source['topic']}/{source['partition']} at {source['offset']}"  # type: ignore[index]
    deleted, _ = ran.stderr.splitlines()
    assert f"{place}, scored {published['fraud_probability']:.6f} " in deleted  # type: ignore[index]
    assert "Kafka has deleted it" in deleted
    assert "--archive" in deleted


def test_who_moved_when_partitions_were_added_is_explained_with_what_was_before(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The score is made of a window that a rebuild put together from two logs: the user's own has the half of it."""
    user, old, new = next(
        (name, before, now)
        for name in (f"user-{number}" for number in range(100))
        for before, now in [[int(partitions_of([name.encode()], count, "murmur2")[0]) for count in (3, 5)]]
        if now >= 3
    )
    score(deployment, [payment(number, 10.0 * number, user) for number in range(6)])
    grow(AdminClient({"bootstrap.servers": deployment.bootstrap}), deployment.input_topic, 5)
    rebuild = [sys.executable, "-m", "stream", "reset", "--rebuild"]
    subprocess.run(rebuild, env=deployment.environment(), check=True, capture_output=True)
    score(deployment, [payment(number, 10.0 * number, user) for number in range(6, 9)])
    ask_about(deployment, monkeypatch)
    [before], [after] = explained(f"{user}-5"), explained(f"{user}-8")

    assert (before["same"], after["same"]) == (True, True)
    assert before["source"]["moved_from"] == []  # type: ignore[index]
    assert (after["source"]["partition"], after["source"]["moved_from"]) == (new, [old])  # type: ignore[index]
    assert ids(after) == [f"{user}-{number}" for number in range(9)]
    assert f"some of them on partition {old}" in CliRunner().invoke(app, ["explain", f"{user}-8"]).stdout

    pytest.importorskip("duckdb")
    archive = str(deployment.directory / "archive")
    archive_all(deployment, archive)
    [again] = explained(f"{user}-8", "--archive", archive)
    assert again["same"]
    assert again["source"]["moved_from"] == [old]  # type: ignore[index]
    assert made_of(again) == made_of(after)

    keep(deployment, deployment.input_topic, last=0, partitions=(old,))
    [lost] = explained(f"{user}-8", code=1)
    assert ids(lost) == [f"{user}-{number}" for number in range(6, 9)]
    assert "partitions were added" in lost["different_because"][0]  # type: ignore[index]
    monkeypatch.setenv("TENFOLD_ARCHIVE", archive)
    [found] = explained(f"{user}-8")
    assert found["same"]
    assert found["source"]["from"] == "topic"  # type: ignore[index]
    assert made_of(found) == made_of(after)
