"""A deployment of its own for each test: topics, group, Redis keys."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.bundle import LoadedBundle, load_bundle, starter
from tests.conftest import GivenKafka, OwnKafka
from tests.processes import free_port
from tests.scorers import Deployment
from tests.shells import PageShell
from tests.topics import Topics


@pytest.fixture(scope="session")
def bundle() -> LoadedBundle:
    """The starter that scorers of tests score with."""
    return load_bundle(starter("default"))


@pytest.fixture
def deployment(
    topics: Topics, kafka: OwnKafka | GivenKafka, redis_url: str, group_id: str, tmp_path: Path
) -> Iterator[Deployment]:
    """Three partitions, no scorer yet; what its scorers said is shown beside a failure."""
    created = Deployment.create(topics, kafka.bootstrap, redis_url, group_id, tmp_path)
    yield created
    for number, scorer in enumerate(created.scorers):
        print(f"--- scorer {number}:\n{scorer.log_text[-3000:]}")


@pytest.fixture
def shell(deployment: Deployment, topics: Topics) -> PageShell:
    """Types blocks of pages at the deployment."""
    labels = topics.create("fraud-labels")
    return PageShell(deployment, TENFOLD_LABELS_TOPIC=labels, TENFOLD_METRICS_PORT=str(free_port()))
