"""A deployment of its own for each test: topics, group, Redis keys."""

from pathlib import Path

import pytest

from models.bundle import LoadedBundle, load_bundle, starter
from tests.conftest import GivenKafka, OwnKafka
from tests.scorers import Deployment
from tests.topics import Topics


@pytest.fixture(scope="session")
def bundle() -> LoadedBundle:
    """The starter that scorers of tests score with."""
    return load_bundle(starter("default"))


@pytest.fixture
def deployment(
    topics: Topics, kafka: OwnKafka | GivenKafka, redis_url: str, group_id: str, tmp_path: Path
) -> Deployment:
    """Three partitions, no scorer yet."""
    return Deployment.create(topics, kafka.bootstrap, redis_url, group_id, tmp_path)
