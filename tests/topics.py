"""Topics with names of their own, so that tests share a broker and nothing else."""

import time
import uuid
from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

_TIMEOUT_S = 30.0


class Topics:
    """The topics of one test."""

    def __init__(self, bootstrap: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._suffix = uuid.uuid4().hex[:8]
        self._names: list[str] = []

    def create(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        """Create ``<name>-<the test's suffix>`` with one replica and return that name once the broker serves it.

        Raises:
            KafkaException: the broker refused the topic.
            TimeoutError: the topic did not show up within 30 s.
        """
        full_name = f"{name}-{self._suffix}"
        topic = NewTopic(full_name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
        self._admin.create_topics([topic])[full_name].result(_TIMEOUT_S)
        self._names.append(full_name)
        deadline = time.monotonic() + _TIMEOUT_S
        while not is_served(self._admin, full_name, partitions):
            if time.monotonic() > deadline:
                raise TimeoutError(f"topic {full_name} was created but has no leaders after {_TIMEOUT_S:g} s")
            time.sleep(0.02)
        return full_name

    def delete_all(self) -> None:
        """Delete what this object created."""
        if self._names:
            for deleted in self._admin.delete_topics(self._names).values():
                deleted.result(_TIMEOUT_S)
            self._names.clear()


def grow(admin: AdminClient, topic: str, partitions: int) -> None:
    """Add partitions to a topic, up to ``partitions``, and return once the broker serves them.

    Raises:
        TimeoutError: they did not show up within 30 s.
    """
    admin.create_partitions([NewPartitions(topic, partitions)])[topic].result(_TIMEOUT_S)
    deadline = time.monotonic() + _TIMEOUT_S
    while not is_served(admin, topic, partitions):
        if time.monotonic() > deadline:
            raise TimeoutError(f"topic {topic} has no leaders for {partitions} partitions after {_TIMEOUT_S:g} s")
        time.sleep(0.02)


def create_again(admin: AdminClient, topic: str, partitions: int) -> None:
    """Create a topic of the name of one that has just been deleted, and return once the broker serves it.

    Raises:
        KafkaException: the broker refused the topic.
        TimeoutError: the old one is not gone, or the new one not there, after 30 s.
    """
    deadline = time.monotonic() + _TIMEOUT_S
    new, created = NewTopic(topic, num_partitions=partitions, replication_factor=1), False
    while not (created and is_served(admin, topic, partitions)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"topic {topic} could not be made again within {_TIMEOUT_S:g} s")
        try:
            created = created or admin.create_topics([new])[topic].result(_TIMEOUT_S) is None
        except KafkaException as error:  # it takes a while until the old one is gone
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
        time.sleep(0.02)


def is_served(admin: AdminClient, topic: str, partitions: int) -> bool:
    """Say whether the topic has so many partitions, and each a leader."""
    found = admin.list_topics(timeout=_TIMEOUT_S).topics.get(topic)
    return (
        found is not None
        and len(found.partitions) == partitions
        and all(partition.leader >= 0 for partition in found.partitions.values())
    )


def has_metadata(admin: AdminClient) -> bool:
    """Say whether the broker answers within a second."""
    try:
        return bool(admin.list_topics(timeout=1).brokers)
    except KafkaException:
        return False
