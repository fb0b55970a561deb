"""The programs that the page on clients shows, each run unchanged on a real broker beside a real scorer."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from jsonschema import Draft202012Validator

from stream.partitioner import partitions_of
from stream.schemas import json_schemas
from tests.brokers import RedisServer
from tests.conftest import GivenKafka, GivenRedis, OwnKafka
from tests.fetched import fetch, go_for, not_fetched, tool, without
from tests.kafka_jars import PartMissingError, find_java, jars_of
from tests.oracle import read_topic
from tests.pages import ROOT, blocks
from tests.scorers import Deployment
from tests.topics import Topics

CLIENTS, PAGE = ROOT / "docs" / "clients", blocks("docs/how-to/clients.md")
PARTITIONS = 3
SOURCE = ("source-topic", "source-partition", "source-offset")
PAYMENT = Draft202012Validator(json_schemas()["transaction"])

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def served(
    kafka: OwnKafka | GivenKafka, redis_server: RedisServer | GivenRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """One scorer for all languages, and scores in the way that a client must not take for new ones."""
    topics = Topics(kafka.bootstrap)
    directory = tmp_path_factory.mktemp("clients")
    created = Deployment.create(
        topics, kafka.bootstrap, redis_server.url, f"tenfold-{directory.name}", directory, PARTITIONS
    )
    put_in_the_way(created)
    scorer = created.scorer()
    yield created
    scorer.stop()
    topics.delete_all()


def put_in_the_way(deployment: Deployment) -> None:
    """Put onto each partition of the scores two transactions that are aborted, and one score that is there twice."""
    example = json_schemas()["fraud-score"]["examples"][0]
    producer = Producer({"bootstrap.servers": deployment.bootstrap, "transactional.id": deployment.output_topic})
    producer.init_transactions()
    for name in ("aborted", "aborted", "twice"):
        producer.begin_transaction()
        for partition in range(PARTITIONS):
            score = example | {"transaction_id": f"{name}-{partition}"}
            headers = list(zip(SOURCE, (b"elsewhere", b"%d" % partition, b"7"), strict=True))
            for _ in range(2):
                producer.produce(
                    deployment.output_topic,
                    key=score["user_id"],
                    value=json.dumps(score),
                    headers=headers,
                    partition=partition,
                )
        producer.flush()
        if name == "aborted":
            producer.abort_transaction()
        else:
            producer.commit_transaction()


def shown(program: str) -> list[str]:
    """Return the command that the page starts a program with, as the shell splits it."""
    [command] = [block.script.splitlines()[-1] for block in PAGE if block.language == "bash" and program in block.text]
    return shlex.split(command)


def in_python() -> list[str]:
    return [sys.executable, *shown("payments.py")[1:]]


def in_java() -> list[str]:
    try:
        java = find_java()
    except PartMissingError as missing:
        without(str(missing))
    modules = subprocess.run([java, "--list-modules"], capture_output=True, text=True, check=True).stdout
    if "jdk.compiler" not in modules:
        without("Java has no compiler: apt-get install default-jdk-headless")
    tool("mvn")
    try:
        jars = jars_of(CLIENTS / "java" / "pom.xml")
    except PartMissingError as missing:
        not_fetched(str(missing))
    return [f"{jars}/*" if word == "libs/*" else word for word in shown("Payments.java")]


def in_go() -> list[str]:
    go_for(CLIENTS / "go")
    return shown("go run")


def in_node() -> list[str]:
    tool("node")
    npm, folder = tool("npm"), CLIENTS / "node"
    lock, installed = folder / "package-lock.json", folder / "node_modules" / "installed.json"
    if not installed.exists() or installed.read_text() != lock.read_text():
        fetch(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", into=folder)
        shutil.copyfile(lock, installed)
    return shown("payments.js")


LANGUAGES = {"python": in_python, "java": in_java, "go": in_go, "node": in_node}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_client_sends_payments_and_handles_each_committed_score_once(served: Deployment, language: str) -> None:
    command = LANGUAGES[language]()
    before = {place_of(record) for record in read_topic(served.bootstrap, served.input_topic)}
    group = f"alerts-{language}-{served.output_topic}"
    env = os.environ | {
        "BOOTSTRAP_SERVERS": served.bootstrap,
        "PAYMENTS_TOPIC": served.input_topic,
        "SCORES_TOPIC": served.output_topic,
        "CONSUMER_GROUP": group,
        "GOTOOLCHAIN": "local",
    }
    ran = subprocess.run(
        command, cwd=CLIENTS / language, env=env, capture_output=True, text=True, timeout=240, check=False
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    sent = [record for record in read_topic(served.bootstrap, served.input_topic) if place_of(record) not in before]
    assert sorted(record.key() for record in sent) == [b"anna", b"bob", b"clara"]
    keys = [record.key() for record in sent]
    assert [record.partition() for record in sent] == list(partitions_of(keys, PARTITIONS, "murmur2"))
    assert {record.partition() for record in sent} == set(range(PARTITIONS))
    payments = [json.loads(record.value()) for record in sent]
    for payment in payments:
        PAYMENT.validate(payment)
    assert [payment["user_id"].encode() for payment in payments] == keys
    assert {payment["amount"] for payment in payments} == {19.9}

    scores = read_topic(served.bootstrap, served.output_topic)
    answers = {source_of(score): json.loads(score.value()) for score in scores}
    assert [answers[source_of_score_for(record)]["transaction_id"] for record in sent] == [
        payment["transaction_id"] for payment in payments
    ]
    assert len(answers) == len(scores) - PARTITIONS  # as many are there twice
    # each user has a partition, so that nothing which was there before remains unread
    handled = sorted(tuple(line.split(" ")) for line in ran.stdout.splitlines())
    told = [(each["transaction_id"], each["user_id"]) for each in answers.values()]
    assert [line[:2] for line in handled] == sorted(told)
    by_id = {each["transaction_id"]: each for each in answers.values()}
    for transaction_id, _, probability, anomaly in handled:
        assert float(probability) == by_id[transaction_id]["fraud_probability"]
        assert anomaly.lower() == str(by_id[transaction_id]["sequence_anomaly"]).lower()

    behind_the_last = {score.partition(): score.offset() + 1 for score in scores}
    positions = committed_of(served, group)
    assert all(positions[partition] >= behind_the_last[partition] for partition in range(PARTITIONS)), positions


def committed_of(deployment: Deployment, group: str) -> list[int]:
    consumer = Consumer({"bootstrap.servers": deployment.bootstrap, "group.id": group})
    try:
        partitions = [TopicPartition(deployment.output_topic, number) for number in range(PARTITIONS)]
        return [position.offset for position in consumer.committed(partitions, 10)]
    finally:
        consumer.close()


def place_of(record: Message) -> tuple[int, int]:
    return record.partition(), record.offset()


def source_of(score: Message) -> tuple[bytes, ...]:
    headers = dict(score.headers())
    return tuple(headers[name] for name in SOURCE)


def source_of_score_for(record: Message) -> tuple[bytes, ...]:
    return record.topic().encode(), b"%d" % record.partition(), b"%d" % record.offset()
