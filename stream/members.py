"""Who is in a consumer group, as Kafka knows it."""

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

_CALL_S = 10.0
_AGAIN_S = 0.2
_SOON = {  # a broker that has just begun to keep groups
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
}


class Member(NamedTuple):
    """One of a group: what it calls itself, where it runs, and the partitions that it holds, by topic."""

    client_id: str
    host: str
    partitions: Mapping[str, list[int]]


def look_at_members(admin: AdminClient, group: str) -> list[Member]:
    """Return who is in the group; nobody where nobody has scored for it. In a rebalance nobody holds a partition.

    Raises:
        KafkaException: Kafka does not say, or not to this account.
    """
    deadline = time.monotonic() + _CALL_S
    while True:
        try:
            told = admin.describe_consumer_groups([group], request_timeout=_CALL_S)[group].result()
        except KafkaException as failed:
            if failed.args[0].code() not in _SOON or time.monotonic() > deadline:
                raise
        else:
            return [
                Member(each.client_id, each.host.removeprefix("/"), _by_topic(each.assignment.topic_partitions))
                for each in told.members
            ]
        time.sleep(_AGAIN_S)


def _by_topic(held: Iterable[TopicPartition]) -> dict[str, list[int]]:
    partitions: dict[str, list[int]] = {}
    for each in sorted(held):
        partitions.setdefault(each.topic, []).append(each.partition)
    return partitions
