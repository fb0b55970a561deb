"""Two deployments on one topic and one Redis do not see each other."""

from dataclasses import replace

import pytest

from models.bundle import LoadedBundle
from tests.scorers import Deployment, verdict_of
from tests.topics import Topics
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker


def test_a_second_group_replays_history_without_touching_the_first(
    deployment: Deployment, topics: Topics, bundle: LoadedBundle
) -> None:
    """It starts in the middle of the other's work, from the log's beginning: windows are kept by group."""
    produce(deployment.bootstrap, deployment.input_topic, traffic(1_500, users=100, seed=1))
    live = deployment.scorer()
    deployment.wait_until_scored([live])
    second = replace(
        deployment,
        group_id=f"{deployment.group_id}-replay",
        output_topic=topics.create("fraud-scores-replay", 3),
        dlq_topic=topics.create("transactions.dlq-replay", 1, {"max.message.bytes": "2097152"}),
    )
    replaying = second.scorer()
    produce(deployment.bootstrap, deployment.input_topic, traffic(1_500, users=100, seed=2))
    deployment.wait_until_scored([live])
    second.wait_until_scored([replaying])
    assert (live.stop(), replaying.stop()) == (0, 0)
    for each in (deployment, second):
        expected, verdict = verdict_of(bundle, each)
        assert verdict.right, verdict
        assert len(expected.scores) > 2_900
