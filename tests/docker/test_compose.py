"""``docker compose up``, as a user has it: all of it in containers, payments and scores from this machine."""

import json
import re
import secrets
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path

import pytest
import yaml
from confluent_kafka import Consumer, KafkaException

from models.bundle import load_bundle, starter
from tests.docker.stack import Stack, docker, wait_until
from tests.oracle import judge, read_topic, replay
from tests.pages import the_block
from tests.processes import http_get
from tests.prometheus.asked import ask, asked, without_data
from tests.prometheus.tools import PROMETHEUS
from tests.scorers import Deployment
from tests.traffic import Record, produce, traffic, verdicts

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

UP = the_block("docs/compose.md", "docker compose up\n")

#: Panels that are empty on a stack's first day, and why.
EMPTY = {
    "archive/16": "no label of an archived payment had landed before the day began",
    **dict.fromkeys(("model/13", "model/14", "model/15", "model/16"), "no challenger is in the shadow"),
    **dict.fromkeys((f"model/{number}" for number in range(20, 26)), "no score is old enough to be judged"),
}


@pytest.fixture(scope="module")
def stack(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All of it, healthy, with the simulator's payments coming in, and verdicts, of which the simulator's take days."""
    [tag] = {name.partition(":")[2] for name in images.values()}
    settings = {"SIMULATOR_USERS": "500", "SIMULATOR_RATE": "20", "ARCHIVE_MAX_AGE": "5"}
    made = Stack(tmp_path_factory.mktemp("stack"), IMAGE_TAG=tag, **settings)
    try:
        made.up(UP.script)
        produce(made.bootstrap, "fraud-labels", verdicts(200, 50, seed=1))
        yield made
    finally:
        made.down()


def asked_of_prometheus(stack: Stack, expression: str) -> list[tuple[dict[str, str], float]]:
    """Return labels and value of each series."""
    return [(series["metric"], float(series["value"][1])) for series in ask(stack.prometheus_port, expression)]


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
    assert the_block("README.md", "docker compose up").script == UP.script
    states = {each["Service"]: each["Health"] for each in stack.containers() if each["Service"] != "topics"}

    assert states == dict.fromkeys(stack.services() - {"topics"}, "healthy")
    assert [each["ExitCode"] for each in stack.containers("topics")] == [0]
    assert stack.ports() == {"127.0.0.1"}


def test_a_payment_sent_in_the_brokers_container_has_its_score_here(stack: Stack) -> None:
    stack.send_payment()

    [score] = scores_of(stack, "t-1")
    assert (score["user_id"], score["window_length"], score["model_version"]) == ("anna", 1, "starter-default")


def test_what_is_done_by_hand_is_done_in_containers(stack: Stack) -> None:
    watch, consume, logs = the_block("docs/compose.md", "tenfold watch --anomalies").script.splitlines()
    watching, following = stack.starts(watch), stack.starts(logs)
    produce(stack.bootstrap, "transactions", iter([Record(b"anna", b"{", bad=True)]))
    letter = stack.types(consume)

    assert "error" in letter
    assert letter.rstrip().endswith("{")
    wait_until(lambda: "ANOMALY" in watching.log.read_text(), "a payment is flagged")
    wait_until(lambda: "starter-default" in following.log.read_text(), "the log names the model")
    for each in (watching, following):
        each.end(signal.SIGINT)


def test_prometheus_has_every_process(stack: Stack) -> None:
    def jobs_up() -> set[str]:
        return {labels["job"] for labels, value in asked_of_prometheus(stack, "up") if value == 1}

    jobs = {job["job_name"] for job in yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]}
    wait_until(lambda: jobs_up() == jobs, "each process answers Prometheus")


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

    stack.types(the_block("docs/compose.md", "--scale scorer=3").script)
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


@pytest.mark.parametrize("over", [(), ("deploy/compose.secure.yml",)], ids=["open", "secure"])
@pytest.mark.usefixtures("images")  # which say whether there is an engine
def test_what_only_a_profile_starts_is_well_formed(over: tuple[str, ...], tmp_path: Path) -> None:
    services = Stack(tmp_path, *over).compose("--profile", "*", "config", "--services").split()

    assert {"train", "load", "ui", "erase"} <= set(services)


def test_every_expression_of_dashboards_and_rules_is_answered(stack: Stack) -> None:
    seed = 1

    def missing() -> set[str]:
        nonlocal seed
        seed += 1
        produce(stack.bootstrap, "transactions", traffic(200, 50, seed, bad_share=0.05))
        return {each.place for each in without_data(stack.prometheus_port)}

    assert EMPTY.keys() <= {each.place for each in asked()}
    wait_until(lambda: missing() <= EMPTY.keys(), "only those that are empty on the first day have no data")


@pytest.mark.usefixtures("all_images")
def test_a_model_trained_on_what_is_archived_scores(stack: Stack) -> None:
    simulated = ["simulate", "--to", "kafka", "--backdate", "--users", "1000", "--days", "40", "--seed", "7"]
    archived = 'sum(tenfold_archive_rows_total{topic="fraud-labels"})'
    before = sum(value for _, value in asked_of_prometheus(stack, archived))
    stack.compose("stop", "simulator")  # else there is always something that is not archived yet
    sent = json.loads(stack.compose("exec", "-T", "scorer", "tenfold", *simulated, "--json"))
    behind = 'sum(tenfold_archive_lag_records{topic!="fraud-scores"})'
    whole = f"{archived} >= {before + sent['labels']} and {behind} == 0"
    wait_until(lambda: bool(asked_of_prometheus(stack, whole)), "all of it is archived")
    trained = stack.types(the_block("docs/compose.md", "run --rm train\n").script)
    [name] = re.findall(r"^Bundle /models/([^\s,]+)", trained, re.MULTILINE)

    def in_force() -> set[str]:
        return {labels["model_version"] for labels, _ in asked_of_prometheus(stack, "tenfold_model_info == 1")}

    wait_until(lambda: in_force() == {name}, "every scorer has the new champion")


@pytest.mark.usefixtures("all_images")
def test_a_model_is_trained_on_simulated_files(stack: Stack) -> None:
    block = the_block("docs/compose.md", "--to /data/history")
    printed = stack.types(block.script.replace("--users 2000", "--users 200"))  # else it takes minutes

    [name] = re.findall(r"^Bundle /models/([^\s,]+)", printed, re.MULTILINE)
    listed = stack.compose("exec", "-T", "scorer", "tenfold", "models", "list", "--json")
    assert name in listed


def test_sigterm_arrives_and_is_obeyed(stack: Stack) -> None:
    roles = sorted(stack.services() & {"scorer", "archiver", "profiles", "monitor"})
    running = {each["Name"] for each in stack.containers(*roles) if each["State"] == "running"}
    stack.compose("stop", "--timeout", "60", *roles)

    assert {each["Service"] for each in stack.containers(*roles) if each["Name"] in running} == set(roles)
    assert {each["ExitCode"] for each in stack.containers(*roles) if each["Name"] in running} == {0}


def test_files_from_before_are_brought_under_a_key(stack: Stack) -> None:
    rotate = the_block("docs/compose.md", "rotate-pseudonyms").script
    printed = stack.types(rotate, PSEUDONYM_KEYS=secrets.token_hex(32))

    assert re.search(r"^transactions: ([1-9][\d,]*) of \1 files", printed, re.MULTILINE), printed


def test_down_leaves_the_data_and_nothing_else(stack: Stack) -> None:
    stack.compose("down", "--timeout", "20")
    containers, networks, volumes = stack.left()

    assert (containers, networks, len(volumes)) == ([], [], len(stack.volumes()))
