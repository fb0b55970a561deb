"""A transaction in, a score out: real scorers on a real broker and a real Redis, against the oracle."""

import pytest

from models.bundle import LoadedBundle
from tests.scorers import Deployment, verdict_of
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker


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
    third.wait_until_ready()
    deployment.wait_until_scored([second, third])
    assert [second.stop(), third.stop()] == [0, 0]

    expected, verdict = verdict_of(bundle, deployment)

    assert len(expected.scores) + len(expected.bad) == 50_000
    assert len(expected.bad) > 400
    assert verdict.right, verdict
