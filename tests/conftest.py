"""Real parts for the tests that are marked ``broker``.

Kafka and Redis are the ones named in the environment, else ones that these fixtures start. Where there are none the
tests are skipped and the run's last lines say so; with ``CI=true`` they fail.
"""

import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import redis

from tests.brokers import RedisServer
from tests.kafka_here import OwnKafka, new_kafka
from tests.kafka_jars import PartMissingError
from tests.redis_servers import RedisNodes
from tests.topics import Topics

_MISSING = pytest.StashKey[dict[str, str]]()


class GivenKafka:
    """The broker in ``TENFOLD_TEST_BOOTSTRAP_SERVERS``. It is not the tests' own: it cannot be stopped or killed."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap


class GivenRedis:
    """The server in ``TENFOLD_TEST_REDIS_URL``. It is not the tests' own: it is not flushed, stopped or killed."""

    def __init__(self, url: str) -> None:
        self.url = url


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[OwnKafka | GivenKafka]:
    """A broker for the whole run, at ``kafka.bootstrap``."""
    given = os.environ.get("TENFOLD_TEST_BOOTSTRAP_SERVERS")
    if given:
        yield GivenKafka(given)
        return
    with tempfile.TemporaryDirectory(prefix="tenfold-kafka-") as directory:
        broker = _new_kafka(Path(directory), request.config)
        broker.start()
        yield broker
        broker.discard()


@pytest.fixture(scope="session")
def redis_server(request: pytest.FixtureRequest) -> Iterator[RedisServer | GivenRedis]:
    """A Redis for the whole run, at ``redis_server.url``."""
    given = os.environ.get("TENFOLD_TEST_REDIS_URL")
    if given:
        yield GivenRedis(given)
        return
    with tempfile.TemporaryDirectory(prefix="tenfold-redis-") as directory:
        server = _new_redis(Path(directory), request.config)
        server.start()
        yield server
        server.discard()


@pytest.fixture
def own_kafka(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OwnKafka]:
    """A started broker of the test's own, to be stopped, killed and restarted."""
    broker = _new_kafka(tmp_path, request.config)
    broker.start()
    yield broker
    broker.discard()


@pytest.fixture
def own_redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, not started yet: the test says what it keeps."""
    server = _new_redis(tmp_path, request.config)
    yield server
    server.discard()


@pytest.fixture
def redis_url(redis_server: RedisServer | GivenRedis) -> str:
    """The address of an empty Redis; a given one is left as it is, and ``group_id`` keeps keys apart there."""
    if isinstance(redis_server, RedisServer):
        with redis.Redis.from_url(redis_server.url) as client:
            client.flushall()
    return redis_server.url


@pytest.fixture(scope="session")
def redis_nodes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisNodes]:
    """A Redis Cluster for the whole run, without replicas; ``group_id`` keeps keys apart there."""
    try:
        nodes = RedisNodes(tmp_path_factory.mktemp("nodes"))
    except PartMissingError as missing:
        _do_without(request.config, "Redis", str(missing))
    nodes.start()
    yield nodes
    nodes.discard()


@pytest.fixture
def topics(kafka: OwnKafka | GivenKafka) -> Iterator[Topics]:
    """Create topics that no other test sees: ``topics.create("transactions", partitions=3)`` returns the full name."""
    made = Topics(kafka.bootstrap)
    yield made
    made.delete_all()


@pytest.fixture
def group_id() -> str:
    """A consumer group that no other test uses."""
    return f"tenfold-{uuid.uuid4().hex[:12]}"


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around pytest's own summary, so that this stands behind it
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> Iterator[None]:
    """Say at the end which real part was missing."""
    yield
    for part, reason in config.stash.get(_MISSING, {}).items():
        terminalreporter.write_line(f"real {part} tests were skipped: {reason}", yellow=True)


def _new_kafka(directory: Path, config: pytest.Config) -> OwnKafka:
    try:
        return new_kafka(directory)
    except PartMissingError as missing:
        _do_without(config, "Kafka", f"{missing}, or set TENFOLD_TEST_BOOTSTRAP_SERVERS")


def _new_redis(directory: Path, config: pytest.Config) -> RedisServer:
    try:
        return RedisServer(directory)
    except PartMissingError as missing:
        _do_without(config, "Redis", str(missing))


def _do_without(config: pytest.Config, part: str, reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI needs a real {part}: {reason}", pytrace=False)
    config.stash.setdefault(_MISSING, {})[part] = reason
    pytest.skip(f"no real {part}: {reason}")
