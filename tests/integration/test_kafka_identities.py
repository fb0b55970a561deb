"""Kafka that knows its clients by OAuth tokens or by certificates: the right ones score, others are told why not."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import redis

from models.bundle import LoadedBundle
from tests.kafka_identities import CLIENT, SECRET, IdentifyingBroker, TokenIssuer
from tests.kafka_jars import PartMissingError
from tests.scorers import Deployment, Scorer, verdict_of
from tests.topics import Topics
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker

EVENTS = 300


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenIssuer]:
    issuer = TokenIssuer(tmp_path_factory.mktemp("tokens"))
    yield issuer
    issuer.close()


@pytest.fixture(scope="module")
def identifying(issuer: TokenIssuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentifyingBroker]:
    try:
        broker = IdentifyingBroker(tmp_path_factory.mktemp("kafka"), issuer)
    except PartMissingError as missing:
        pytest.skip(str(missing))
    broker.start()
    yield broker
    broker.discard()


@pytest.fixture
def deployment(identifying: IdentifyingBroker, redis_url: str, group_id: str, tmp_path: Path) -> Iterator[Deployment]:
    topics = Topics(identifying.bootstrap)
    yield Deployment.create(topics, identifying.bootstrap, redis_url, group_id, tmp_path)
    topics.delete_all()


@pytest.fixture
def token_command(issuer: TokenIssuer, tmp_path: Path) -> str:
    """A command that prints a token which ends in some seconds, unless it is closed, and notes that it was asked."""
    program = f"""
        import json, os, sys, time
        with open(sys.argv[1], "a") as asked:
            print(time.time(), file=asked)
        if os.path.exists(sys.argv[1] + ".closed"):
            raise SystemExit("nobody is logged in")
        print(json.dumps({{"token": {issuer.token(CLIENT)!r}, "expires_at": time.time() + 5}}))
    """
    file = tmp_path / "a token.py"
    file.write_text(dedent(program))
    return shlex.join([sys.executable, str(file), str(tmp_path / "asked")])


def scoring(deployment: Deployment, settings: dict[str, str]) -> Scorer:
    """Return a scorer that was let in and has scored ``EVENTS``."""
    scorer = deployment.scorer(**settings).wait_until_ready()
    produce(deployment.bootstrap, deployment.input_topic, traffic(EVENTS, users=20, seed=1))
    deployment.wait_until_scored([scorer])
    return scorer


def test_tokens_of_a_command_are_asked_for_again_before_they_end(
    token_command: str, identifying: IdentifyingBroker, deployment: Deployment, bundle: LoadedBundle, tmp_path: Path
) -> None:
    scorer = scoring(deployment, identifying.by_command(token_command))
    asked = len((tmp_path / "asked").read_text().splitlines())
    scorer.process.wait_until(lambda: len((tmp_path / "asked").read_text().splitlines()) > asked, 60)
    assert scorer.stop() == 0
    _, verdict = verdict_of(bundle, deployment)
    assert verdict.right, verdict


def test_a_scorer_waits_while_the_command_gives_no_token(
    token_command: str, identifying: IdentifyingBroker, deployment: Deployment, bundle: LoadedBundle, tmp_path: Path
) -> None:
    """Partitions are taken up by clients that are made for it, and each of them needs a token first."""
    scorer = scoring(deployment, identifying.by_command(token_command))
    (tmp_path / "asked.closed").touch()
    with redis.Redis.from_url(deployment.redis_url) as client:
        client.flushall()
    produce(identifying.bootstrap, deployment.input_topic, traffic(EVENTS, users=20, seed=2))
    scorer.process.wait_until(
        lambda: bool(re.search(r"taking partitions up again.*nobody is logged in", scorer.log_text)), 60
    )
    (tmp_path / "asked.closed").unlink()
    deployment.wait_until_scored([scorer])
    assert scorer.stop() == 0
    _, verdict = verdict_of(bundle, deployment)
    assert verdict.right, verdict


def test_a_command_that_gives_no_token_is_told_of(
    identifying: IdentifyingBroker, deployment: Deployment, tmp_path: Path
) -> None:
    file = tmp_path / "none.py"
    file.write_text("raise SystemExit('nobody is logged in')")
    told = refused(deployment, identifying.by_command(shlex.join([sys.executable, str(file)])))
    assert "no token for Kafka from TENFOLD_KAFKA_TOKEN_COMMAND: it ended with 1: nobody is logged in" in told
    assert "Traceback" not in told, told


@pytest.mark.parametrize("way", ["by_token", "by_certificate"])
def test_who_is_known_scores(
    way: str, identifying: IdentifyingBroker, issuer: TokenIssuer, deployment: Deployment, bundle: LoadedBundle
) -> None:
    issued = len(issuer.issued)
    scorer = scoring(deployment, getattr(identifying, way))
    assert scorer.stop() == 0
    expected, verdict = verdict_of(bundle, deployment)
    assert verdict.right, verdict
    assert len(expected.scores) + len(expected.bad) == EVENTS
    assert (len(issuer.issued) > issued) == (way == "by_token")
    assert SECRET not in scorer.log_text
    assert not any(token in scorer.log_text for token in issuer.issued)


def refused(deployment: Deployment, settings: dict[str, str]) -> str:
    """Return what a scorer says that is not let in; it ends by itself."""
    command = [sys.executable, "-m", "stream", "score"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TENFOLD_")}
    told = subprocess.run(
        command,
        env=environment | deployment.environment() | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert told.returncode == 1, told.stderr
    return told.stderr


def test_who_has_another_secret_gets_no_token_and_is_told_so(
    identifying: IdentifyingBroker, deployment: Deployment
) -> None:
    wrong = {"TENFOLD_KAFKA__SASL_OAUTHBEARER_CLIENT_SECRET": "hunter2"}
    told = refused(deployment, identifying.by_token | wrong)
    assert "Failed to retrieve OIDC token" in told
    assert "invalid_client" in told
    assert "hunter2" not in told


def test_who_shows_no_certificate_is_told_so(identifying: IdentifyingBroker, deployment: Deployment) -> None:
    settings = identifying.by_certificate
    del settings["TENFOLD_KAFKA__SSL_CERTIFICATE_LOCATION"], settings["TENFOLD_KAFKA__SSL_KEY_LOCATION"]
    assert "certificate" in refused(deployment, settings)


def test_who_is_known_but_has_no_rights_sees_no_topics(identifying: IdentifyingBroker, deployment: Deployment) -> None:
    assert f"no topic {deployment.output_topic}" in refused(deployment, identifying.of("stranger"))
