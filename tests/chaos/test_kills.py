"""kill -9 at every stage boundary: nothing lost, nothing twice, and the windows are the replay's."""

import pytest
import redis

from models.bundle import LoadedBundle
from tests.chaos.faults import StoppingScorer, judged, stop_all, until
from tests.chaos.ledger import note
from tests.scorers import Deployment
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker


def test_one_process_is_killed_at_every_boundary_and_restarted(deployment: Deployment, bundle: LoadedBundle) -> None:
    """Each start goes on where the last one died, by way of the row of the table that fits what it left behind.

    Without the transaction, ``before-commit`` would leave scores that the next start repeats; without reading the mark
    first, ``after-commit`` and ``half-saved`` would leave windows that lack a batch; without the compare, or with one
    mark for all partitions, ``half-saved`` would put events into windows twice; without the epoch in the key,
    ``catching-up`` would do so. The instance id ends each predecessor's transaction, so that no start waits for it.
    """
    produce(deployment.bootstrap, deployment.input_topic, traffic(9_000, users=300, seed=1))
    deployment.settings["TENFOLD_INSTANCE_ID"] = "zero"
    for at, after in [
        ("before-first-offset", 1),
        ("after-first-offset", 2),
        ("before-commit", 2),
        ("after-commit", 2),
        ("half-saved", 1),
        ("after-save", 3),
    ]:
        StoppingScorer(deployment, at, after).wait_until_dead()
    with redis.Redis.from_url(deployment.redis_url) as client:
        for at, after in [("new-epoch", 1), ("catching-up", 2)]:
            client.flushall()
            note("FLUSHALL")
            StoppingScorer(deployment, at, after).wait_until_dead()
    StoppingScorer(deployment, "catching-up", 1).wait_until_dead()  # on its way to where the one before did not come
    last = deployment.scorer()
    deployment.wait_until_scored([last])
    assert last.stop() == 0
    logs = "".join(log.read_text() for log in deployment.directory.glob("*.log"))
    assert '"cause": "moved-back"' not in logs, "Redis was ahead of the log"
    judged(bundle, deployment, 9_000)


@pytest.mark.parametrize("at", [pytest.param("before-commit", marks=pytest.mark.long), "after-commit"])
def test_one_of_three_is_killed_and_the_others_take_over(deployment: Deployment, bundle: LoadedBundle, at: str) -> None:
    """The survivors take the dead one's partition up where it left it, and it may come back under another name.

    Without waiting for the dead one's transaction to end (KIP-447), the offset found would be the one before its
    batch or none at all, and its events would be scored twice; without the mark, its windows would miss the batch.
    """
    survivors = [deployment.scorer().wait_until_ready()]
    victim = StoppingScorer(deployment, at, after=3)
    survivors.append(deployment.scorer())
    until(lambda: victim.metric("tenfold_partitions") == 1, 60, "three members never had a partition each", victim)
    produce(deployment.bootstrap, deployment.input_topic, traffic(6_000, users=300, seed=2))
    victim.wait_until_dead()
    survivors.append(deployment.scorer())
    deployment.wait_until_scored(survivors)
    assert stop_all(survivors) == [0, 0, 0]
    judged(bundle, deployment, 6_000)
