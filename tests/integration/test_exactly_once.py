"""A transaction in, a score out: real scorers on a real broker and a real Redis, against the oracle."""

from pathlib import Path

import pytest

from models.bundle import LoadedBundle, load_bundle, starter
from tests.conftest import GivenKafka, OwnKafka
from tests.oracle import Expected, Verdict, judge, read_topic, replay, wrong_windows
from tests.scorers import Deployment
from tests.topics import Topics
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker


@pytest.fixture(scope="session")
def bundle() -> LoadedBundle:
    return load_bundle(starter("default"))


@pytest.fixture
def deployment(
    topics: Topics, kafka: OwnKafka | GivenKafka, redis_url: str, group_id: str, tmp_path: Path
) -> Deployment:
    return Deployment.create(topics, kafka.bootstrap, redis_url, group_id, tmp_path)


def verdict_of(deployment: Deployment, bundle: LoadedBundle) -> tuple[Expected, Verdict]:
    expected = replay(read_topic(deployment.bootstrap, deployment.input_topic), bundle)
    scores = read_topic(deployment.bootstrap, deployment.output_topic)
    verdict = judge(expected, scores, read_topic(deployment.bootstrap, deployment.dlq_topic))
    verdict.wrong_windows = wrong_windows(expected, deployment.redis_url, deployment.group_id, deployment.input_topic)
    return expected, verdict


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_every_event_has_one_score_while_scorers_come_and_go(
    deployment: Deployment, bundle: LoadedBundle, delivery: str
) -> None:
    """50,000 events of 2,000 users, 1 % bad; two scorers, one is stopped and one is added on the way."""
    deployment.settings["TENFOLD_DELIVERY"] = delivery
    first, second = deployment.scorer().wait_until_ready(), deployment.scorer()
    produce(deployment.bootstrap, deployment.input_topic, traffic(15_000, users=2_000, seed=1))
    second.wait_until_ready()
    produce(deployment.bootstrap, deployment.input_topic, traffic(15_000, users=2_000, seed=2))
    assert first.stop() == 0
    third = deployment.scorer()
    produce(deployment.bootstrap, deployment.input_topic, traffic(20_000, users=2_000, seed=3))
    deployment.wait_until_scored([second, third])
    assert [second.stop(), third.stop()] == [0, 0]

    expected, verdict = verdict_of(deployment, bundle)

    assert len(expected.scores) + len(expected.bad) == 50_000
    assert len(expected.bad) > 400
    assert verdict.right, verdict
