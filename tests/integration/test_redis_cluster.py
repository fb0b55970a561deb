"""A Redis Cluster while slots move, and what is asked of all its primaries."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.crc import key_slot

from models.window import Windows
from stream.redis_client import open_redis, ping, round_trip
from stream.redis_cluster import Cluster, Command
from stream.redis_url import split_redis_url
from stream.window_store import Load, Mark, Save, WindowStore
from tests.brokers import RedisServer
from tests.processes import free_port
from tests.redis_servers import RedisNodes

pytestmark = pytest.mark.broker

PARTITIONS = range(8)
USERS = [b"user-%d" % number for number in range(50)]
START = Mark("topic-id", "epoch", 0)


@pytest.fixture
def client(redis_nodes: RedisNodes) -> Iterator[Cluster]:
    with open_redis(split_redis_url(redis_nodes.url), {}) as client:
        assert isinstance(client, Cluster)
        yield client


@pytest.fixture
def store(client: Cluster, group_id: str) -> WindowStore:
    """With windows of the same users in every partition."""
    store = WindowStore(client, group_id, "transactions", 10, ttl_s=1000)
    assert store.save([Save(partition, None, START, USERS, windows()) for partition in PARTITIONS]) == [True] * 8
    return store


def windows() -> Windows:
    made = Windows.empty(len(USERS))
    made.lengths[:] = 1
    return made


def slot_of(store: WindowStore, partition: int) -> int:
    return key_slot(f"tenfold:{{{store.group_id}:transactions:{partition}}}:mark".encode())


def advance(store: WindowStore, before: Mark) -> Mark:
    """Move every partition by an offset, windows included, and read all of them again."""
    after = before._replace(offset=before.offset + 1)
    assert store.save([Save(each, before, after, USERS, windows()) for each in PARTITIONS]) == [True] * 8
    for loaded in store.load([Load(each, "epoch", [*USERS, b"nobody"]) for each in PARTITIONS]):
        assert loaded.mark == after
        assert loaded.windows.lengths.tolist() == [1] * 50 + [0]
    return after


def test_partitions_are_on_several_nodes_and_go_on_where_their_slots_go(
    store: WindowStore, redis_nodes: RedisNodes
) -> None:
    mark = advance(store, START)
    homes = {redis_nodes.of_slot(slot_of(store, partition)) for partition in PARTITIONS}
    assert len(homes) > 1, "the case of one node is the other file's"
    for partition in PARTITIONS:  # to where the script may not have been, too
        slot = slot_of(store, partition)
        redis_nodes.migrate(slot, (redis_nodes.of_slot(slot) + 1) % 3)
        mark = advance(store, mark)


def test_a_partition_whose_slot_is_on_its_way_waits_and_the_others_do_not(
    store: WindowStore, redis_nodes: RedisNodes
) -> None:
    slot = slot_of(store, 0)
    source = redis_nodes.of_slot(slot)
    to = (source + 1) % 3
    redis_nodes.open(slot, source, to)
    assert redis_nodes.move_keys(slot, source, to, len(USERS) // 2) == len(USERS) // 2
    behind = START._replace(offset=1)

    with pytest.raises(redis.RedisError):
        store.load([Load(each, "epoch", USERS) for each in PARTITIONS])
    with pytest.raises(redis.RedisError):
        store.save([Save(each, START, behind, USERS, windows()) for each in PARTITIONS])
    assert [store.mark(each) for each in PARTITIONS] == [START, *[behind] * 7]

    redis_nodes.migrate(slot, to)
    assert store.save([Save(0, START, behind, USERS, windows())]) == [True]
    advance(store, behind)


def test_commands_of_one_key_go_through_while_its_slot_is_on_its_way(
    client: Cluster, group_id: str, redis_nodes: RedisNodes
) -> None:
    keys = [f"{{{group_id}}}:{number}".encode() for number in range(20)]
    ask: list[Command] = [("HMGET", key, "field") for key in keys]
    round_trip(client, [("HSET", key, "field", number) for number, key in enumerate(keys)])
    slot = key_slot(group_id.encode())
    source = redis_nodes.of_slot(slot)
    to = (source + 1) % 3
    redis_nodes.open(slot, source, to)
    for moved in (0, 7, 20):
        redis_nodes.move_keys(slot, source, to, moved)
        assert round_trip(client, ask) == [[b"%d" % number] for number in range(20)]
    redis_nodes.migrate(slot, to)
    assert round_trip(client, ask) == [[b"%d" % number] for number in range(20)]


def test_an_epoch_is_dropped_where_it_is_and_no_other_partitions(store: WindowStore) -> None:
    assert [store.drop_epoch(partition, "epoch") for partition in (0, 1)] == [50, 50]
    loaded = store.load([Load(partition, "epoch", USERS) for partition in PARTITIONS])
    assert [int(each.windows.lengths.sum()) for each in loaded] == [0, 0, *[50] * 6]


@pytest.fixture
def own_nodes(tmp_path: Path) -> Iterator[RedisNodes]:
    nodes = RedisNodes(tmp_path)
    nodes.start()
    yield nodes
    nodes.discard()


def score(redis_url: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Start a scorer that gets no further than to Kafka, where nobody is."""
    given = {"TENFOLD_REDIS_URL": redis_url, "TENFOLD_BOOTSTRAP_SERVERS": "127.0.0.1:1", **settings}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TENFOLD_")}
    command = [sys.executable, "-m", "stream", "score"]
    return subprocess.run(command, env=environment | given, capture_output=True, text=True, check=False, timeout=240)


