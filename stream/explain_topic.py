"""A payment's story out of the topics: its scores, the records they answer, and its user's records before them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import accumulate
from json.encoder import encode_basestring as quoted
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from pydantic import ValidationError

from models.window import RECORD, Records
from stream.clients import common_config, open_client, reader_config
from stream.contract import FRAUD_SCORE, SOURCE_OFFSET, SOURCE_PARTITION, SOURCE_TOPIC
from stream.decode import MAX_AHEAD_MS
from stream.explain import Context, Ids, Model, Story, best
from stream.explain_model import ExplainError, NotKeptError, find_model, served_context
from stream.moments import shown
from stream.progress import Counted
from stream.replay import decode_messages, take
from stream.settings import Settings
from stream.terminal import escaped
from stream.topics import require_topics, topic_id

_CALL_S = 10.0
_AT_ONCE = 10_000
_READER_CONFIG = {"fetch.wait.max.ms": 10}  # what is asked of a broker waits behind what is fetched of it


Place = tuple[int, int]  # partition and offset of a record


class NotKept(NamedTuple):
    """A message that was scored and is not there any more."""

    place: Place
    why: str


def told_from_topics(settings: Settings, transaction_id: str, progress: Counted) -> Iterator[dict[str, Any] | NotKept]:
    """Tell the story of each message of a transaction that was scored, in order of offset, or why it cannot be told.

    Raises:
        NotKeptError: there is no score of it.
        stream.topics.TopicsError: no broker, or no such topic.
    """
    consumer = open_client(Consumer, reader_config(settings) | _READER_CONFIG)
    try:
        require_topics(consumer, settings, [settings.output_topic, settings.input_topic])
        scores = _scores(consumer, settings, transaction_id, progress)
        if not scores:
            raise NotKeptError(
                f"{settings.output_topic} has no score of {escaped(transaction_id)}: is it scored yet, a dead letter "
                "(`tenfold watch --dead-letters --from-beginning`), or longer ago than Kafka keeps records (then "
                "--archive)?"
            )
        for (partition, offset), score in sorted(scores.items()):
            place = TopicPartition(settings.input_topic, partition, offset)
            told: dict[str, Any] | NotKept
            try:
                told = best(_ways(consumer, settings, place, score, progress))
            except NotKeptError as error:
                told = NotKept((partition, offset), str(error))
            yield told
    except KafkaException as error:
        raise ExplainError(f"Kafka at {settings.bootstrap_servers}: {error.args[0].str()}") from None
    finally:
        consumer.close()


def _scan(consumer: Consumer, place: TopicPartition, end: int, progress: Counted) -> Iterator[Message]:
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
    consumer: Consumer, settings: Settings, transaction_id: str, progress: Counted
) -> dict[Place, dict[str, Any]]:
    """Return a transaction's scores by partition and offset of the record that each answers; of several the last."""
    topic, text = settings.output_topic, quoted(transaction_id).encode()
    found: dict[Place, dict[str, Any]] = {}
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


def _ways(
    consumer: Consumer, settings: Settings, place: TopicPartition, score: dict[str, Any], progress: Counted
) -> Iterator[Story]:
    """Yield the story as the partition's own log tells it; then with what other partitions have of the user.

    Who moved when partitions were added has payments there, and a rebuild has brought them along.
    """
    topic, partition, offset = place.topic, place.partition, place.offset
    low, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_CALL_S)
    record = f"{topic}/{partition} at {offset}, scored {score['fraud_probability']:.6f} at {shown(score['scored_at'])},"
    own = list(_scan(consumer, place, offset + 1, progress)) if offset >= low else []
    if not own:
        raise NotKeptError(f"{record} is not there any more: Kafka has deleted it")
    decoded = decode_messages(own, settings.input_framing)
    if [each.transaction_id for each in decoded.transactions] != [score["transaction_id"]]:
        raise NotKeptError(
            f"{record} is another payment now: the topic was made anew under its name, or TENFOLD_INPUT_FRAMING is not "
            "the scorer's"
        )
    model = find_model(settings, score["model_version"])
    spec = model.bundle.spec
    # a record of before can neither be in the window nor push anything out of it that is; twice, for repetitions' sake
    since_ms = max(int(decoded.created_at_ms[0]) - 2 * spec.window_max_age_ms - MAX_AHEAD_MS, 0)
    user = _User(consumer, settings, own[0].key() or b"", since_ms, progress)
    day = None if score["profile_day"] is None else date.fromisoformat(score["profile_day"])
    context = served_context(settings, spec, decoded.transactions[0], decoded.records, day)
    here = user.seen(partition, offset + 1)
    yield _story(settings, offset, score, model, context, here, [])
    if not model.published:
        return  # its score comes out of no window
    arrived_ms = own[0].timestamp()[1]
    others = [each for each in consumer.list_topics(topic, _CALL_S).topics[topic].partitions if each != partition]
    elsewhere = [user.seen(each, user.offset_at(each, arrived_ms)) for each in sorted(others)]
    before = [each for each in elsewhere if each.messages or len(each.past)]
    if before:
        yield _story(settings, offset, score, model, context, here, before)


