"""A table waits until the archiver has passed midnight on every partition."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from models.context import ProfileDefinition
from stream.settings import Settings
from stream.topics import topic_id
from tests.conftest import GivenKafka, OwnKafka
from tests.topics import Topics
from training.archive import open_archive
from training.profiles_run import NotDueError, Publisher
from training.profiles_wait import partitions_behind

pytestmark = pytest.mark.broker

MIDNIGHT_MS = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * 1000


class Log:
    """Two topics with two partitions each, and an archiver's offsets."""

    def __init__(self, topics: Topics, bootstrap: str, group_id: str) -> None:
        # retention would delete records of 2026 once that is long ago
        names = {name: topics.create(name, 2, {"retention.ms": "-1"}) for name in ("transactions", "fraud-labels")}
        self.transactions, self.labels = names["transactions"], names["fraud-labels"]
        self.settings = Settings(
            bootstrap_servers=bootstrap, group_id=group_id, input_topic=self.transactions, labels_topic=self.labels
        )
        self._producer = Producer({"bootstrap.servers": bootstrap})
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._archiver = Consumer({"bootstrap.servers": bootstrap, "group.id": f"{group_id}-archive"})

    def write(self, topic: str, partition: int, at_ms: int) -> None:
        self._producer.produce(topic, b"{}", partition=partition, timestamp=at_ms)
        assert self._producer.flush(30) == 0

    def archive(self, topic: str, partition: int, offset: int) -> None:
        metadata = topic_id(self._admin, topic, 10)
        self._archiver.commit(offsets=[TopicPartition(topic, partition, offset, metadata)], asynchronous=False)

    def behind(self) -> list[str]:
        return partitions_behind(self.settings, [self.transactions, self.labels], MIDNIGHT_MS)


@pytest.fixture
def log(topics: Topics, kafka: OwnKafka | GivenKafka, group_id: str) -> Log:
    return Log(topics, kafka.bootstrap, group_id)


def test_a_partition_is_behind_until_what_is_from_before_midnight_is_archived(log: Log) -> None:
    assert log.behind() == []
    log.write(log.transactions, 0, MIDNIGHT_MS - 1)
    log.write(log.transactions, 0, MIDNIGHT_MS)
    log.write(log.transactions, 1, MIDNIGHT_MS)
    log.write(log.labels, 1, MIDNIGHT_MS - 5)
    assert log.behind() == [f"{log.transactions}/0", f"{log.labels}/1"]
    log.archive(log.labels, 1, 1)
    assert log.behind() == [f"{log.transactions}/0"]
    log.archive(log.transactions, 0, 1)
    assert log.behind() == []


def test_what_was_archived_of_a_topic_of_that_name_before_does_not_count(log: Log) -> None:
    log.write(log.transactions, 0, MIDNIGHT_MS - 1)
    log._archiver.commit(offsets=[TopicPartition(log.transactions, 0, 1, "another-id")], asynchronous=False)
    assert log.behind() == [f"{log.transactions}/0"]


def test_a_day_that_has_not_begun_has_no_table(log: Log, tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    paris = ProfileDefinition("Europe/Paris", 7)
    publisher = Publisher(log.settings, archive, archive, paris, None, lambda: MIDNIGHT_MS / 1000 - 3601)  # type: ignore[arg-type]
    march = datetime(2026, 3, 1, tzinfo=UTC).date()
    with pytest.raises(NotDueError, match="2026-03-01 has not begun in Europe/Paris"):
        publisher.behind(march)
    assert Publisher(log.settings, archive, archive, paris, None, lambda: MIDNIGHT_MS / 1000 - 3600).behind(march) == []  # type: ignore[arg-type]
