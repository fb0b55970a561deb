"""Chaos tests use the integration tests' fixtures, with a group that notices a dead member soon."""

import pytest

from tests.brokers import RedisServer
from tests.conftest import GivenKafka, OwnKafka
from tests.integration.conftest import bundle as bundle  # noqa: PLC0414 - fixtures are found by name
from tests.integration.conftest import deployment as unhurried
from tests.scorers import Deployment

__all__ = ["bundle", "unhurried"]


@pytest.fixture
def redis_url(own_redis: RedisServer) -> str:
    """A Redis of the test's own: these tests empty it, which a Redis that somebody lent must not see."""
    own_redis.start()
    return own_redis.url


@pytest.fixture
def deployment(unhurried: Deployment) -> Deployment:
    """Three partitions; small batches, so that a fault finds many of them; short timeouts, so that a test may wait."""
    unhurried.settings |= CHAOS
    return unhurried


@pytest.fixture
def broker(kafka: OwnKafka | GivenKafka) -> str:
    """The shared broker's address."""
    return kafka.bootstrap


CHAOS = {
    "TENFOLD_BATCH_SIZE": "300",
    "TENFOLD_KAFKA__session.timeout.ms": "3000",
    "TENFOLD_KAFKA__heartbeat.interval.ms": "500",
    "TENFOLD_KAFKA__transaction.timeout.ms": "5000",
    "TENFOLD_LOG_LEVEL": "debug",
}
