"""The commands on a real broker: what they need, what they say where it is missing, what they print."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from stream.examples import SCORES
from tests.kafka_here import OwnKafka, new_kafka
from tests.scorers import Deployment
from tests.terminal import Terminal
from tests.topics import Topics, create_again

pytestmark = pytest.mark.broker

SIMULATED_USER = "  user-"
SLOW_TO_IMPORT = {"tensorflow", "keras", "pandas", "matplotlib", "pyarrow", "sklearn", "dask"}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "stream", *words]


def run(deployment: Deployment, *words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    env = deployment.environment(**settings)
    return subprocess.run(command(*words), env=env, capture_output=True, text=True, timeout=120, check=False)


def the_one_line(ran: "subprocess.CompletedProcess[str]") -> str:
    """Return what a command that failed said: a line, and no more."""
    assert ran.returncode == 1, ran.stderr
    assert ran.stdout == ""
    [line] = ran.stderr.splitlines()
    return line


def labelled(deployment: Deployment, topics: Topics) -> Deployment:
    deployment.settings["TENFOLD_LABELS_TOPIC"] = topics.create("fraud-labels", 3)
    return deployment


def test_simulated_payments_are_scored_and_watched(deployment: Deployment, topics: Topics) -> None:
    labelled(deployment, topics)
    asked = ["simulate", "--users", "40", "--days", "20", "--seed", "5", "--to", "kafka", "--json"]
    sent = run(deployment, *asked)
    assert sent.returncode == 0, sent.stderr
    written = json.loads(sent.stdout)
    scorer = deployment.scorer()
    watched = run(deployment, "watch", "--from-beginning", "--limit", str(written["transactions"]), "--json")
    lines = run(deployment, "watch", "--from-beginning", "--limit", "50")
    flagged = run(deployment, "watch", "--from-beginning", "--anomalies", "--limit", "1", "--json")
    assert scorer.stop() == 0

    scores = [json.loads(line) for line in watched.stdout.splitlines()]
    assert len({score["transaction_id"] for score in scores}) == written["transactions"]
    anomalies = [score for score in scores if score["sequence_anomaly"]]
    assert json.loads(flagged.stdout) in anomalies
    columns = {line.index(SIMULATED_USER) for line in lines.stdout.splitlines()}
    assert len(columns) == 1  # aligned
    assert deployment.lag() == 0
    assert written["labels"] > 0


def test_a_rate_is_kept_and_the_payments_end_now(deployment: Deployment, topics: Topics) -> None:
    labelled(deployment, topics)
    begun_s = time.time()
    sent = run(deployment, "simulate", "--users", "50", "--days", "2", "--to", "kafka", "--rate", "20", "--json")
    assert sent.returncode == 0, sent.stderr
    count = json.loads(sent.stdout)["transactions"]
    consumer = Consumer(
        {"bootstrap.servers": deployment.bootstrap, "group.id": deployment.group_id, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([deployment.input_topic])
    records = []
    while len(records) < count:
        message = consumer.poll(10)
        assert message is not None
        records.append((message.timestamp()[1], json.loads(message.value())["created_at"]))
    consumer.close()
    sent_ms = sorted(at for at, _ in records)

    # none is sent before its time, on a machine however slow; what is late, it makes up for
    early = [number for number, at in enumerate(sent_ms) if at / 1000 < begun_s + number / 20]
    assert early == []
    last = max(created_at for _, created_at in records)
    assert abs(_epoch_s(last) - sent_ms[-1] / 1000) < 12 * 3600  # of 48 hours; a few users may not pay all night


def _epoch_s(created_at: str) -> float:
    from datetime import datetime  # noqa: PLC0415

    return datetime.fromisoformat(created_at).timestamp()


@pytest.mark.parametrize("words", ["score", "watch", "simulate --users 1 --days 1 --to kafka"])
def test_a_missing_topic_is_named_with_what_to_do(deployment: Deployment, words: str) -> None:
    absent = {f"TENFOLD_{name}_TOPIC": f"absent-{name.lower()}" for name in ("INPUT", "OUTPUT", "DLQ", "LABELS")}
    line = the_one_line(run(deployment, *words.split(), **absent))

    assert "absent-" in line
    assert "tenfold topics create" in line


def test_a_missing_broker_is_named_with_what_to_do(deployment: Deployment) -> None:
    env = deployment.environment(TENFOLD_BOOTSTRAP_SERVERS="127.0.0.1:1")
    commands = ["score", "watch", "simulate --users 1 --days 1 --to kafka", "topics create"]
    started = [
        subprocess.Popen(command(*words.split()), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for words in commands
    ]
    for words, process in zip(commands, started, strict=True):
        said, complained = process.communicate(timeout=120)
        ran = subprocess.CompletedProcess(words, process.returncode, said, complained)
        line = the_one_line(ran)
        assert "127.0.0.1:1" in line, words
        assert "TENFOLD_BOOTSTRAP_SERVERS" in line, words


def test_topics_are_created_once(deployment: Deployment) -> None:
    kinds = ("INPUT", "OUTPUT", "DLQ", "LABELS", "SHADOW")
    names = {f"TENFOLD_{name}_TOPIC": f"{deployment.group_id}-{name}" for name in kinds}
    first = run(deployment, "topics", "create", "--partitions", "2", "--json", **names)
    second = run(deployment, "topics", "create", "--partitions", "2", "--json", **names)

    more = names | {"TENFOLD_INPUT_TOPIC": f"{deployment.group_id}-MORE"}
    third = run(deployment, "topics", "create", "--keep-days", "1", **more).stdout.splitlines()
    same = run(deployment, "topics", "create", "--partitions", "2", **names).stdout.splitlines()

    assert third[0] == f"{deployment.group_id}-MORE: created"
    output = names["TENFOLD_OUTPUT_TOPIC"]
    assert third[1] == f"{output}: exists already with 2 partitions, not 12, and is left as it is"
    assert same[1] == f"{output}: exists already, and is left as it is"
    assert len(same) == 5
    assert third[-1] == "with 12 partitions of 1 replica; kept for 1 day"
    assert json.loads(first.stdout) == dict.fromkeys(names.values(), "created")
    assert json.loads(second.stdout) == dict.fromkeys(names.values(), "exists")


def test_a_topic_of_something_else_is_not_taken_for_scores(deployment: Deployment, topics: Topics) -> None:
    labelled(deployment, topics)
    assert run(deployment, "simulate", "--users", "5", "--days", "2", "--to", "kafka").returncode == 0
    swapped = {"TENFOLD_OUTPUT_TOPIC": deployment.input_topic, "TENFOLD_INPUT_TOPIC": deployment.output_topic}
    line = the_one_line(run(deployment, "watch", "--from-beginning", **swapped))

    assert f"{deployment.input_topic}/" in line
    assert "is not a score" in line


def test_ctrl_c_ends_watch_without_a_word(deployment: Deployment, topics: Topics) -> None:
    labelled(deployment, topics)
    begun = {"env": deployment.environment(), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    watching = subprocess.Popen(command("watch", "--from-beginning"), **begun)
    scorer = deployment.scorer()
    assert run(deployment, "simulate", "--users", "5", "--days", "2", "--to", "kafka").returncode == 0
    assert watching.stdout is not None
    assert SIMULATED_USER in watching.stdout.readline()  # it watches
    watching.send_signal(signal.SIGINT)
    _, complaints = watching.communicate(timeout=60)
    scorer.stop()

    assert watching.returncode == 130
    assert complaints == ""


def test_watch_says_that_kafka_is_away_and_that_the_topic_is_another(own_kafka: OwnKafka, tmp_path: Path) -> None:
    topic, bootstrap = "fraud-scores", own_kafka.bootstrap
    env = {**os.environ, "TENFOLD_BOOTSTRAP_SERVERS": bootstrap}
    value = json.dumps(SCORES[0]).encode()

    def send(count: int) -> None:
        producer = Producer({"bootstrap.servers": bootstrap})
        for _ in range(count):
            producer.produce(topic, value)
        assert producer.flush(30) == 0

    create_again(AdminClient({"bootstrap.servers": bootstrap}), topic, 1)
    send(2)
    begun = {"env": env, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command("watch", "--from-beginning", "--json"), **begun) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        shown = [watching.stdout.readline() for _ in range(2)]
        own_kafka.stop()
        assert watching.stderr.readline() == f"tenfold: Kafka at {bootstrap} does not answer; waiting until it does\n"
        own_kafka.restart()
        assert watching.stderr.readline() == f"tenfold: Kafka at {bootstrap} answers again\n"
        send(1)
        assert watching.stdout.readline() == shown[0]

        own_kafka.discard()
        assert "does not answer" in watching.stderr.readline()
        (tmp_path / "another").mkdir()
        another = new_kafka(tmp_path / "another", int(bootstrap.rpartition(":")[2]))
        try:
            another.start()
            create_again(AdminClient({"bootstrap.servers": bootstrap}), topic, 1)
            _, complaints = watching.communicate(timeout=60)
        finally:
            another.discard()
            watching.kill()

    assert watching.returncode == 1
    assert (
        f"topic {topic} does not have the records any more that come next in partition 0: it was made anew"
        in complaints
    )


def test_watch_tells_a_terminal_its_columns_and_that_it_waits_and_ends_there_if_asked(deployment: Deployment) -> None:
    """Seven scores where ninety are asked for; what they are called is somebody else's choice."""
    evil = {"user_id": "eve\x1b[2J", "created_at": "2026-03-02T02:40:00+01:00"}
    payments = [{"transaction_id": f"\x1b]0;t-{number}\x07\n", "amount": 5.0 + number} | evil for number in range(7)]
    given = "\n".join(map(json.dumps, payments))
    send = command("send")
    subprocess.run(send, env=deployment.environment(), input=given, capture_output=True, text=True, check=True)
    scorer = deployment.scorer()
    deployment.wait_until_scored([scorer])

    asked = ("watch", "--from-beginning", "-n", "90")
    with Terminal(command(*asked), deployment.environment(), columns=300) as terminal:
        columns, *rows = terminal.until("tenfold: the end of the topic; waiting for 83 more").splitlines()
        assert columns.split() == ["created_at", "(UTC)", "verdict", "score", "win", "user", "payment"]
        assert {row[:21] for row in rows} == {"2026-03-02T01:40:00Z "}
        assert all(rf"  \x1b]0;t-{number}\x07\n" in row for number, row in enumerate(rows))
        assert all(r"  eve\x1b[2J  " in row for row in rows)
        assert len(rows) == 7
        subprocess.run([*send, "user_id=anna", "amount=5"], env=deployment.environment(), check=True)
        assert columns not in terminal.until(" anna ")  # they are told once
    with Terminal(command(*asked, "--json"), deployment.environment(), columns=300) as terminal:
        scores = terminal.until("tenfold: the end of the topic").splitlines()
        assert len([json.loads(line) for line in scores]) == 8
    pipe, program = subprocess.PIPE, command(*asked, "--json")
    with subprocess.Popen(program, env=deployment.environment(), stdout=pipe, stderr=pipe, text=True) as watching:
        assert watching.stderr is not None
        assert watching.stderr.readline() == "tenfold: the end of the topic; waiting for 82 more, Ctrl-C ends\n"
        watching.send_signal(signal.SIGINT)
        scored, _ = watching.communicate(timeout=60)
    assert (watching.returncode, len([json.loads(line) for line in scored.splitlines()])) == (130, 8)
    enough = run(deployment, "watch", "--from-beginning", "-n", "8", "--json")
    assert (enough.returncode, enough.stderr, len(enough.stdout.splitlines())) == (0, "", 8)

    nobody = ("watch", "--since", "1h", "--user", "nobody")
    lines, as_json, none = (run(deployment, *words, "--exit") for words in (asked, (*asked, "--json"), nobody))
    letters = run(deployment, "watch", "--dead-letters", "--from-beginning", "-e")
    assert scorer.stop() == 0
    assert [(ran.returncode, ran.stderr) for ran in (lines, as_json, none, letters)] == [(0, "")] * 4
    assert [row for row in lines.stdout.splitlines() if r"\x1b" in row] == rows
    assert {json.loads(line)["user_id"] for line in as_json.stdout.splitlines()} == {"anna", "eve\x1b[2J"}
    assert none.stdout == letters.stdout == ""


def test_scoring_imports_nothing_that_is_slow_to_import(deployment: Deployment, topics: Topics) -> None:
    labelled(deployment, topics)
    program = [sys.executable, "-X", "importtime", "-m", "stream", "score"]
    process = subprocess.Popen(program, env=deployment.environment(), stderr=subprocess.PIPE, text=True)
    sent = run(deployment, "simulate", "--users", "5", "--days", "2", "--to", "kafka")
    watched = run(deployment, "watch", "--from-beginning", "--limit", "1")
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)

    assert (sent.returncode, watched.returncode, process.returncode) == (0, 0, 0)
    imported = {line.rpartition("|")[2].strip() for line in said.splitlines() if line.startswith("import time:")}
    assert {"stream.service", "numpy", "onnxruntime"} <= imported
    assert {name.partition(".")[0] for name in imported} & SLOW_TO_IMPORT == set()