def test_every_primary_is_asked_whether_it_answers_and_whether_it_evicts(own_nodes: RedisNodes) -> None:
    refused = score(own_nodes.url)
    assert "Kafka" in refused.stderr, "so far all is well"
    assert "asked as one server" not in refused.stderr
    assert "asked as one server" in score(f"redis://127.0.0.1:{own_nodes.nodes[0].port}").stderr
    own_nodes.client(2).config_set("maxmemory-policy", "allkeys-lru")
    refused = score(own_nodes.url)
    assert refused.returncode == 1
    assert "has maxmemory-policy allkeys-lru" in refused.stderr

    with open_redis(split_redis_url(own_nodes.url), {}) as client:
        ping(client)
        own_nodes.nodes[2].kill()
        with pytest.raises(redis.RedisError):
            ping(client)
    assert_says_where(score(own_nodes.url, TENFOLD_ALLOW_EVICTION="true"), own_nodes.url)


def test_a_cluster_that_was_away_is_found_again(own_nodes: RedisNodes, group_id: str) -> None:
    with open_redis(split_redis_url(own_nodes.url), {}) as client:
        store = WindowStore(client, group_id, "transactions", 10, ttl_s=1000)
        assert store.save([Save(each, None, START, USERS, windows()) for each in PARTITIONS]) == [True] * 8
        for node in own_nodes.nodes:
            node.kill()
        for ask in (store.ping, lambda: store.mark(0), lambda: store.load([Load(0, "epoch", USERS)])):
            with pytest.raises(redis.RedisError):
                ask()
        for node in own_nodes.nodes:
            node.restart()
        own_nodes.wait_until_in_order()
        assert [store.mark(each) for each in PARTITIONS] == [None] * 8
        assert store.save([Save(each, None, START, USERS, windows()) for each in PARTITIONS]) == [True] * 8


def test_a_cluster_that_is_none_or_away_ends_the_start_with_a_word(own_redis: RedisServer) -> None:
    own_redis.start()
    none = score(f"redis+cluster://127.0.0.1:{own_redis.port}")
    assert none.returncode == 1
    assert "Cluster mode is not enabled on this node" in none.stderr
    away = score(f"redis+cluster://scorer:hunter2@127.0.0.1:{free_port()}")
    assert away.returncode == 1
    assert "redis+cluster://****@127.0.0.1" in away.stderr
    assert "hunter2" not in away.stderr
    unknown = score(f"redis+cluster://127.0.0.1:{own_redis.port}", TENFOLD_REDIS__SOCKET_TIMEOUTS="3")
    assert unknown.returncode == 2
    assert "TENFOLD_REDIS__SOCKET_TIMEOUTS is no option of redis-py's client" in unknown.stderr


def assert_says_where(told: "subprocess.CompletedProcess[str]", url: str) -> None:
    assert told.returncode == 1
    assert f"Redis at {url} does not answer" in told.stderr
