"""``tenfold watch``: follow the scores topic, or that of the dead letters."""

import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition
from pydantic import ValidationError

from stream.clients import open_in_contact, reader_config
from stream.contract import DEAD_LETTER_HEADERS, FRAUD_SCORE, DeadLetterHeaders, FraudScore
from stream.errors import TenfoldError
from stream.moments import shown, shown_ms
from stream.settings import Settings
from stream.topics import require_topics

_POLL_S = 0.2
_AT_ONCE = 500
_CALL_S = 10.0
_PROBE_S = 1.0

#: Where a line goes on that is too long for a terminal: nothing stands below the times.
INDENT = 22

#: Columns of a score that fit eighty with ids of a user of 13 characters and a payment of 22; of a dead letter.
_SCORE = "{:<20} {:<10} {:<6} {:>3}  {:<13} {}"
_LETTER = "{:<20}  {:<13}  {:<26}  {}"

SCORE_COLUMNS = _SCORE.format("created_at (UTC)", "verdict", "score", "win", "user", "payment")
LETTER_COLUMNS = _LETTER.format("timestamp (UTC)", "reason", "record", "error")

Begin = int | None  # milliseconds since the epoch by Kafka's timestamps, 0 for the oldest record, None for the next
AtEnd = Callable[[], bool]  # asked when the end of the topic is reached for the first time: is more waited for?
Say = Callable[[str], None]  # is told, in a sentence, when Kafka goes away and when it is back


class WatchError(TenfoldError):
    """The topic holds what it should not, or cannot be read; the message says where."""


class Wanted(NamedTuple):
    """Which scores are shown."""

    user: str | None = None
    threshold: float | None = None  # probabilities above it
    anomalies: bool = False

    def shows(self, score: FraudScore) -> bool:
        """Say whether a score is one of them."""
        return (
            (self.user is None or score["user_id"] == self.user)
            and (self.threshold is None or score["fraud_probability"] > self.threshold)
            and (score["sequence_anomaly"] or not self.anomalies)
        )


def follow_scores(
    settings: Settings, stop: threading.Event, begin: Begin, at_end: AtEnd, say: Say, wanted: Wanted
) -> Iterator[FraudScore]:
    """Yield committed scores as they come, of all partitions, until ``stop``. Joins no group, commits nothing.

    Raises:
        stream.topics.TopicsError: no broker, or no such topic.
        WatchError: a record is not a score, Kafka refuses the reader, or the topic is not the one it was.
    """
    for message in _follow(settings, settings.output_topic, stop, begin, at_end, say):
        score = _score(message)
        if wanted.shows(score):
            yield score


def follow_dead_letters(
    settings: Settings, stop: threading.Event, begin: Begin, at_end: AtEnd, say: Say, user: str | None
) -> Iterator[DeadLetterHeaders]:
    """Yield what dead letters say of themselves, as :func:`follow_scores` does; ``user`` is compared with the key.

    Raises:
        stream.topics.TopicsError: no broker, or no such topic.
        WatchError: a record is not a dead letter, Kafka refuses the reader, or the topic is not the one it was.
    """
    for message in _follow(settings, settings.dlq_topic, stop, begin, at_end, say):
        if user is None or message.key() == user.encode():
            yield _dead_letter(message)


def _follow(
    settings: Settings, topic: str, stop: threading.Event, begin: Begin, at_end: AtEnd, say: Say
) -> Iterator[Message]:
    consumer, contact = open_in_contact(Consumer, reader_config(settings))
    away = False
    try:
        require_topics(consumer, settings, [topic])
        places = _places(consumer, topic, begin)
        consumer.assign(places)
        unread = {place.partition for place in places}  # whose end was not reached yet
        while not stop.is_set():
            first = consumer.poll(_POLL_S)
            if contact.lost:
                contact.lost = not _answers(consumer, topic)
                if contact.lost != away:
                    away = contact.lost
                    now = "does not answer; waiting until it does" if away else "answers again"
                    say(f"Kafka at {settings.bootstrap_servers} {now}")
            if first is None:
                continue
            for message in (first, *consumer.consume(_AT_ONCE, 0)):
                problem = message.error()
                if problem is None:
                    yield message
                elif problem.code() == KafkaError._PARTITION_EOF:
                    if unread == {message.partition()} and not at_end():
                        return
                    unread.discard(message.partition())
                elif problem.code() == KafkaError._AUTO_OFFSET_RESET:
                    raise WatchError(
                        f"topic {topic} does not have the records any more that come next in partition "
                        f"{message.partition()}: it was made anew, or has deleted them. Watch it again"
                    )
                elif not problem.retriable():
                    raise WatchError(f"topic {topic} cannot be read: {problem.str()}")
    finally:
        consumer.close()


def _answers(consumer: Consumer, topic: str) -> bool:
    try:
        consumer.list_topics(topic, _PROBE_S)
    except KafkaException:
        return False
    return True


def _places(consumer: Consumer, topic: str, begin: Begin) -> list[TopicPartition]:
    try:
        partitions = consumer.list_topics(topic, _CALL_S).topics[topic].partitions
        if not begin:
            offset = OFFSET_END if begin is None else OFFSET_BEGINNING
            return [TopicPartition(topic, partition, offset) for partition in partitions]
        # where there is no record so late, Kafka answers with the end
        return consumer.offsets_for_times(
            [TopicPartition(topic, partition, begin) for partition in partitions], _CALL_S
        )
    except KafkaException as error:
        raise WatchError(f"topic {topic} cannot be read: {error.args[0].str()}") from None


def _where(message: Message) -> str:
    return f"{message.topic()}/{message.partition()} at {message.offset()}"


def _score(message: Message) -> FraudScore:
    try:
        return FRAUD_SCORE.validate_json(message.value() or b"")
    except ValidationError as error:
        what = error.errors()[0]
        field = ".".join(map(str, what["loc"])) or "value"
        raise WatchError(
            f"{_where(message)} is not a score ({field}: {what['msg']}): is TENFOLD_OUTPUT_TOPIC the scores topic?"
        ) from None


def _dead_letter(message: Message) -> DeadLetterHeaders:
    headers = dict(message.headers() or [])
    told = {name: value.decode(errors="replace") for name, value in headers.items() if isinstance(value, bytes)}
    try:
        return DEAD_LETTER_HEADERS.validate_python(told)
    except ValidationError as error:
        header = ".".join(map(str, error.errors()[0]["loc"]))
        raise WatchError(
            f"{_where(message)} is not a dead letter (header {header}): is TENFOLD_DLQ_TOPIC the dead letters' topic?"
        ) from None


def score_line(score: FraudScore) -> str:
    """Return a score as a line below :data:`SCORE_COLUMNS`, and the reasons behind it."""
    why = " | ".join(reason["sentence"] for reason in score.get("reasons", []))
    line = _SCORE.format(
        shown(score["created_at"]),
        "ANOMALY" if score["sequence_anomaly"] else "suppressed" if score.get("suppressed") else "",
        f"{score['fraud_probability']:.4f}",
        score["window_length"],
        score["user_id"],
        score["transaction_id"],
    )
    return f"{line}  ({why})" if why else line


def dead_letter_line(letter: DeadLetterHeaders) -> str:
    """Return a dead letter as a line below :data:`LETTER_COLUMNS`."""
    where = f"{letter['topic']}/{letter['partition']} at {letter['offset']}"
    try:
        time = shown_ms(int(letter["timestamp"]))
    except ValueError:  # more digits than Python reads; the topic is open to others
        time = f"{letter['timestamp'][:16]}… ms"
    return _LETTER.format(time, letter["reason"], where, letter["error"])
