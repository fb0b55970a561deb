"""Partitions that are added to the input topic.

Kafka places a key by the number of partitions, so when that grows, users move: their next events come on another
partition, where they have no window, while the old one stays behind. Nothing is lost by it, but scores are made on
short windows until ``tenfold reset --rebuild`` has brought the histories along.
"""

import logging
from collections.abc import Iterable
from typing import cast

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from stream.metrics import Metrics
from stream.window_store import WindowStore

log = logging.getLogger(__name__)


def note_partitions(topic: str, before: int, now: int, metrics: Metrics) -> int:
    """Return ``now``, the topic's number of partitions; say so if it has grown. ``before`` is 0 at first."""
    metrics.input_partitions.set(now)
    if 0 < before < now:
        log.warning(
            "partitions were added to the input topic: users whose key belongs on another one now begin there without "
            "history. Stop all scorers and run `tenfold reset --rebuild` to bring their windows along",
            extra={"topic": topic, "before": before, "now": now},
        )
    return now


def was_added(admin: AdminClient, store: WindowStore, topic_id: str, partition: int, count: int, call_s: float) -> bool:
    """Return whether a partition without offset and mark came to the topic after the group had begun.

    The partitions of a fresh group are taken up one after the other, so another one's offset alone does not tell: the
    number of partitions that a group begins with is kept in Redis, set once, before its first offset is committed. If
    Redis has lost it, a partition counts as added when another one has an offset: what is read too early is scored,
    what is read too late would be lost.

    Args:
        admin: asks for the group's offsets.
        store: of the group and the topic.
        topic_id: of the topic now.
        partition: it has neither offset nor mark.
        count: the topic's number of partitions now.
        call_s: seconds that Kafka has for its answer.

    Raises:
        KafkaException: the group's offsets are not to be had.
        redis.RedisError: Redis does not answer.
    """
    if begun_with(store, topic_id) is None and not _has_begun(admin, store, range(count), call_s):
        store.client.set(_begun_with_key(store, topic_id), count, nx=True)
    begun = begun_with(store, topic_id)
    return begun is None or partition >= begun


def begun_with(store: WindowStore, topic_id: str) -> int | None:
    """Return the number of partitions that a group began with, ``None`` where Redis does not know it.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    found = cast("bytes | None", store.client.get(_begun_with_key(store, topic_id)))
    return None if found is None else int(found)


def _begun_with_key(store: WindowStore, topic_id: str) -> str:
    return f"tenfold:{{{store.group_id}:{store.topic}}}:{topic_id}:partitions"


def _has_begun(admin: AdminClient, store: WindowStore, partitions: Iterable[int], call_s: float) -> bool:
    """Return whether the group has an offset; one that an open transaction may yet replace is one."""
    asked = ConsumerGroupTopicPartitions(store.group_id, [TopicPartition(store.topic, each) for each in partitions])
    answer = admin.list_consumer_group_offsets([asked], request_timeout=call_s)[store.group_id].result()
    return any(position.offset >= 0 for position in answer.topic_partitions)
