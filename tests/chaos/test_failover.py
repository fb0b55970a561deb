"""Redis behind an address that may be slow, and that may lead to another Redis from one moment to the next."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from models.bundle import LoadedBundle
from tests.brokers import RedisServer
from tests.chaos.conftest import CHAOS
from tests.chaos.faults import judged, until
from tests.chaos.ledger import note
from tests.chaos.relay import Relay
from tests.scorers import Deployment
from tests.topics import Topics
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker

_NO_WAIT = ("--repl-diskless-sync-delay", "0")


@pytest.fixture
def relay(own_redis: RedisServer) -> Iterator[Relay]:
    """The way to a Redis of the test's own."""
    own_redis.start(*_NO_WAIT)
    opened = Relay(own_redis.port)
    yield opened
    opened.close()


@pytest.fixture
def own(topics: Topics, broker: str, relay: Relay, group_id: str, tmp_path: Path) -> Deployment:
    """A deployment whose Redis is at the relay."""
    deployment = Deployment.create(topics, broker, f"redis://127.0.0.1:{relay.port}/0", group_id, tmp_path)
    deployment.settings |= CHAOS
    return deployment


@pytest.fixture
def replica(relay: Relay, tmp_path: Path) -> Iterator[tuple[RedisServer, Relay]]:
    """A replica, and the link by which it follows."""
    link = Relay(relay.target)
    (tmp_path / "replica").mkdir()
    follower = RedisServer(tmp_path / "replica")
    follower.start("--replicaof", f"127.0.0.1 {link.port}")
    yield follower, link
    link.close()
    follower.discard()


def test_a_failover_to_a_replica_that_had_not_received_the_last_writes(
    own: Deployment, own_redis: RedisServer, replica: tuple[RedisServer, Relay], relay: Relay, bundle: LoadedBundle
) -> None:
    """Under load. The new primary's windows and marks are of an earlier moment, all of them of the same.

    Without the mark read with the windows, batches would go on upon windows that lack what the replica never got;
    without the way from the mark to the committed offset, it would stay so.
    """
    follower, link = replica
    scorer = own.scorer().wait_until_ready()
    produce(own.bootstrap, own.input_topic, traffic(2_000, users=300, seed=1))
    own.wait_until_scored([scorer])
    with redis.Redis.from_url(own_redis.url) as primary, redis.Redis.from_url(follower.url) as secondary:
        until(lambda: secondary.dbsize() == primary.dbsize() > 0, 60, "the replica never follows")
        link.stand_still()
        produce(own.bootstrap, own.input_topic, traffic(2_000, users=300, seed=2))
        own.wait_until_scored([scorer])
        load = threading.Thread(
            target=produce, args=(own.bootstrap, own.input_topic, traffic(2_000, users=300, seed=3), 1_000.0)
        )
        load.start()
        time.sleep(0.5)  # of load
        own_redis.kill()
        note("failover to a replica that lacks writes")
        secondary.replicaof("NO", "ONE")
        relay.switch(follower.port)
    load.join()
    own.wait_until_scored([scorer])
    until(lambda: scorer.get("/readyz")[0] == 200, 60, "not ready on the replica", scorer)
    assert scorer.stop() == 0
    assert scorer.log_text.count('"cause": "windows-behind"') >= 3
    judged(bundle, own, 6_000)


def test_a_slow_redis_slows_scoring_and_nothing_else(own: Deployment, relay: Relay, bundle: LoadedBundle) -> None:
    """Each answer takes 0.4 s. Without one round trip for all of a batch's windows, it would never catch up."""
    scorer = own.scorer().wait_until_ready()
    relay.delay_s = 0.2
    note("a slow Redis")
    produce(own.bootstrap, own.input_topic, traffic(3_000, users=300, seed=1))
    own.wait_until_scored([scorer])
    until(lambda: scorer.get("/readyz")[0] == 200, 30, "not ready", scorer)
    assert scorer.stop() == 0
    assert scorer.log_text.count("taking a partition up") == 3, "slow was taken for away"
    judged(bundle, own, 3_000)
