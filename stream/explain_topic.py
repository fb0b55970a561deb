"""A payment's story out of the topics: its scores, the records they answer, and its user's records before them."""

import json
from collections.abc import Callable, Iterator
from datetime import date
from json.encoder import encode_basestring as quoted
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from pydantic import ValidationError

from models.window import RECORD, Records
from stream.clients import common_config, open_client, reader_config
from stream.contract import FRAUD_SCORE, SOURCE_OFFSET, SOURCE_PARTITION, SOURCE_TOPIC
from stream.decode import MAX_AHEAD_MS, Decoded, decode
from stream.explain import Story
from stream.explain_model import ExplainError, find_model, served_context
from stream.history import open_history
from stream.replay import take
from stream.settings import Settings
from stream.topics import require_topics, topic_id

_CALL_S = 10.0
_AT_ONCE = 10_000

Progress = Callable[[int], None]  # is told how many records more were read


def stories_of(settings: Settings, transaction_id: str, progress: Progress) -> Iterator[Story]:
    """Yield the story of each message of a transaction that was scored, in order of offset.

    Raises:
        ExplainError: there is no score of it, or the record is not there any more.
        stream.topics.TopicsError: no broker, or no such topic.
    """
    consumer = open_client(Consumer, reader_config(settings))
    try:
        require_topics(consumer, settings, [settings.output_topic, settings.input_topic])
        scores = _scores(consumer, settings, transaction_id, progress)
        if not scores:
            raise ExplainError(
                f"{settings.output_topic} has no score of it: is it scored yet, a dead letter (`tenfold watch "
                "--dead-letters --from-beginning`), or longer ago than Kafka keeps records (then --archive)?"
            )
        for (partition, offset), score in sorted(scores.items()):
            yield _story(consumer, settings, TopicPartition(settings.input_topic, partition, offset), score, progress)
    except KafkaException as error:
        raise ExplainError(f"Kafka at {settings.bootstrap_servers}: {error.args[0].str()}") from None
    finally:
        consumer.close()


def _scan(consumer: Consumer, place: TopicPartition, end: int, progress: Progress) -> Iterator[Message]:
    """Yield the committed records of a partition from ``place`` up to ``end``."""
    consumer.assign([place])
    at = place.offset
    while at < end:
        before = at
        chunk, at = take(consumer, at, end, _AT_ONCE, _CALL_S)
        if at == before:
            raise ExplainError(f"Kafka does not send {place.topic}/{place.partition} from {at} on: try again")
        progress(len(chunk))
        yield from chunk


def _scores(
    consumer: Consumer, settings: Settings, transaction_id: str, progress: Progress
) -> dict[tuple[int, int], dict[str, Any]]:
    """Return a transaction's scores by partition and offset of the record that each answers; of several the last."""
    topic, text = settings.output_topic, quoted(transaction_id).encode()
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for partition in sorted(consumer.list_topics(topic, _CALL_S).topics[topic].partitions):
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_CALL_S)
        for message in _scan(consumer, TopicPartition(topic, partition, low), high, progress):
            value = message.value()
            if value is None or text not in value:
                continue
            headers = dict(message.headers() or [])
            try:
                score = FRAUD_SCORE.validate_json(value)
                place = int(headers[SOURCE_PARTITION] or b""), int(headers[SOURCE_OFFSET] or b"")
                its_topic = headers[SOURCE_TOPIC]
            except (ValidationError, KeyError, ValueError):
                continue  # nothing that a scorer wrote
            if score["transaction_id"] == transaction_id and its_topic == settings.input_topic.encode():
                found[place] = json.loads(value)
    return found


def _story(
    consumer: Consumer, settings: Settings, place: TopicPartition, score: dict[str, Any], progress: Progress
) -> Story:
    topic, partition, offset = place.topic, place.partition, place.offset
    low, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_CALL_S)
    own = list(_scan(consumer, place, offset + 1, progress)) if offset >= low else []
    if not own:
        raise ExplainError(f"{topic}/{partition} at {offset} is not there any more, Kafka has deleted it: --archive")
    found = _decode(own, settings)
    if [each.transaction_id for each in found.transactions] != [score["transaction_id"]]:
        raise ExplainError(
            f"{topic}/{partition} at {offset} is not the payment that was scored: is TENFOLD_INPUT_FRAMING another one "
            "than the scorer's, or the topic made anew under its name (then --archive)?"
        )
    model = find_model(settings, score["model_version"])
    spec, key, created_at_ms = model.bundle.spec, own[0].key(), int(found.created_at_ms[0])
    # a record of before can neither be in the window nor push anything out of it that is; twice, for repetitions' sake
    since_ms = max(created_at_ms - 2 * spec.window_max_age_ms - MAX_AHEAD_MS, 0)
    [first] = consumer.offsets_for_times([TopicPartition(topic, partition, since_ms)], _CALL_S)
    begin = max(low, first.offset if first.offset >= 0 else low)
    theirs = [
        message
        for message in _scan(consumer, TopicPartition(topic, partition, begin), offset + 1, progress)
        if message.key() == key
    ]
    decoded = _decode(theirs, settings)
    records, whole = decoded.records, begin > low or low == 0
    if not whole:
        [name] = settings.pseudonyms.of([key or b""])
        past, whole = _past(settings, partition, low, name)
        records = np.concatenate([past, records])
    payment, record = decoded.transactions[-1], decoded.records[-1:]
    hashes = decoded.records["transaction"].tolist()
    first_ids = {
        of: (each.transaction_id, each.merchant_id)
        for of, each in zip(reversed(hashes), reversed(decoded.transactions), strict=True)
    }
    day = None if score["profile_day"] is None else date.fromisoformat(score["profile_day"])
    return Story(
        "topic",
        topic,
        partition,
        offset,
        payment,
        records,
        first_ids,
        begin,
        whole,
        score,
        model,
        served_context(settings, spec, payment, record, day),
    )


def _decode(messages: list[Message], settings: Settings) -> Decoded:
    return decode(
        [message.key() for message in messages],
        [message.value() for message in messages],
        [message.timestamp()[1] for message in messages],
        settings.input_framing,
    )


def _past(settings: Settings, partition: int, log_start: int, name: bytes) -> tuple[Records, bool]:
    """Return a user's records of before the log, as a rebuild takes them out of the archive; and whether none lacks."""
    history = open_history(settings)
    none = np.empty(0, RECORD)
    if history is None:
        return none, False
    its_id = topic_id(open_client(AdminClient, common_config(settings)), settings.input_topic, _CALL_S)
    parts, last = [none], None
    for past in history(partition, its_id, log_start):
        parts.append(past.records[[each == name for each in past.users]])
        last = past.last if past.last is not None else last
    return np.concatenate(parts), last is not None and last + 1 >= log_start
