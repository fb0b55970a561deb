"""Payments behind the Schema Registry's frame, through everything that reads the topic, on a real broker."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from confluent_kafka import Message

from models.bundle import LoadedBundle
from tests.archivers import ArchiverProcess
from tests.framed import framed
from tests.oracle import judge, read_topic, replay, wrong_windows
from tests.scorers import Deployment
from tests.topics import Topics
from tests.traffic import Record, produce, traffic

pytestmark = pytest.mark.broker


class Unframed:
    """A record as its producer meant it."""

    def __init__(self, message: Message) -> None:
        self._message = message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._message, name)

    def partition(self) -> int:
        return int(self._message.partition())

    def value(self) -> bytes | None:
        value = self._message.value()
        return value[5:] if value and value[0] == 0 else value


def mixed(events: int, seed: int) -> Iterator[Record]:
    """Yield traffic of which two in three records are framed, bad ones too, and some Avro."""
    for number, record in enumerate(traffic(events, users=60, seed=seed, bad_share=0.05)):
        if number % 3 == 0 or record.value is None:
            yield record
        else:
            yield record._replace(value=framed(record.value, number))
    yield Record(b"user-1", framed(b"\x04t1\x04u1\x00\x00\x00\x00\x00\x00)@"), bad=True)


def score_all(deployment: Deployment) -> None:
    scorer = deployment.scorer()
    deployment.wait_until_scored([scorer])
    assert scorer.stop() == 0


def test_framed_payments_are_scored_recovered_and_rebuilt_as_plain_ones(
    deployment: Deployment, bundle: LoadedBundle
) -> None:
    deployment.settings["TENFOLD_INPUT_FRAMING"] = "confluent"
    produce(deployment.bootstrap, deployment.input_topic, mixed(900, seed=1))
    score_all(deployment)
    with redis.Redis.from_url(deployment.redis_url) as client:
        client.flushall()
    produce(deployment.bootstrap, deployment.input_topic, mixed(300, seed=2))
    score_all(deployment)  # on windows out of the log

    records = read_topic(deployment.bootstrap, deployment.input_topic)
    expected = replay(map(Unframed, records), bundle, home=Unframed.partition)
    dead = read_topic(deployment.bootstrap, deployment.dlq_topic)
    verdict = judge(expected, read_topic(deployment.bootstrap, deployment.output_topic), dead)
    windows = (expected, deployment.redis_url, deployment.group_id, deployment.input_topic)
    verdict.wrong_windows = wrong_windows(*windows)
    assert verdict.right, verdict

    as_sent = {(record.partition(), record.offset()): record.value() for record in records}
    headers = [dict(each.headers() or []) for each in dead]
    assert [each.value() for each in dead] == [as_sent[int(its["partition"]), int(its["offset"])] for its in headers]
    assert any((each.value() or b"").startswith(b"\0") for each in dead)

    command = [sys.executable, "-m", "stream", "reset", "--rebuild"]
    subprocess.run(command, env=deployment.environment(), check=True, capture_output=True)
    assert not wrong_windows(*windows)


def test_archiver_and_monitor_read_framed_payments_and_labels(
    deployment: Deployment, topics: Topics, tmp_path: Path
) -> None:
    deployment.settings["TENFOLD_INPUT_FRAMING"] = "confluent"
    deployment.settings["TENFOLD_LABELS_TOPIC"] = labels = topics.create("fraud-labels", 1)
    label = b'{"transaction_id":"t-1-1","user_id":"u","is_fraud":true,"labelled_at":"2026-01-01T10:00:00Z"}'
    payments = list(mixed(300, seed=1))
    good = sum(not record.bad for record in payments)
    produce(deployment.bootstrap, deployment.input_topic, iter(payments))
    produce(deployment.bootstrap, labels, iter([Record(b"u", framed(label), bad=False)]))

    def started(name: str, *command: str) -> ArchiverProcess:
        environment = deployment.environment()
        given = [f"{name}={value}" for name, value in environment.items() if name.startswith("TENFOLD_")]
        whole = ["env", *given, sys.executable, "-m", "stream", *command]
        return ArchiverProcess(whole, tmp_path / f"{name}.log", int(environment["TENFOLD_METRICS_PORT"]))

    archiver = started("archiver", "archive", "run", "--archive", str(tmp_path / "archive"), "--max-rows", "1")
    monitor = started("monitor", "monitor", "--to", str(tmp_path / "quality"))
    archiver.wait_until(lambda: archiver.metric("tenfold_archive_rows_total") == good + 1)
    monitor.wait_until(lambda: monitor.metric("tenfold_monitor_records_total") == len(payments) + 1)
    assert archiver.metric("tenfold_archive_refused_records_total") == len(payments) - good
    assert monitor.metric("tenfold_monitor_refused_records_total") == len(payments) - good
    assert archiver.stop() == monitor.stop() == 0


def test_where_framing_is_off_a_framed_payment_is_a_dead_letter_that_names_the_setting(deployment: Deployment) -> None:
    records = [
        Record(record.key, framed(record.value or b""), bad=True) for record in traffic(5, users=2, seed=1, bad_share=0)
    ]
    produce(deployment.bootstrap, deployment.input_topic, iter(records))
    score_all(deployment)

    dead = read_topic(deployment.bootstrap, deployment.dlq_topic)
    assert sorted(each.value() or b"" for each in dead) == sorted(record.value or b"" for record in records)
    for each in dead:
        headers = dict(each.headers() or [])
        assert headers["reason"] == b"framed"
        assert b"TENFOLD_INPUT_FRAMING" in headers["error"]
    assert read_topic(deployment.bootstrap, deployment.output_topic) == []
