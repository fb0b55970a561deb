"""The real Kafka and Redis that other tests stand on do what those tests take for granted."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
from confluent_kafka import Producer

from tests.brokers import KafkaBroker, RedisServer
from tests.conftest import GivenKafka, OwnKafka
from tests.oracle import read_topic
from tests.processes import accepts_connections
from tests.topics import Topics

pytestmark = pytest.mark.broker


def committed_values(bootstrap: str, topic: str) -> list[bytes | None]:
    return [record.value() for record in read_topic(bootstrap, topic)]


def transactional_producer(bootstrap: str, transactional_id: str) -> Producer:
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": transactional_id})
    producer.init_transactions(30)
    return producer


def test_read_committed_shows_a_committed_transaction_and_hides_an_aborted_one(
    kafka: OwnKafka | GivenKafka, topics: Topics, group_id: str
) -> None:
    topic = topics.create("scores")
    producer = transactional_producer(kafka.bootstrap, group_id)
    for value, end in [(b"kept", producer.commit_transaction), (b"dropped", producer.abort_transaction)]:
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(30)
        end(30)

    assert committed_values(kafka.bootstrap, topic) == [b"kept"]


def test_topics_of_one_name_are_apart_and_have_their_partitions(kafka: OwnKafka | GivenKafka, topics: Topics) -> None:
    other = Topics(kafka.bootstrap)
    try:
        one, two = topics.create("transactions", partitions=3), other.create("transactions", partitions=2)
        producer = Producer({"bootstrap.servers": kafka.bootstrap})
        found = producer.list_topics(timeout=30).topics
        assert [len(found[one].partitions), len(found[two].partitions)] == [3, 2]
    finally:
        other.delete_all()


def test_redis_runs_a_script_as_one_step(redis_url: str, group_id: str) -> None:
    compare_and_set = (
        "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) return 1 end return 0"
    )
    mark = f"tenfold:{{{group_id}}}:mark"
    with redis.Redis.from_url(redis_url) as client:
        client.set(mark, "4")
        assert [client.eval(compare_and_set, 1, mark, "4", "9"), client.eval(compare_and_set, 1, mark, "4", "7")] == [
            1,
            0,
        ]
        assert client.get(mark) == b"9"
        client.delete(mark)


def test_a_killed_broker_comes_back_with_its_address_and_its_data(own_kafka: OwnKafka) -> None:
    address, topic = own_kafka.bootstrap, Topics(own_kafka.bootstrap).create("scores")
    producer = transactional_producer(address, "writer")
    producer.begin_transaction()
    producer.produce(topic, b"kept")
    producer.commit_transaction(30)

    own_kafka.kill()
    own_kafka.restart()

    assert own_kafka.bootstrap == address
    assert committed_values(address, topic) == [b"kept"]


@pytest.mark.parametrize(("appendonly", "after"), [(True, b"kept"), (False, None)])
def test_a_killed_redis_keeps_what_it_was_told_to_keep(
    own_redis: RedisServer, appendonly: bool, after: bytes | None
) -> None:
    own_redis.start(appendonly=appendonly)
    with redis.Redis.from_url(own_redis.url) as client:
        client.set("key", "kept")
        own_redis.kill()
        own_redis.restart()
        assert client.get("key") == after


PARENT = """
import sys
from pathlib import Path
from tests.brokers import KafkaBroker, RedisServer
directory = Path(sys.argv[1])
broker, server = KafkaBroker(directory), RedisServer(directory)
broker.start()
server.start()
print(broker.bootstrap.rpartition(":")[2], server.url.rpartition(":")[2].partition("/")[0], flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_killed_test_run_leaves_no_broker_and_no_redis_behind(kafka: OwnKafka | GivenKafka, tmp_path: Path) -> None:
    if not isinstance(kafka, KafkaBroker):
        pytest.skip("the broker of this run is not a process of the tests")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        ports = [int(port) for port in parent.stdout.readline().split()]
        assert [accepts_connections(port) for port in ports] == [True, True]
        parent.kill()

    deadline = time.monotonic() + 10
    while any(map(accepts_connections, ports)):
        assert time.monotonic() < deadline, "the broker or Redis outlived the process that started it"
        time.sleep(0.02)
