"""``docker compose up``, as a user has it: all of it in containers, payments and scores from this machine."""

import json
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException

from models.bundle import load_bundle, starter
from tests.docker.stack import Stack, docker
from tests.oracle import judge, read_topic, replay
from tests.processes import http_get
from tests.scorers import Deployment
from tests.traffic import produce, traffic

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

PATIENCE_S = 180.0  # for a step; on a quiet machine each takes seconds

PAYMENT = {"transaction_id": "t-1", "user_id": "anna", "amount": 19.9, "created_at": "2026-03-01T18:21:07Z"}


@pytest.fixture(scope="module")
def stack(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All of it, healthy, with the simulator's payments coming in."""
    [tag] = {name.partition(":")[2] for name in images.values()}
    made = Stack(tmp_path_factory.mktemp("stack"), IMAGE_TAG=tag, SIMULATOR_USERS="500", SIMULATOR_RATE="20")
    try:
        made.up()
        yield made
    finally:
        made.down()


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.5)


def asked_of_prometheus(stack: Stack, expression: str) -> list[tuple[dict[str, str], float]]:
    """Return labels and value of each series; nothing where Prometheus does not answer."""
    query = urllib.parse.quote(expression)
    status, body = http_get(stack.prometheus_port, f"/api/v1/query?query={query}")
    found = json.loads(body)["data"]["result"] if status == 200 else []
    return [(series["metric"], float(series["value"][1])) for series in found]


def scores_of(stack: Stack, transaction_id: str) -> list[dict[str, object]]:
    """Return what this machine reads of a transaction's scores until there is one."""
    config = {"bootstrap.servers": stack.bootstrap, "group.id": "reader", "isolation.level": "read_committed"}
    consumer = Consumer(config | {"auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe(["fraud-scores"])
    found: list[dict[str, object]] = []

    def arrived() -> bool:
        records = [message.value() for message in consumer.consume(1000, 1.0) if message.error() is None]
        scores = [json.loads(value) for value in records if value]
        found.extend(score for score in scores if score["transaction_id"] == transaction_id)
        return bool(found)

    try:
        wait_until(arrived, f"a score of {transaction_id}")
    finally:
        consumer.close()
    return found


def test_all_of_it_is_healthy_and_nothing_listens_beyond_loopback(stack: Stack) -> None:
    containers = stack.containers()
    addresses = {place["URL"] for each in containers for place in each["Publishers"] if place["PublishedPort"]}

    assert {each["Service"]: each["Health"] for each in containers if each["Service"] != "topics"} == dict.fromkeys(
        ["kafka", "redis", "scorer", "archiver", "profiles", "simulator", "prometheus", "grafana"], "healthy"
    )
    assert [each["ExitCode"] for each in stack.containers("topics")] == [0]
    assert addresses == {"127.0.0.1"}


def test_a_payment_sent_in_the_brokers_container_has_its_score_here(stack: Stack) -> None:
    producer = ["/opt/kafka/bin/kafka-console-producer.sh", "--bootstrap-server", "kafka:29092"]
    keyed = ["--property", "parse.key=true", "--property", "key.separator=|"]
    record = f"{PAYMENT['user_id']}|{json.dumps(PAYMENT)}\n"
    stack.compose("exec", "-T", "kafka", *producer, "--topic", "transactions", *keyed, stdin=record)

    [score] = scores_of(stack, "t-1")
    assert (score["user_id"], score["window_length"], score["model_version"]) == ("anna", 1, "starter-default")


def test_prometheus_has_every_process(stack: Stack) -> None:
    def jobs_up() -> set[str]:
        return {labels["job"] for labels, value in asked_of_prometheus(stack, "up") if value == 1}

    wait_until(lambda: jobs_up() == {"scorer", "archiver", "profiles", "prometheus"}, "each process answers Prometheus")


def test_grafana_answers(stack: Stack) -> None:
    status, body = http_get(stack.grafana_port, "/api/health")

    assert (status, json.loads(body)["database"]) == (200, "ok")


def test_three_scorers_of_which_one_is_killed_score_everything_once(stack: Stack, tmp_path: Path) -> None:
    topics = ("transactions", "fraud-scores", "transactions.dlq")
    deployment = Deployment(stack.bootstrap, "", "tenfold", tmp_path, *topics)

    def shared_by(scorers: int) -> bool:
        owned = [value for _, value in asked_of_prometheus(stack, 'tenfold_partitions{job="scorer"} > 0')]
        return len(owned) == scorers and sum(owned) == 12

    def scored() -> float:
        return sum(value for _, value in asked_of_prometheus(stack, "sum(tenfold_scores_total)"))

    def everything_is_scored() -> bool:
        try:
            return deployment.lag() == 0
        except KafkaException:  # offsets of the killed scorer's transaction are not stable yet
            return False

    stack.up("--no-recreate", "--scale", "scorer=3")
    wait_until(lambda: shared_by(3), "three scorers share the partitions")
    before, enough = scored(), threading.Event()
    payments = takewhile(lambda _: not enough.is_set(), traffic(100_000, 300, seed=1))
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(produce, stack.bootstrap, "transactions", payments, 200)
        try:
            wait_until(lambda: scored() > before + 1000, "they score what is sent")
            docker("kill", "--signal", "KILL", stack.containers("scorer")[0]["Name"])
            wait_until(lambda: shared_by(2), "two share the partitions")
        finally:
            enough.set()
        assert sending.result() > 1000
    stack.compose("stop", "simulator")
    wait_until(everything_is_scored, "the other two have scored the rest")

    expected = replay(read_topic(stack.bootstrap, "transactions"), load_bundle(starter("default")))
    verdict = judge(
        expected, read_topic(stack.bootstrap, "fraud-scores"), read_topic(stack.bootstrap, "transactions.dlq")
    )
    assert verdict.right, verdict
    assert expected.bad  # some were sent on purpose, and are dead letters


def test_down_leaves_the_data_and_nothing_else(stack: Stack) -> None:
    ours = ["--filter", f"label=com.docker.compose.project={stack.project}", "--quiet"]
    stack.compose("down", "--timeout", "20")

    assert docker("ps", "--all", *ours) == ""
    assert docker("network", "ls", *ours) == ""
    assert len(docker("volume", "ls", *ours).split()) == 6
