"""Partitions are added to the input topic: users move, and nothing that they do is lost or scored twice."""

import json

import pytest
from confluent_kafka.admin import AdminClient

from models.bundle import LoadedBundle
from tests.chaos.faults import judged, until
from tests.chaos.ledger import note
from tests.scorers import Deployment, Scorer
from tests.topics import grow
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker


def taken_up(scorer: Scorer) -> set[tuple[str, int]]:
    """Return which partitions the scorer has taken up, each with the cause; several times, if it came to that."""
    lines = [json.loads(line) for line in scorer.log_text.splitlines()]
    return {(line["cause"], line["partition"]) for line in lines if line["message"] == "taking a partition up"}


@pytest.mark.parametrize("running", [True, False])
def test_what_is_sent_to_an_added_partition_is_scored(
    deployment: Deployment, bundle: LoadedBundle, running: bool
) -> None:
    """In a group that starts at the end, and before anyone in it knows of the partition.

    Without telling an added partition from the first of a fresh group, it would be taken from its end like that one,
    and what was sent there before would never be scored; nor would anyone be told that users have moved.
    """
    deployment.settings |= {
        "TENFOLD_START_FROM": "latest",
        "TENFOLD_KAFKA__topic.metadata.refresh.interval.ms": "2000",
    }
    scorer = deployment.scorer().wait_until_ready()
    assert taken_up(scorer) == {("fresh-group", partition) for partition in range(3)}
    produce(deployment.bootstrap, deployment.input_topic, traffic(1_500, users=200, seed=1))
    deployment.wait_until_scored([scorer])
    if not running:
        assert scorer.stop() == 0
    grow(AdminClient({"bootstrap.servers": deployment.bootstrap}), deployment.input_topic, 5)
    note("partitions added")
    produce(deployment.bootstrap, deployment.input_topic, traffic(1_500, users=200, seed=2))
    if not running:
        scorer = deployment.scorer()
    deployment.wait_until_scored([scorer])
    assert {cause for cause, partition in taken_up(scorer) if partition >= 3} == {"partition-added"}
    until(lambda: scorer.metric("tenfold_input_partitions") == 5, 30, "it counts as before", scorer)
    if not running:  # else it goes by the old number until it notices
        assert scorer.metric("tenfold_misplaced_events_total") == 0
    assert ("partitions were added to the input topic" in scorer.log_text) == running
    assert scorer.stop() == 0
    judged(bundle, deployment, 3_000)