class _Seen(NamedTuple):
    """What was read of a user on one partition."""

    partition: int
    messages: list[Message]  # in order of offset
    past: Records  # [n] RECORD of before the log, out of the archive
    past_ids: Ids
    begin: int  # offset of the first record that was looked at
    whole: bool  # nothing that could be in the window came before


@dataclass(frozen=True)
class _User:
    """Reads the payments of a user."""

    consumer: Consumer
    settings: Settings
    key: bytes
    since_ms: int  # what came before is of no use
    progress: Counted

    def seen(self, partition: int, end: int) -> _Seen:
        """Return the user's records of a partition below ``end``, and what the archive has of before the log."""
        place = TopicPartition(self.settings.input_topic, partition)
        low, _ = self.consumer.get_watermark_offsets(place, timeout=_CALL_S)
        begin = max(low, min(self.offset_at(partition, self.since_ms), end))
        found = _scan(self.consumer, TopicPartition(place.topic, partition, begin), end, self.progress)
        theirs = [message for message in found if message.key() == self.key]
        if begin > low or low == 0:
            return _Seen(partition, theirs, np.empty(0, RECORD), {}, begin, True)
        past, ids, whole = self._before(partition, low)
        return _Seen(partition, theirs, past, ids, begin, whole)

    def offset_at(self, partition: int, time_ms: int) -> int:
        """Return the first offset of a partition whose record is not of before a time; its end if there is none."""
        place = TopicPartition(self.settings.input_topic, partition, time_ms)
        [found] = self.consumer.offsets_for_times([place], _CALL_S)
        if found.offset >= 0:
            return int(found.offset)
        return int(self.consumer.get_watermark_offsets(place, timeout=_CALL_S)[1])

    def _before(self, partition: int, log_start: int) -> tuple[Records, Ids, bool]:
        """Return what the archive has of the user from before a log begins, and whether nothing can lack."""
        settings = self.settings
        if not settings.archive:
            return np.empty(0, RECORD), {}, False
        from training.extras import require_archive_extra  # noqa: PLC0415 -- only who has an archive needs pyarrow

        require_archive_extra()
        from training.archive import open_archive  # noqa: PLC0415
        from training.explain_archive import payments_before  # noqa: PLC0415

        archive = open_archive(settings.archive, settings.pseudonyms)
        [name] = settings.pseudonyms.of([self.key])
        log = settings.input_topic, partition, self._topic_id, log_start
        return payments_before(archive, log, name.decode(), self.since_ms, self.progress)

    @cached_property
    def _topic_id(self) -> str:
        return topic_id(open_client(AdminClient, common_config(self.settings)), self.settings.input_topic, _CALL_S)


def _story(
    settings: Settings,
    offset: int,
    score: dict[str, Any],
    model: Model,
    context: Context,
    here: _Seen,
    before: Sequence[_Seen],
) -> Story:
    """Return the story of the last record on ``here``, whose user was on the partitions ``before`` it, too."""
    seen = [*before, here]
    # a pseudonym does not say where its user is placed: a rebuild leaves what the archive has of it where it is
    remembered = [each for each in seen if each is here or not settings.pseudonyms.keys]
    decoded = decode_messages(_in_order(seen), settings.input_framing)
    hashes = decoded.records["transaction"].tolist()
    ids = {
        of: (each.transaction_id, each.merchant_id)
        for of, each in zip(reversed(hashes), reversed(decoded.transactions), strict=True)
    }
    for each in reversed(remembered):
        ids |= each.past_ids
    return Story(
        "topic",
        settings.input_topic,
        here.partition,
        offset,
        decoded.transactions[-1],
        np.concatenate([*(each.past for each in remembered), decoded.records]),
        ids,
        here.begin,
        all(each.whole for each in seen),
        score,
        model,
        context,
        tuple(each.partition for each in before),
    )


def _in_order(seen: Sequence[_Seen]) -> list[Message]:
    """Return messages as a rebuild has them: by Kafka timestamp, on a partition none before an earlier one."""
    timed: list[tuple[int, Message]] = []
    for each in seen:
        times = accumulate((message.timestamp()[1] for message in each.messages), max)
        timed += zip(times, each.messages, strict=True)
    return [message for _, message in sorted(timed, key=itemgetter(0))]
