"""What the archiver has to do with Kafka: where partitions stand, records by partition, offsets committed."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream.framing import Framing
from training.archive import Kind
from training.archive_buffer import Buffer
from training.archive_metrics import ArchiveMetrics
from training.archive_records import Records

log = logging.getLogger(__name__)

_CALL_S = 5.0

Place = tuple[str, int]  # topic, partition


class Start(NamedTuple):
    """Where the archiver takes a partition up."""

    offset: int
    lost: int  # offsets that retention took before they were archived
    why: str


def where_to_start(committed: int, committed_topic_id: str, topic_id: str, low: int, high: int) -> Start:
    """Return where to take a partition up.

    Args:
        committed: the group's offset, negative if there is none.
        committed_topic_id: the topic id that was committed with it.
        topic_id: the topic's now.
        low: the log's first offset.
        high: the offset after its last.
    """
    if committed < 0:
        return Start(low, 0, "nothing archived yet")
    if committed_topic_id != topic_id:
        return Start(low, 0, "another topic of that name")
    if committed < low:
        return Start(low, low - committed, "retention was faster than the archiver")
    if committed > high:
        return Start(high, 0, "the log is shorter than what is archived of it")
    return Start(committed, 0, "goes on")


def take_up(
    consumer: Consumer,
    places: Sequence[Place],
    kinds: Mapping[str, Kind],
    topic_id: Callable[[str], str],
    metrics: ArchiveMetrics,
) -> dict[Place, Buffer]:
    """Find out where partitions are to be read from, and have them read; return an empty buffer for each.

    Raises:
        KafkaException: Kafka does not answer; nothing is read.
    """
    ids = {topic: topic_id(topic) for topic in sorted({topic for topic, _ in places})}
    buffers = {}
    for committed in consumer.committed([TopicPartition(*place) for place in places], _CALL_S):
        if committed.error is not None:
            raise KafkaException(committed.error)
        topic, partition = committed.topic, committed.partition
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), _CALL_S)
        start = where_to_start(committed.offset, committed.metadata or "", ids[topic], low, high)
        said = {"topic": topic, "partition": partition, "offset": start.offset, "why": start.why}
        if start.lost:
            metrics.lost.labels(topic).inc(start.lost)
            log.error("records were lost", extra={**said, "records": start.lost})
        else:
            log.info("archiving", extra=said)
        buffers[topic, partition] = Buffer(topic, kinds[topic], partition, ids[topic], start.offset, start.offset)
    positions = [TopicPartition(*place, buffer.position) for place, buffer in buffers.items()]
    consumer.assign(positions)
    consumer.resume(positions)
    return buffers


def by_partition(
    messages: Sequence[Message], buffers: Mapping[Place, Buffer], framing: Framing
) -> tuple[dict[Place, Records], list[tuple[KafkaError, Message]]]:
    """Return the records of messages, and the errors among these. What no buffer waits for is left out."""
    found: dict[Place, Records] = {}
    problems = []
    for message in messages:
        problem, topic, partition, offset = message.error(), message.topic(), message.partition(), message.offset()
        if problem is not None or topic is None or partition is None or offset is None:
            if problem is not None:
                problems.append((problem, message))
            continue
        place = (topic, partition)
        buffer = buffers.get(place)
        if buffer is None or offset < buffer.position:
            continue  # fetched before the partition was taken up here
        records = found.get(place)
        if records is None:
            records = found[place] = Records(framing=framing)
        records.offsets.append(offset)
        records.timestamps_ms.append(message.timestamp()[1])
        records.keys.append(message.key())
        records.values.append(message.value())
        if buffer.kind is Kind.SCORES:
            records.headers.append(dict(message.headers() or ()))
    return found, problems


def commit(consumer: Consumer, buffers: Sequence[Buffer]) -> None:
    """Commit up to where buffers have been read, with the topic id; they are empty afterwards.

    Raises:
        KafkaException: the offsets are not committed, or not all of them.
    """
    positions = [TopicPartition(each.topic, each.partition, each.position, each.topic_id) for each in buffers]
    for answer in consumer.commit(offsets=positions, asynchronous=False) or []:
        if answer.error is not None:
            raise KafkaException(answer.error)
    for buffer in buffers:
        buffer.done()


def set_lag(consumer: Consumer, buffers: Mapping[Place, Buffer], metrics: ArchiveMetrics) -> None:
    """Set the lag of each partition from what the last fetch said of the log's end."""
    for position in consumer.position([TopicPartition(*place) for place in buffers]):
        buffer = buffers[position.topic, position.partition]
        _, high = consumer.get_watermark_offsets(position, cached=True)
        # the consumer is past the markers of transactions too, which take an offset each and are no records
        reached = buffer.committed if buffer.since is not None else max(buffer.committed, position.offset)
        metrics.lag.labels(buffer.topic, buffer.partition).set(max(high - reached, 0))
