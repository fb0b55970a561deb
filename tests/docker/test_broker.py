"""Where there is an engine, the broker of the integration tests is a container, on the compose file's own image."""

import pytest

from tests.conftest import GivenKafka, OwnKafka
from tests.kafka_docker import DockerBroker

pytestmark = pytest.mark.docker


def test_the_broker_of_the_integration_tests_is_a_container(kafka: OwnKafka | GivenKafka) -> None:
    if isinstance(kafka, GivenKafka):
        pytest.skip("TENFOLD_TEST_BOOTSTRAP_SERVERS says which broker is used")
    assert isinstance(kafka, DockerBroker)
