"""The archiver on a real broker: whatever happens to it, each record is archived, and read once."""

import itertools
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from stream.contract import timestamp
from tests.archivers import Archiving
from tests.chaos.faults import until
from tests.conftest import GivenKafka, OwnKafka
from tests.oracle import BAD
from tests.topics import Topics, create_again
from tests.traffic import produce, traffic
from training.archive import Kind

pytestmark = pytest.mark.broker

SMALL = ("--max-rows", "400", "--max-age", "0.3")
MIDNIGHT_MS = 1_769_904_000_000  # 2026-02-01T00:00Z


@pytest.fixture
def archiving(topics: Topics, kafka: OwnKafka | GivenKafka, group_id: str, tmp_path: Path) -> Archiving:
    """Three partitions of each topic, no archiver yet."""
    return archiving_on(kafka.bootstrap, topics, group_id, tmp_path)


def archiving_on(bootstrap: str, topics: Topics, group_id: str, directory: Path) -> Archiving:
    names = {Kind.TRANSACTIONS: "transactions", Kind.LABELS: "fraud-labels", Kind.SCORES: "fraud-scores"}
    kept = {"retention.ms": "-1"}  # some records are given old timestamps
    made = {kind: topics.create(name, 3, kept) for kind, name in names.items()}
    return Archiving(bootstrap, group_id, directory, made)


def send_labels(archiving: Archiving, count: int) -> None:
    """Send verdicts, every tenth of them malformed in one way or another."""
    producer = Producer({"bootstrap.servers": archiving.bootstrap, "partitioner": "murmur2_random"})
    bad = itertools.cycle([None, b"{", b'{"is_fraud": 1}', b'{"transaction_id":"t","user_id":"u","is_fraud":"yes"}'])
    for number in range(count):
        label = {
            "transaction_id": f"t-1-{number}",
            "user_id": f"user-{number % 50}",
            "is_fraud": number % 3 == 0,
            "labelled_at": timestamp(MIDNIGHT_MS + number * 1000),
        }
        good = number % 10 > 0
        producer.produce(
            archiving.topics[Kind.LABELS],
            key=label["user_id"].encode(),
            value=json.dumps(label).encode() if good else next(bad),
            headers=None if good else [(BAD, b"")],
        )
    assert producer.flush(60) == 0


