"""Redis fails over: a promoted replica may lack writes, and the log knows better, as when Redis loses its last ones."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from redis.crc import key_slot

from models.bundle import LoadedBundle
from tests.chaos.conftest import CHAOS
from tests.chaos.faults import judged, until
from tests.chaos.ledger import note
from tests.redis_servers import RedisNodes, WatchedRedis
from tests.scorers import Deployment, Scorer
from tests.topics import Topics
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker

EVENTS = 4_000
_PATIENCE_S = 240.0


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[RedisNodes]:
    """A cluster whose primaries have a replica each."""
    (tmp_path / "redis").mkdir()
    nodes = RedisNodes(tmp_path / "redis", replicas=True)
    nodes.start()
    yield nodes
    nodes.discard()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[WatchedRedis]:
    """A primary and a replica, and a Sentinel."""
    watched = WatchedRedis(tmp_path)
    watched.start()
    yield watched
    watched.discard()


@contextmanager
def payments(deployment: Deployment, seed: int) -> Iterator[None]:
    """Let payments come while the block runs, and go on after it until all are there."""
    records = traffic(EVENTS, users=300, seed=seed)
    sending = threading.Thread(target=produce, args=(deployment.bootstrap, deployment.input_topic, records, 500))
    sending.start()
    try:
        yield
    finally:
        sending.join()


def scored(scorer: Scorer) -> float:
    return scorer.metric("tenfold_events_total")


def goes_on(scorer: Scorer) -> None:
    """Return once the scorer has scored more than it has now, or all: a slow machine may be done with a block's."""
    before = scored(scorer)

    def more() -> bool:
        now = scored(scorer)
        return now > before or (now > 0 and now % EVENTS == 0)

    until(more, _PATIENCE_S, "nothing more is scored", scorer)


def test_slots_move_and_a_primary_of_the_cluster_is_killed(
    topics: Topics, broker: str, nodes: RedisNodes, group_id: str, bundle: LoadedBundle, tmp_path: Path
) -> None:
    """Without a way to where a slot has gone, or to the promoted replica, the scorer would stand still."""
    deployment = Deployment.create(topics, broker, nodes.url, group_id, tmp_path, partitions=6)
    deployment.settings |= CHAOS
    scorer = deployment.scorer().wait_until_ready()
    slots = [key_slot(f"tenfold:{{{group_id}:{deployment.input_topic}:{each}}}:".encode()) for each in range(6)]
    with payments(deployment, seed=1):
        goes_on(scorer)
        for slot in slots:
            nodes.migrate(slot, (nodes.of_slot(slot) + 1) % 3)
            goes_on(scorer)
        note("a slot moves", len(slots))
    victim = nodes.of_slot(slots[0])
    with payments(deployment, seed=2):
        goes_on(scorer)
        nodes.nodes[victim].kill()
        note("kill -9 of a primary of the cluster")
    deployment.wait_until_scored([scorer], _PATIENCE_S)
    until(lambda: scorer.get("/readyz")[0] == 200, _PATIENCE_S, "not ready again", scorer)
    assert nodes.client(victim + 3).role()[0] == b"master"
    assert scorer.stop() == 0
    judged(bundle, deployment, 2 * EVENTS)


def test_sentinel_promotes_a_replica_that_lacks_writes(
    topics: Topics, broker: str, watched: WatchedRedis, group_id: str, bundle: LoadedBundle, tmp_path: Path
) -> None:
    """The primary is killed while payments come; its replica has had no contact since some were scored.

    Without the mark, the scores after the failover would be those of windows that miss payments.
    """
    deployment = Deployment.create(topics, broker, watched.url, group_id, tmp_path)
    deployment.settings |= CHAOS | {"TENFOLD_REDIS__SENTINEL_PASSWORD": watched.PASSWORD}
    scorer = deployment.scorer().wait_until_ready()
    primary, replica = (redis.Redis(port=server.port) for server in (watched.primary, watched.replica))
    with payments(deployment, seed=1):
        goes_on(scorer)
        replica.config_set("masterauth", "not the password")
        primary.client_kill_filter(_type="replica")
        goes_on(scorer)
        watched.primary.kill()
        note("kill -9 of a primary that Sentinel watches over")
    until(lambda: replica.role()[0] == b"master", _PATIENCE_S, "Sentinel does not promote the replica", scorer)
    deployment.wait_until_scored([scorer], _PATIENCE_S)
    watched.primary.restart()  # empty, and soon told whose replica it is
    until(lambda: primary.role()[0] == b"slave", _PATIENCE_S, "the old primary does not become a replica", scorer)
    with payments(deployment, seed=2):
        goes_on(scorer)
    deployment.wait_until_scored([scorer], _PATIENCE_S)
    until(lambda: scorer.get("/readyz")[0] == 200, _PATIENCE_S, "not ready again", scorer)
    assert scorer.stop() == 0
    judged(bundle, deployment, 2 * EVENTS)
    assert '"cause": "windows-behind"' in scorer.log_text
