"""Kafka is there and refuses: a right is taken away, a topic is missing, a score is too large. Nothing is lost."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from models.bundle import LoadedBundle
from tests.chaos.conftest import CHAOS
from tests.chaos.faults import until
from tests.chaos.guarded import GuardedBroker
from tests.chaos.ledger import held, note
from tests.kafka_jars import PartMissingError
from tests.oracle import judge, read_topic, replay, wrong_windows
from tests.scorers import Deployment, Scorer
from tests.topics import Topics, create_again
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedBroker]:
    """A broker that asks who is there."""
    try:
        broker = GuardedBroker(tmp_path_factory.mktemp("guarded"))
    except PartMissingError as missing:
        pytest.skip(f"only Kafka's jars can be given an authoriser: {missing}")
    broker.start()
    yield broker
    broker.discard()


@pytest.fixture
def own(guarded: GuardedBroker, redis_url: str, group_id: str, tmp_path: Path) -> Deployment:
    """A deployment whose scorers have a name and all the rights that they need."""
    deployment = Deployment.create(Topics(guarded.bootstrap), guarded.bootstrap, redis_url, group_id, tmp_path)
    deployment.settings |= CHAOS | guarded.scorers_settings
    for right, name in resources(deployment).items():
        guarded.allow(right, name)
    return deployment


def resources(deployment: Deployment) -> dict[str, str]:
    return {
        "input": deployment.input_topic,
        "output": deployment.output_topic,
        "dlq": deployment.dlq_topic,
        "group": deployment.group_id,
        "transactional id": deployment.group_id,
    }


def refused_for_a_while(
    deployment: Deployment,
    bundle: LoadedBundle,
    begin: Callable[[], object],
    end: Callable[[], object],
    deleted: str | None = None,
) -> Scorer:
    """Let Kafka refuse while there is work, then no longer; return the scorer, stopped, once the oracle has agreed.

    ``deleted`` is the topic that ``begin`` deletes, if it does.
    """
    scorer = deployment.scorer().wait_until_ready()
    produce(deployment.bootstrap, deployment.input_topic, traffic(1_500, users=200, seed=1))
    deployment.wait_until_scored([scorer])
    gone = {topic: read_topic(deployment.bootstrap, topic) if topic == deleted else [] for topic in answers(deployment)}
    begin()
    note("Kafka refuses")
    produce(deployment.bootstrap, deployment.input_topic, traffic(1_500, users=200, seed=2))
    until(lambda: scorer.get("/readyz")[0] == 503, 60, "ready while it is refused", scorer)
    never_ready(scorer, for_s=5)
    if deleted is not None:
        until(lambda: f"no topic {deleted}: create" in scorer.get("/readyz")[1], 60, "it does not say which", scorer)
    end()
    deployment.wait_until_scored([scorer])
    until(lambda: scorer.get("/readyz")[0] == 200, 60, "not ready again", scorer)
    assert scorer.stop() == 0
    expected = replay(read_topic(deployment.bootstrap, deployment.input_topic), bundle)
    assert len(expected.scores) + len(expected.bad) == 3_000
    verdict = judge(expected, *(gone[topic] + read_topic(deployment.bootstrap, topic) for topic in answers(deployment)))
    verdict.wrong_windows = wrong_windows(expected, deployment.redis_url, deployment.group_id, deployment.input_topic)
    held(verdict)
    return scorer


def answers(deployment: Deployment) -> tuple[str, str]:
    return deployment.output_topic, deployment.dlq_topic


def never_ready(scorer: Scorer, for_s: float) -> None:
    deadline = time.monotonic() + for_s
    while time.monotonic() < deadline:
        assert scorer.get("/readyz")[0] == 503, f"it says that it is ready:\n{scorer.log_text[-3000:]}"
        assert scorer.process.running, scorer.log_text[-3000:]
        time.sleep(0.05)


@pytest.mark.parametrize(
    "right",
    [
        "output",
        "group",
        *(pytest.param(right, marks=pytest.mark.long) for right in ("input", "dlq", "transactional id")),
    ],
)
def test_a_right_is_taken_away_and_given_back(
    own: Deployment, guarded: GuardedBroker, bundle: LoadedBundle, right: str
) -> None:
    """Without the abort, a part of a batch would be published; without trying again, the process would have to be
    started again by someone; without a look at what the consumer reports, it would say that it is ready.
    """
    name = resources(own)[right]
    scorer = refused_for_a_while(
        own, bundle, lambda: guarded.deny(right, name), lambda: guarded.no_longer_deny(right, name)
    )
    assert "uthoriz" in scorer.log_text


@pytest.mark.parametrize("topic", ["output", pytest.param("dlq", marks=pytest.mark.long)])
def test_a_topic_is_deleted_and_made_again(deployment: Deployment, bundle: LoadedBundle, topic: str) -> None:
    """Without the topic of scores nothing can be published, without that of dead letters no batch that has one.

    Without the abort, a batch's scores would be readable without its dead letters, and the batch published twice.
    """
    name = resources(deployment)[topic]
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap})
    refused_for_a_while(
        deployment,
        bundle,
        lambda: admin.delete_topics([name])[name].result(30),
        lambda: create_again(admin, name, 3),
        deleted=name,
    )


def test_the_topic_of_scores_refuses_them_as_too_large(deployment: Deployment, bundle: LoadedBundle) -> None:
    """A batch of scores is larger than the topic takes, until someone sets its limit right.

    Without the abort, the records that fit would be published again and again.
    """
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap})

    def limit(size: int) -> None:
        entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, deployment.output_topic, incremental_configs=[entry])
        [altered] = admin.incremental_alter_configs([resource]).values()
        altered.result(30)

    scorer = refused_for_a_while(deployment, bundle, lambda: limit(100), lambda: limit(1_048_588))
    assert "Message size too large" in scorer.log_text
