"""Kafka that knows its clients by OAuth tokens or by certificates: the right ones score, others are told why not."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.bundle import LoadedBundle
from tests.kafka_identities import SECRET, IdentifyingBroker, TokenIssuer
from tests.kafka_jars import PartMissingError
from tests.scorers import Deployment, verdict_of
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


@pytest.mark.parametrize("way", ["by_token", "by_certificate"])
def test_who_is_known_scores(
    way: str, identifying: IdentifyingBroker, issuer: TokenIssuer, deployment: Deployment, bundle: LoadedBundle
) -> None:
    issued = len(issuer.issued)
    scorer = deployment.scorer(**getattr(identifying, way)).wait_until_ready()
    produce(identifying.bootstrap, deployment.input_topic, traffic(EVENTS, users=20, seed=1))
    deployment.wait_until_scored([scorer])
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