def send_scores(archiving: Archiving, count: int) -> None:
    """Send scores in transactions of ten; every third transaction is aborted. Their timestamps cross midnight."""
    producer = Producer({"bootstrap.servers": archiving.bootstrap, "transactional.id": archiving.group_id})
    producer.init_transactions(60)
    readable = len(archiving.expected(Kind.SCORES))
    for number, begin in enumerate(range(0, count, 10)):
        producer.begin_transaction()
        for score in range(begin, min(begin + 10, count)):
            value = {
                "transaction_id": f"t-1-{score}",
                "user_id": f"user-{score % 50}",
                "created_at": timestamp(MIDNIGHT_MS + score),
                "fraud_probability": score / count,
                "lstm_score": score * 100 // count,
                "sequence_anomaly": score % 2 == 0,
                "insufficient_history": False,
                "window_length": 10,
                "profile_day": None,
                "model_version": "m",
                "scored_at": timestamp(MIDNIGHT_MS + score + 5),
            }
            if score % 4 == 0:
                reasons = [{"name": name, "sentence": "", "effect": 0.25} for name in ("amount", "vpn")]
                value |= {"reasons": reasons, "suppressed": True}
            producer.produce(
                archiving.topics[Kind.SCORES],
                key=value["user_id"].encode(),
                value=json.dumps(value).encode(),
                headers=[("source-topic", b"tx"), ("source-partition", b"2"), ("source-offset", b"%d" % score)],
                timestamp=MIDNIGHT_MS + (score - count // 2) * 1000 + (-1) ** score * 5000,
            )
        if number % 3 == 2:
            producer.flush(10)
            producer.abort_transaction(60)
        else:
            producer.commit_transaction(60)
            readable += min(begin + 10, count) - begin
    # the broker writes the last markers when it gets to it
    until(lambda: len(archiving.expected(Kind.SCORES)) == readable, 60, "the scores are not readable")


def test_what_goes_over_the_topics_is_archived_once_and_the_malformed_is_counted(archiving: Archiving) -> None:
    produce(archiving.bootstrap, archiving.topics[Kind.TRANSACTIONS], traffic(3_000, users=100, seed=1))
    send_labels(archiving, 300)
    send_scores(archiving, 600)
    archiver = archiving.archiver(*SMALL)
    archiving.wait_until_archived([archiver])
    archiver.wait_until_ready()
    expected = {kind: len(archiving.expected(kind)) for kind in Kind}

    assert archiver.metric("tenfold_archive_rows_total") == sum(expected.values())
    assert archiver.metric("tenfold_archive_refused_records_total") == 3_000 + 300 - sum(expected.values()) + 400
    assert archiver.metric("tenfold_archive_labels_total") == expected[Kind.LABELS]
    frauds = sum(number % 3 == 0 and number % 10 > 0 for number in range(300))
    assert f'tenfold_archive_labels_total{{is_fraud="true"}} {frauds}.0' in archiver.get("/metrics")[1]
    assert archiver.metric("tenfold_archive_bytes_total") > 10_000
    assert archiver.stop() == 0
    archiving.check()
    assert {name.day.isoformat() for name in archiving.archive.files(archiving.topics[Kind.SCORES])} == {
        "2026-01-31",
        "2026-02-01",
    }
    assert "user-" not in archiver.log_text, "logs carry no user data"


def test_a_stopped_archiver_leaves_nothing_behind(archiving: Archiving) -> None:
    """With limits that are never reached: SIGTERM writes what is in memory, and the next one has nothing to do."""
    produce(archiving.bootstrap, archiving.topics[Kind.TRANSACTIONS], traffic(500, users=20, seed=1))
    expected = len(archiving.expected(Kind.TRANSACTIONS))
    archiver = archiving.archiver("--max-age", "3600")
    archiver.wait_until(lambda: archiver.metric("tenfold_archive_waiting_rows") == expected)
    assert archiving.archive.files(archiving.topics[Kind.TRANSACTIONS]) == []
    assert archiver.stop() == 0
    archiving.check()

    files = archiving.archive.files(archiving.topics[Kind.TRANSACTIONS])
    again = archiving.archiver(*SMALL).wait_until_ready()
    again.wait_until(lambda: again.metric("tenfold_archive_lag_records") == 0)
    assert again.stop() == 0
    assert archiving.archive.files(archiving.topics[Kind.TRANSACTIONS]) == files


def test_nothing_is_outstanding_behind_the_last_record_of_a_transactional_producer(archiving: Archiving) -> None:
    """The markers of transactions take an offset each, and are no records."""

    def send(seed: int) -> None:
        producer.begin_transaction()
        for record in traffic(60, users=50, seed=seed, bad_share=0):
            producer.produce(archiving.topics[Kind.TRANSACTIONS], key=record.key, value=record.value)
        producer.flush()

    def lag() -> float:
        return archiver.metric("tenfold_archive_lag_records")

    producer = Producer({"bootstrap.servers": archiving.bootstrap, "transactional.id": archiving.group_id})
    producer.init_transactions(60)
    archiver = archiving.archiver(*SMALL).wait_until_ready()
    send(seed=1)
    producer.commit_transaction(60)
    archiving.wait_until_archived([archiver])
    archiver.wait_until(lambda: lag() == 0)
    send(seed=2)  # open, they wait
    archiver.wait_until(lambda: lag() == 60)
    producer.abort_transaction(60)
    archiver.wait_until(lambda: lag() == 0)
    assert archiver.stop() == 0

    again = archiving.archiver("--max-age", "3600").wait_until_ready()  # begins before markers
    again.wait_until(lambda: again.metric("tenfold_archive_lag_records") == 0)
    send(seed=3)
    producer.commit_transaction(60)
    again.wait_until(lambda: again.metric("tenfold_archive_waiting_rows") == 60)
    again.wait_until(lambda: again.metric("tenfold_archive_lag_records") >= 60)  # in memory, and in no file yet
    assert again.stop() == 0
    archiving.check()


def test_an_archiver_is_killed_at_every_boundary(archiving: Archiving) -> None:
    """Each dies when it comes to its point for the N-th time; the next one goes on at what was committed.

    The instance id saves them the wait for their predecessor's session to time out.
    """
    topic = archiving.topics[Kind.TRANSACTIONS]
    archiving.settings["INSTANCE_ID"] = "zero"
    deaths = [
        ("before-writing", 2),
        ("half-written", 2),
        ("written", 2),
        ("in-place", 2),
        ("before-commit", 1),
        ("committed", 1),
    ]
    for seed, death in enumerate(deaths, 1):
        produce(archiving.bootstrap, topic, traffic(2_000, users=50, seed=seed))
        send_labels(archiving, 100)
        send_scores(archiving, 100)
        archiving.archiver(*SMALL, ending=death).wait_until_dead()
    last = archiving.archiver(*SMALL)
    archiving.wait_until_archived([last])
    assert last.stop() == 0
    archiving.check()
    names = [name for name in archiving.archive.files(topic) if name.partition == 0]
    assert any(one.last >= other.first for one, other in itertools.pairwise(sorted(names, key=lambda n: n.first))), (
        "no file was written twice: the kills did not do what they are for"
    )


def test_archivers_are_killed_at_random_while_they_share_the_partitions(archiving: Archiving) -> None:
    """Two at a time, under load; a killed one's partitions go to the other once its session has timed out."""
    rng = random.Random(int(os.environ.get("TENFOLD_CHAOS_SEED", "5")))
    archivers = [archiving.archiver(*SMALL), archiving.archiver(*SMALL)]
    for seed in range(6):
        produce(archiving.bootstrap, archiving.topics[Kind.TRANSACTIONS], traffic(2_000, users=50, seed=seed), 2_000)
        victim = archivers.pop(rng.randrange(2))
        time.sleep(rng.random())
        if victim.process.running:
            victim.process.end(signal.SIGKILL)
        archivers.append(archiving.archiver(*SMALL))
    archiving.wait_until_archived(archivers)
    assert [archiver.stop() for archiver in archivers] == [0, 0]
    archiving.check()


def test_a_stalled_archiver_that_wakes_up_destroys_nothing(archiving: Archiving) -> None:
    """It sleeps before it writes, until another has archived the same records and more, and then writes its files."""
    topic = archiving.topics[Kind.TRANSACTIONS]
    produce(archiving.bootstrap, topic, traffic(1_000, users=50, seed=1))
    stalled = archiving.archiver(*SMALL, ending=("before-writing", 1), with_signal="SIGSTOP")
    stalled.wait_until_stopped()
    produce(archiving.bootstrap, topic, traffic(1_000, users=50, seed=2))
    other = archiving.archiver("--max-age", "2")
    archiving.wait_until_archived([other])
    files = archiving.archive.files(topic)
    os.kill(stalled.process.pid, signal.SIGCONT)
    stalled.wait_until(lambda: archiving.archive.files(topic) != files)
    produce(archiving.bootstrap, topic, traffic(1_000, users=50, seed=3))
    archiving.wait_until_archived([stalled, other])
    assert [stalled.stop(), other.stop()] == [0, 0]
    archiving.check()


def test_an_archive_that_cannot_be_written_stops_the_reading_until_it_can(archiving: Archiving) -> None:
    (archiving.directory / "archive").write_text("a file where the directory should be")
    produce(archiving.bootstrap, archiving.topics[Kind.TRANSACTIONS], traffic(1_000, users=50, seed=1))
    archiver = archiving.archiver(*SMALL)
    archiver.wait_until(lambda: "cannot be written" in archiver.get("/readyz")[1])
    (archiving.directory / "archive").unlink()
    archiving.wait_until_archived([archiver])
    archiver.wait_until_ready()
    assert archiver.stop() == 0
    archiving.check()


def test_a_broker_that_is_killed_and_comes_back_is_gone_on_with(
    own_kafka: OwnKafka, group_id: str, tmp_path: Path
) -> None:
    archiving = archiving_on(own_kafka.bootstrap, Topics(own_kafka.bootstrap), group_id, tmp_path)
    topic = archiving.topics[Kind.TRANSACTIONS]
    produce(archiving.bootstrap, topic, traffic(1_000, users=50, seed=1))
    archiver = archiving.archiver(*SMALL)
    archiving.wait_until_archived([archiver])
    own_kafka.kill()
    archiver.wait_until(lambda: "Kafka does not answer" in archiver.get("/readyz")[1])
    own_kafka.restart()
    produce(archiving.bootstrap, topic, traffic(1_000, users=50, seed=2))
    archiving.wait_until_archived([archiver])
    archiver.wait_until_ready()
    assert archiver.stop() == 0
    archiving.check()


@pytest.mark.parametrize("point", ["lose-consumer", "leave-unheard"])
def test_a_consumer_that_finds_no_broker_any_more_is_replaced(archiving: Archiving, point: str) -> None:
    """Without it the archiver would wait out its limit with Kafka up, or wait for its group without any end."""
    topic = archiving.topics[Kind.TRANSACTIONS]
    produce(archiving.bootstrap, topic, traffic(1_000, users=50, seed=1))
    archiver = archiving.archiver(*SMALL, ending=(point, 1))
    archiver.wait_until(lambda: "beginning anew" in archiver.log_text)
    produce(archiving.bootstrap, topic, traffic(1_000, users=50, seed=2))
    archiving.wait_until_archived([archiver])
    archiver.wait_until_ready()
    assert archiver.metric("tenfold_archive_partitions") == 9, "the one that is lost speaks for it no more"
    assert archiver.stop() == 0
    archiving.check()


def test_a_topic_made_again_under_its_name_is_archived_from_its_beginning(archiving: Archiving) -> None:
    topic = archiving.topics[Kind.TRANSACTIONS]
    produce(archiving.bootstrap, topic, traffic(1_000, users=50, seed=1))
    first = archiving.expected(Kind.TRANSACTIONS)
    archiver = archiving.archiver(*SMALL)
    archiving.wait_until_archived([archiver])
    assert archiver.stop() == 0
    admin = AdminClient({"bootstrap.servers": archiving.bootstrap})
    admin.delete_topics([topic])[topic].result(30)
    create_again(admin, topic, 3)
    produce(archiving.bootstrap, topic, traffic(1_500, users=50, seed=2))
    second = archiving.expected(Kind.TRANSACTIONS)
    again = archiving.archiver(*SMALL)
    again.wait_until(lambda: len(archiving.read(Kind.TRANSACTIONS)) == len(first) + len(second))
    assert again.stop() == 0

    ids = [row["transaction_id"] for row in archiving.read(Kind.TRANSACTIONS) if row["partition"] == 0]
    seeds = [transaction_id.split("-")[1] for transaction_id in ids]
    assert seeds == sorted(seeds), "the first topic's records come first"
