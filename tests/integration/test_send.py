"""``tenfold send`` and ``tenfold watch`` on a real broker: what is sent, where it goes, and what is shown of it."""

import json
import subprocess
import sys

import pytest

from stream.partitioner import partitions_of
from stream.sender import Sender, SendError
from stream.settings import load
from tests.conftest import GivenKafka, OwnKafka
from tests.oracle import read_topic
from tests.scorers import Deployment
from tests.topics import Topics
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker

NOW = "2026-03-01T18:21:07Z"  # no clock is compared with it


def run(deployment: Deployment, *words: str, given: str = "", **settings: str) -> "subprocess.CompletedProcess[str]":
    env = deployment.environment(**settings)
    command = [sys.executable, "-m", "stream", *words]
    return subprocess.run(command, env=env, input=given, capture_output=True, text=True, timeout=120, check=False)


def payment(number: int, **changed: object) -> str:
    fields = {"transaction_id": f"t-{number}", "user_id": f"user-{number % 7}", "amount": 10.0, "created_at": NOW}
    return json.dumps(fields | changed)


def test_lines_are_sent_under_their_users_and_bad_ones_are_named(deployment: Deployment) -> None:
    good = [payment(number) for number in range(19)]
    lines = [good[0], "", payment(1, amount=-1), *good[1:], "no json"]
    ran = run(deployment, "send", "--json", given="\n".join(lines))

    records = read_topic(deployment.bootstrap, deployment.input_topic)
    assert ran.returncode == 1
    assert json.loads(ran.stdout) == {"topic": deployment.input_topic, "sent": 19, "refused": 2, "filled": {}}
    assert sorted(record.value().decode() for record in records) == sorted(good)
    homes = partitions_of([record.key() for record in records], 3, "murmur2").tolist()
    assert homes == [record.partition() for record in records]
    assert {json.loads(record.value())["user_id"].encode() for record in records} == {each.key() for each in records}
    third, last = ran.stderr.splitlines()
    assert "line 3 " in third
    assert "amount" in third
    assert "line 22 " in last


def test_one_payment_and_its_verdict_are_sent_scored_and_watched(deployment: Deployment, topics: Topics) -> None:
    deployment.settings["TENFOLD_LABELS_TOPIC"] = topics.create("fraud-labels", 3)
    produce(deployment.bootstrap, deployment.input_topic, traffic(400, 9, seed=4, bad_share=0.05))
    sent = run(deployment, "send", "user_id=anna", "amount=12.5", "--json")
    filled = json.loads(sent.stdout)["filled"]
    assert all(value in sent.stderr for value in filled.values())
    refused = run(deployment, "send", "user_id=anna", "amount=-1")
    assert (refused.returncode, refused.stdout) == (1, f"0 sent to {deployment.input_topic}, 1 refused\n")
    assert refused.stderr.startswith("tenfold: this is no payment, and was not sent: amount: ")
    assert len(refused.stderr.splitlines()) == 1  # nothing of an id and a time that nobody will see
    verdict = run(
        deployment, "send", "--labels", "user_id=anna", f"transaction_id={filled['transaction_id']}", "is_fraud=true"
    )
    assert (sent.returncode, verdict.returncode) == (0, 0), verdict.stderr
    [label] = read_topic(deployment.bootstrap, deployment.settings["TENFOLD_LABELS_TOPIC"])
    assert label.key() == b"anna"

    scorer = deployment.scorer()
    deployment.wait_until_scored([scorer])
    anna = run(deployment, "watch", "--from-beginning", "--user", "anna", "-n", "1", "--json")
    above = run(deployment, "watch", "--since", "1h", "--threshold", "0.001", "-n", "5", "--json")
    dead = len(read_topic(deployment.bootstrap, deployment.dlq_topic))
    letters = run(deployment, "watch", "--dead-letters", "--from-beginning", "-n", str(dead), "--json")
    lines = run(deployment, "watch", "--dead-letters", "--since", "1h", "-n", "2")
    assert scorer.stop() == 0

    assert json.loads(anna.stdout)["transaction_id"] == filled["transaction_id"]
    assert all(json.loads(line)["fraud_probability"] > 0.001 for line in above.stdout.splitlines())
    told = [json.loads(line) for line in letters.stdout.splitlines()]
    assert len(told) == dead > 5
    assert {letter["topic"] for letter in told} == {deployment.input_topic}
    assert len({(letter["partition"], letter["offset"]) for letter in told}) == dead
    assert {letter["reason"] for letter in told} <= {"null-value", "not-json", "invalid", "wrong-key", "in-the-future"}
    assert all(f"{deployment.input_topic}/" in line for line in lines.stdout.splitlines())
    assert len(lines.stdout.splitlines()) == 2


def test_a_topic_of_something_else_is_not_taken_for_dead_letters(deployment: Deployment) -> None:
    assert run(deployment, "send", given=payment(1)).returncode == 0
    swapped = {"TENFOLD_DLQ_TOPIC": deployment.input_topic, "TENFOLD_INPUT_TOPIC": deployment.dlq_topic}
    ran = run(deployment, "watch", "--dead-letters", "--from-beginning", **swapped)

    assert ran.returncode == 1
    assert "is not a dead letter" in ran.stderr


def test_what_kafka_refuses_is_told_with_the_next_record(kafka: OwnKafka | GivenKafka, topics: Topics) -> None:
    """Lines may come one an hour, and whoever sends them is not to learn it after the five hundredth."""
    topic = topics.create("of-small-records", 1, {"max.message.bytes": "1000"})
    sender = Sender(load(bootstrap_servers=kafka.bootstrap))
    sender.send(topic, b"anna", b"x" * 2_000)
    sender.producer.flush(30)
    with pytest.raises(SendError, match="refused a record"):
        sender.send(topic, b"anna", b"small")
