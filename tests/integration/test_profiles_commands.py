"""``tenfold profiles``, as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from models.context import ProfileDefinition
from stream.profile_layout import ProfileIndex, ProfileKeys
from stream.topics import topic_id
from tests.conftest import GivenKafka, OwnKafka
from tests.processes import ChildProcess, free_port, http_get
from tests.profile_archives import archive_past
from tests.profile_reference import random_past
from tests.topics import Topics
from training.archive import open_archive
from training.profiles import Topics as ProfileTopics

pytestmark = pytest.mark.broker

FIRST = date(2026, 2, 20)
DAY = FIRST + timedelta(days=40)


class Place:
    """Topics, a group, an archive with a random past, and the environment of commands."""

    def __init__(self, topics: Topics, bootstrap: str, redis_url: str, group_id: str, directory: Path) -> None:
        self.bootstrap, self.redis_url, self.group_id, self.directory = bootstrap, redis_url, group_id, directory
        self.transactions, self.labels = topics.create("transactions", 2), topics.create("fraud-labels", 1)
        self.metrics_port = free_port()
        self.archive = directory / "archive"
        archive_past(random_past(1, "UTC", 7, FIRST, 70, 200), open_archive(str(self.archive)), self.topics)
        self.environment = {
            "TENFOLD_BOOTSTRAP_SERVERS": bootstrap,
            "TENFOLD_REDIS_URL": redis_url,
            "TENFOLD_GROUP_ID": group_id,
            "TENFOLD_INPUT_TOPIC": self.transactions,
            "TENFOLD_LABELS_TOPIC": self.labels,
            "TENFOLD_METRICS_PORT": str(self.metrics_port),
            "TENFOLD_ARCHIVE": str(self.archive),
        }

    @property
    def topics(self) -> ProfileTopics:
        return ProfileTopics(self.transactions, self.labels)

    def command(self, *arguments: str) -> list[str]:
        assignments = [f"{name}={value}" for name, value in self.environment.items()]
        return ["env", *assignments, sys.executable, "-m", "stream", "profiles", *arguments]

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TENFOLD_")}
        return subprocess.run(
            self.command(*arguments), env=inherited, capture_output=True, text=True, check=False, timeout=120
        )

    def index(self) -> ProfileIndex:
        keys = ProfileKeys(self.transactions, ProfileDefinition("UTC", 7))  # those of the starter
        with redis.Redis.from_url(self.redis_url) as client:
            return ProfileIndex.model_validate_json(client.get(keys.index) or b"{}")

    def get(self, path: str) -> tuple[int, str]:
        return http_get(self.metrics_port, path)


@pytest.fixture
def place(topics: Topics, kafka: OwnKafka | GivenKafka, redis_url: str, group_id: str, tmp_path: Path) -> Place:
    return Place(topics, kafka.bootstrap, redis_url, group_id, tmp_path)


def test_a_table_is_built_and_published_and_again_nothing_changes(place: Place) -> None:
    built = json.loads(place.run("build", "--as-of", DAY.isoformat(), "--json").stdout)
    assert (built["merchants"], built["users"], built["day"]) == (5, 6, DAY.isoformat())
    assert built["summary"]["labels_of_unknown"] > 0
    assert built["summary"]["contradicting_labels"] > 0
    table = place.directory / "profiles" / "UTC+7d" / f"day={DAY}" / "profiles.parquet"
    bytes_before = table.read_bytes()

    first = place.run("publish", "--as-of", DAY.isoformat(), "--force", "--json")
    assert first.returncode == 0, first.stderr
    [named] = place.index().tables
    assert (named.day, named.version) == (DAY, json.loads(first.stdout)["published"]["version"])
    again = place.run("publish", "--as-of", DAY.isoformat(), "--force")
    assert "had been published already" in again.stdout
    assert place.index().tables == (named,)
    assert table.read_bytes() == bytes_before


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["build", "--as-of", "yesterday"], 2, "--as-of yesterday: give a day such as"),
        (["publish", "--as-of", "2999-01-01"], 1, "2999-01-01 has not begun in UTC"),
        (["run", "--every", "90m"], 2, "--every '90m' is not a number of whole days"),
        (["build", "--to", "nowhere://x"], 1, "nowhere://x is not a place for an archive"),
    ],
)
def test_what_cannot_be_is_one_line(place: Place, arguments: list[str], code: int, words: str) -> None:
    refused = place.run(*arguments)
    assert (refused.returncode, refused.stderr.count("\n")) == (code, 1), refused.stderr
    assert words in refused.stderr


def test_a_corrupt_file_of_the_archive_is_named(place: Place) -> None:
    before = [
        path for path in (place.archive / place.transactions).rglob("*.parquet") if path.parent.name < f"date={DAY}"
    ]
    file = max(before)
    file.write_bytes(file.read_bytes()[:-20])
    refused = place.run("build", "--as-of", DAY.isoformat())
    assert refused.returncode == 1
    assert file.name in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_service_waits_for_the_archiver_publishes_and_stops(place: Place) -> None:
    producer = Producer({"bootstrap.servers": place.bootstrap})
    producer.produce(place.transactions, b"{}", partition=1, timestamp=int(time.time() * 1000) - 2 * 86_400_000)
    assert producer.flush(30) == 0
    service = ChildProcess(place.command("run"), place.directory / "profiles.log")
    service.wait_until(lambda: "tenfold_profiles_partitions_behind 1.0" in place.get("/metrics")[1], 60)
    assert place.get("/readyz")[0] == 503
    assert place.index().tables == ()

    archiver = Consumer({"bootstrap.servers": place.bootstrap, "group.id": f"{place.group_id}-archive"})
    metadata = topic_id(AdminClient({"bootstrap.servers": place.bootstrap}), place.transactions, 10)
    archiver.commit(offsets=[TopicPartition(place.transactions, 1, 1, metadata)], asynchronous=False)
    archiver.close()

    service.wait_until(lambda: place.get("/readyz")[0] == 200, 90)
    assert len(place.index().tables) == 1
    assert "tenfold_profiles_errors_total 0.0" in place.get("/metrics")[1]
    assert service.end(signal.SIGTERM) == 0
