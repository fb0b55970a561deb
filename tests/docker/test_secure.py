"""``docker compose -f docker-compose.yml -f deploy/compose.secure.yml up``: the same, and nobody without a name."""

import json
import os
import signal
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient

from tests.docker.stack import PATIENCE_S, PAYMENT, RECORD, Stack, wait_until
from tests.pages import ROOT, the_block
from tests.processes import ChildProcess

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

JOBS = {"secrets", "rights", "topics"}


@pytest.fixture(scope="module")
def stack(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All of it, healthy."""
    [tag] = {name.partition(":")[2] for name in images.values()}
    made = Stack(tmp_path_factory.mktemp("secure"), "deploy/compose.secure.yml", IMAGE_TAG=tag)
    try:
        made.up(the_block("docs/compose.md", "compose.secure.yml up").script)
        yield made
    finally:
        made.down()


#: What is typed to get one's own secrets: copied, gone to, read scores with and sent payments with.
COPY, ENTER, WATCH, PRODUCE = the_block("docs/compose.md", "cp secrets:").script.splitlines()


@pytest.fixture(scope="module")
def mine(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the person on this machine is given: settings, password and the authority's certificate."""
    directory = tmp_path_factory.mktemp("mine")
    for name in ("docker-compose.yml", "deploy"):  # so that nothing is written into the checkout
        (directory / name).symlink_to(ROOT / name)
    return Path(stack.types(f"{COPY}\n{ENTER}\npwd", directory=directory).strip())


def client(stack: Stack, mine: Path, heard: set[int], changes: dict[str, str]) -> AdminClient:
    """Return a client whose configuration is mine but for some changes; it notes the errors that it hears of."""
    own = tomllib.loads((mine / "tenfold.toml").read_text())["kafka"]
    named = {"bootstrap.servers": stack.bootstrap, "ssl.ca.location": str(mine / "ca.pem")}
    return AdminClient({**own, **named, **changes, "error_cb": lambda error: heard.add(error.code())})


def test_all_of_it_is_healthy_and_nothing_listens_beyond_loopback(stack: Stack) -> None:
    containers = stack.containers()

    assert {each["Service"]: each["Health"] for each in containers if each["Service"] not in JOBS} == dict.fromkeys(
        stack.services() - JOBS, "healthy"
    )
    assert {each["Service"]: each["ExitCode"] for each in containers if each["Service"] in JOBS} == dict.fromkeys(
        JOBS, 0
    )
    assert stack.ports() == {"127.0.0.1"}


def watch(stack: Stack, mine: Path, **settings: str) -> ChildProcess:
    """Type what the page reads scores with in the directory of one's own secrets, from the oldest on and as JSON."""
    settings["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return stack.starts(f"env {WATCH} --from-beginning --json", mine, **settings)


def test_a_payment_sent_under_a_name_has_its_score_here(stack: Stack, mine: Path, tmp_path: Path) -> None:
    watching = watch(stack, mine)
    stack.compose("cp", str(mine), "kafka:/mine")
    producer = tmp_path / "kafka-console-producer.sh"  # the broker's container has it
    producer.write_text('#!/bin/sh\nexec docker compose exec --workdir /mine kafka "/opt/kafka/bin/${0##*/}" "$@"\n')
    producer.chmod(0o755)
    typed = PRODUCE.replace("localhost:9092", "kafka:29092")
    stack.types(typed, RECORD, PATH=f"{tmp_path}:{os.environ['PATH']}")

    def scores() -> list[dict[str, object]]:
        lines = [json.loads(line) for line in watching.log.read_text().splitlines(keepends=True) if line[-1] == "\n"]
        return [line for line in lines if line["transaction_id"] == PAYMENT["transaction_id"]]

    watching.wait_until(lambda: bool(scores()), PATIENCE_S)
    watching.end(signal.SIGTERM)
    [score] = scores()
    assert (score["user_id"], score["window_length"], score["model_version"]) == ("anna", 1, "starter-default")


def test_a_name_is_good_for_its_own_rights_only(stack: Stack, mine: Path) -> None:
    others = {"TENFOLD_INPUT_TOPIC": "none", "TENFOLD_OUTPUT_TOPIC": "transactions"}
    refused = watch(stack, mine, **others)

    assert refused.wait(int(PATIENCE_S)) == 1
    said = refused.log.read_text()
    assert "transactions cannot be read" in said
    assert "Topic authorization failed" in said


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"security.protocol": "plaintext"}, KafkaError._ALL_BROKERS_DOWN),
        ({"security.protocol": "ssl"}, KafkaError._ALL_BROKERS_DOWN),
        ({"sasl.username": "nobody"}, KafkaError._AUTHENTICATION),
        ({"sasl.password": "guessed"}, KafkaError._AUTHENTICATION),
    ],
    ids=str,
)
def test_a_client_without_a_name_or_with_a_wrong_password_is_refused(
    stack: Stack, mine: Path, changes: dict[str, str], error: int
) -> None:
    heard: set[int] = set()
    refused = client(stack, mine, heard, changes)

    def has_heard() -> bool:
        refused.poll(0.2)
        return error in heard

    wait_until(has_heard, f"a client with {changes} is refused")
    assert "transactions" in client(stack, mine, set(), {}).list_topics(timeout=PATIENCE_S).topics


def test_redis_takes_nobody_without_a_name(stack: Stack) -> None:
    asking = ["exec", "-T", "redis", "redis-cli", "--tls", "--cacert", "/secrets/ca.pem"]

    assert stack.compose(*asking, "--user", "health", "ping") == "PONG\n"
    assert "NOAUTH" in stack.compose(*asking, "keys", "*")


def test_a_user_is_erased_by_a_role_that_can_only_find_and_remove(stack: Stack) -> None:
    block = the_block("docs/compose.md", "erase ID")
    report = stack.types(block.script.replace("erase ID", f"erase {PAYMENT['user_id']}"))

    for found in ("transactions: 1 row removed", "fraud-scores: 1 row removed", "and 1 window removed"):
        assert found in report
    assert "a second look found nothing" in report
    assert [each["State"] for each in stack.containers("archiver")] == ["running"]


def test_down_leaves_the_data_and_nothing_else(stack: Stack) -> None:
    stack.compose("down", "--timeout", "20")
    containers, networks, volumes = stack.left()

    assert (containers, networks, len(volumes)) == ([], [], len(stack.volumes()))  # everybody's secrets among them
