"""Redis loses everything, loses a little, goes away, or refuses: the log knows better, and the windows come back."""

import itertools
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from models.bundle import LoadedBundle
from tests.brokers import RedisServer
from tests.chaos.conftest import CHAOS
from tests.chaos.faults import judged, until
from tests.chaos.ledger import note
from tests.scorers import Deployment, Scorer
from tests.topics import Topics
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker

EVENTS = 6_000


@pytest.fixture
def own(topics: Topics, broker: str, own_redis: RedisServer, group_id: str, tmp_path: Path) -> Deployment:
    """A deployment on a Redis of its own, not started yet."""
    deployment = Deployment.create(topics, broker, own_redis.url, group_id, tmp_path)
    deployment.settings |= CHAOS
    return deployment


@contextmanager
def again_and_again(fault: Callable[[], bool], pause_s: float) -> Iterator[list[float]]:
    """Try ``fault`` in a thread, every ``pause_s`` seconds, until the block ends; yield the times that it was done."""
    over, times = threading.Event(), list[float]()

    def repeat() -> None:
        while not over.wait(pause_s):
            if fault():
                times.append(time.monotonic())

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield times
    finally:
        over.set()
        thread.join()


def half_scored(deployment: Deployment, scorer: Scorer) -> None:
    produce(deployment.bootstrap, deployment.input_topic, traffic(EVENTS // 2, users=300, seed=1))
    deployment.wait_until_scored([scorer])


def other_half(deployment: Deployment) -> None:
    produce(deployment.bootstrap, deployment.input_topic, traffic(EVENTS // 2, users=300, seed=2))


def finished(deployment: Deployment, scorer: Scorer, bundle: LoadedBundle) -> None:
    """Hold the end against the oracle, after the scorer has said that it is ready again."""
    deployment.wait_until_scored([scorer])
    until(lambda: scorer.get("/readyz")[0] == 200, 30, "not ready again", scorer)
    assert scorer.stop() == 0
    judged(bundle, deployment, EVENTS)


def refused_for_a_while(
    deployment: Deployment, client: redis.Redis, begin: Callable[[], object], end: Callable[[], object]
) -> Scorer:
    """Let Redis refuse writes while there is work; return the scorer once Redis accepts them again."""
    scorer = deployment.scorer().wait_until_ready()
    half_scored(deployment, scorer)
    begin()
    note("Redis refuses writes")
    other_half(deployment)
    until(lambda: scorer.get("/readyz")[0] == 503, 30, "ready while its windows cannot be saved", scorer)
    before = client.dbsize()
    time.sleep(1)  # the state has to hold, not only to come up
    assert scorer.get("/readyz")[0] == 503
    assert scorer.process.running
    assert client.dbsize() == before
    end()
    return scorer


def test_flushall_again_and_again_at_full_load(deployment: Deployment, bundle: LoadedBundle) -> None:
    """Every FLUSHALL finds some batch between its read, its commit and its save.

    Without the mark read in the same MGET as the windows, an emptied Redis would look like users without history:
    their scores would be those of short windows. Without the compare in the save, a batch would put its own few
    windows, and its mark, where all the others are missing.
    """
    limit_s = 10.0  # it is no outage: batches get through in between
    deployment.settings["TENFOLD_OUTAGE_LIMIT_S"] = str(limit_s)
    scorers = [deployment.scorer().wait_until_ready(), deployment.scorer().wait_until_ready()]
    client, counts = redis.Redis.from_url(deployment.redis_url), [0.0, 0.0]

    def flush() -> bool:
        """Empty Redis, if each scorer has got something through since the last time."""
        now = [scorer.metric("tenfold_events_total") for scorer in scorers]
        if any(count <= before for count, before in zip(now, counts, strict=True)):
            return False
        client.flushall()
        counts[:] = [scorer.metric("tenfold_events_total") for scorer in scorers]
        return True

    with client, again_and_again(flush, 0.7) as times:
        for seed in itertools.count(1):
            produce(deployment.bootstrap, deployment.input_topic, traffic(1_000, users=300, seed=seed), rate=500)
            if len(times) >= 12 and times[-1] - times[0] > limit_s:
                break
    note("FLUSHALL", len(times))
    # what is lost while nothing comes in is noticed by the next batch
    produce(deployment.bootstrap, deployment.input_topic, traffic(1_000, users=300, seed=0))
    deployment.wait_until_scored(scorers)
    assert [scorer.stop() for scorer in scorers] == [0, 0]
    judged(bundle, deployment, 1_000 * (seed + 1))


@pytest.mark.parametrize("appendonly", [False, pytest.param(True, marks=pytest.mark.long)])
def test_redis_is_killed_and_comes_back(
    own: Deployment, own_redis: RedisServer, bundle: LoadedBundle, appendonly: bool
) -> None:
    """Away for some seconds, the scorer says that it is not ready; then it goes on, with or without what Redis kept.

    Without the rebuild, a Redis that comes back empty would mean short windows; without going back to the table, the
    batch that was published but not saved would be missing in them.
    """
    own_redis.start(appendonly=appendonly)
    scorer = own.scorer().wait_until_ready()
    half_scored(own, scorer)
    produce(own.bootstrap, own.input_topic, traffic(EVENTS // 2, users=300, seed=2))
    own_redis.kill()
    note("kill -9 of Redis")
    until(lambda: scorer.get("/readyz")[0] == 503, 30, "ready without Redis", scorer)
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        assert scorer.get("/readyz")[0] == 503
        time.sleep(0.1)
    own_redis.restart()
    finished(own, scorer, bundle)


def test_without_traffic_a_redis_that_is_away_is_noticed_too(own: Deployment, own_redis: RedisServer) -> None:
    """Without a look at Redis between batches, ``/readyz`` would promise what the next batch cannot keep."""
    own_redis.start()
    scorer = own.scorer().wait_until_ready()
    own_redis.kill()
    note("kill -9 of Redis")
    until(lambda: scorer.get("/readyz")[0] == 503, 15, "ready without Redis", scorer)
    own_redis.restart()
    until(lambda: scorer.get("/readyz")[0] == 200, 15, "not ready with Redis back", scorer)
    assert scorer.stop() == 0


@pytest.mark.long
def test_client_pause(deployment: Deployment, bundle: LoadedBundle) -> None:
    """A Redis that answers after the client has given up may have done what it was asked.

    Without the script's yes to a mark that is already where it should be, the retried save would look like a conflict.
    """
    deployment.settings["TENFOLD_REDIS__socket_timeout"] = "0.5"
    scorer = deployment.scorer().wait_until_ready()
    half_scored(deployment, scorer)
    with redis.Redis.from_url(deployment.redis_url) as client:
        for seed, mode in ((2, False), (3, True)):
            produce(deployment.bootstrap, deployment.input_topic, traffic(EVENTS // 4, users=300, seed=seed))
            client.client_pause(2_000, all=mode)
            note("CLIENT PAUSE")
            time.sleep(3)
    finished(deployment, scorer, bundle)


def test_redis_without_enough_replicas_refuses_writes(
    own: Deployment, own_redis: RedisServer, bundle: LoadedBundle
) -> None:
    """Nothing is scored on windows that cannot be saved. Without that, publishing would run ahead of the windows."""
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        scorer = refused_for_a_while(
            own,
            client,
            lambda: client.config_set("min-replicas-to-write", 1),
            lambda: client.config_set("min-replicas-to-write", 0),
        )
    finished(own, scorer, bundle)


@pytest.mark.long
def test_redis_becomes_a_replica_and_a_master_again(
    own: Deployment, own_redis: RedisServer, bundle: LoadedBundle
) -> None:
    """As in a failover that is undone: it can be read and not written for a while."""
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        scorer = refused_for_a_while(
            own,
            client,
            lambda: client.execute_command("REPLICAOF", "127.0.0.1", "1"),
            lambda: client.execute_command("REPLICAOF", "NO", "ONE"),
        )
    finished(own, scorer, bundle)


def test_redis_is_out_of_memory(own: Deployment, own_redis: RedisServer, bundle: LoadedBundle) -> None:
    """``noeviction`` refuses the save. Without all of it in one script, some windows would be set and others not."""
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        scorer = refused_for_a_while(
            own, client, lambda: client.config_set("maxmemory", 1), lambda: client.config_set("maxmemory", 0)
        )
    finished(own, scorer, bundle)


def test_an_older_snapshot_is_restored(own: Deployment, own_redis: RedisServer, bundle: LoadedBundle) -> None:
    """A failover to a replica that had not received the last writes looks the same.

    Without the mark, or with a mark beside windows of another time, the windows would miss what came after the
    snapshot, and every later score of these users would be wrong.
    """
    own_redis.start("--dbfilename", "dump.rdb")
    data = own.directory / "redis"
    scorer = own.scorer().wait_until_ready()
    produce(own.bootstrap, own.input_topic, traffic(EVENTS // 3, users=300, seed=1))
    own.wait_until_scored([scorer])
    with redis.Redis.from_url(own_redis.url) as client:
        client.save()
    shutil.copy(data / "dump.rdb", data / "older.rdb")
    produce(own.bootstrap, own.input_topic, traffic(EVENTS // 3, users=300, seed=2))
    own.wait_until_scored([scorer])
    own_redis.kill()
    note("kill -9 of Redis")
    shutil.copy(data / "older.rdb", data / "dump.rdb")
    own_redis.restart()
    produce(own.bootstrap, own.input_topic, traffic(EVENTS // 3, users=300, seed=3))
    finished(own, scorer, bundle)
    assert '"cause": "windows-behind"' in scorer.log_text


@pytest.mark.long
def test_redis_is_stopped_and_goes_on(own: Deployment, own_redis: RedisServer, bundle: LoadedBundle) -> None:
    """A Redis that hangs does not close connections; without a time limit on the socket the scorer would hang too."""
    own.settings["TENFOLD_REDIS__socket_timeout"] = "1"
    own_redis.start()
    scorer = own.scorer().wait_until_ready()
    half_scored(own, scorer)
    os.kill(own_redis.pid, signal.SIGSTOP)
    note("SIGSTOP of Redis")
    other_half(own)
    until(lambda: scorer.get("/readyz")[0] == 503, 30, "ready without Redis", scorer)
    os.kill(own_redis.pid, signal.SIGCONT)
    finished(own, scorer, bundle)
