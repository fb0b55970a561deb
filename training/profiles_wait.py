"""Whether the archive holds everything from before a midnight, as Kafka tells it."""

import time
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from stream.clients import common_config, open_client, reader_config
from stream.settings import Settings
from stream.topics import require_topics, topic_id
from training.archive_kafka import where_to_start

_CALL_S = 10.0
_POLL_S = 0.2


def partitions_behind(settings: Settings, topics: Sequence[str], midnight_ms: int) -> list[str]:
    """Return the partitions, as ``topic/partition``, of which records from before midnight may not be archived yet.

    The first record that a partition's archiver has not archived tells: it is from before midnight, or it is not, or
    there is none. That there is none means something only once it is past midnight.

    Args:
        settings: of the archiver.
        topics: of transactions and labels.
        midnight_ms: the instant, in milliseconds of Kafka's timestamps.

    Raises:
        stream.topics.TopicsError: no broker, or no such topic.
        KafkaException: Kafka does not answer in time.
    """
    admin = open_client(AdminClient, common_config(settings))
    config = reader_config(settings) | {"group.id": settings.archive_group}
    consumer = open_client(Consumer, config)
    try:
        require_topics(consumer, settings, topics)
        unarchived: dict[tuple[str | None, int | None], TopicPartition] = {}
        for topic in topics:
            name = topic_id(admin, topic, _CALL_S)
            partitions = consumer.list_topics(topic, _CALL_S).topics[topic].partitions
            for committed in _committed(consumer, [TopicPartition(topic, each) for each in partitions]):
                low, high = consumer.get_watermark_offsets(committed, _CALL_S)
                begin = where_to_start(committed.offset, committed.metadata or "", name, low, high).offset
                if begin < high:
                    place = topic, committed.partition
                    unarchived[place] = TopicPartition(*place, begin)
        return _from_before(consumer, unarchived, midnight_ms)
    finally:
        consumer.close()


def _committed(consumer: Consumer, places: list[TopicPartition]) -> list[TopicPartition]:
    """Return a group's offsets, asking again for a while: a coordinator that moves or has just begun refuses."""
    deadline = time.monotonic() + _CALL_S
    while True:
        try:
            found = consumer.committed(places, _CALL_S)
            for each in found:
                if each.error is not None:
                    raise KafkaException(each.error)
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)
        else:
            return found


def _from_before(
    consumer: Consumer, unarchived: dict[tuple[str | None, int | None], TopicPartition], midnight_ms: int
) -> list[str]:
    """Return the partitions whose first record from a position is from before midnight, or does not come."""
    waiting = dict.fromkeys(unarchived, True)
    consumer.assign(list(unarchived.values()))
    deadline = time.monotonic() + _CALL_S
    behind = set()
    while waiting and time.monotonic() < deadline:
        for message in consumer.consume(1000, _POLL_S):
            if not waiting.pop((message.topic(), message.partition()), False):
                continue
            problem = message.error()
            if problem is not None and problem.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(problem)
            if problem is None and message.timestamp()[1] < midnight_ms:
                behind.add((message.topic(), message.partition()))
    return [f"{topic}/{partition}" for topic, partition in unarchived if (topic, partition) in behind | waiting.keys()]
