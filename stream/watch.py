"""``tenfold watch``: follow the scores topic."""

import threading
from collections.abc import Iterator

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, TopicPartition
from pydantic import ValidationError

from stream.clients import open_client, reader_config
from stream.contract import FRAUD_SCORE, FraudScore
from stream.errors import TenfoldError
from stream.settings import Settings
from stream.topics import require_topics

_POLL_S = 0.2
_AT_ONCE = 500
_CALL_S = 10.0


class WatchError(TenfoldError):
    """The scores topic holds what is not a score, or cannot be read; the message says where."""


def follow(settings: Settings, stop: threading.Event, *, from_beginning: bool) -> Iterator[FraudScore]:
    """Yield committed scores as they come, of all partitions, until ``stop``. Joins no group, commits nothing.

    Raises:
        stream.topics.TopicsError: no broker, or no such topic.
        WatchError: a record is not a score, or Kafka refuses the reader.
    """
    consumer = open_client(Consumer, reader_config(settings) | {"enable.partition.eof": False})
    try:
        require_topics(consumer, settings, [settings.output_topic])
        offset = OFFSET_BEGINNING if from_beginning else OFFSET_END
        partitions = consumer.list_topics(settings.output_topic, _CALL_S).topics[settings.output_topic].partitions
        consumer.assign([TopicPartition(settings.output_topic, partition, offset) for partition in partitions])
        while not stop.is_set():
            first = consumer.poll(_POLL_S)
            if first is None:
                continue
            for message in (first, *consumer.consume(_AT_ONCE, 0)):
                problem = message.error()
                if problem is not None:
                    if problem.retriable():
                        continue
                    raise WatchError(f"topic {settings.output_topic} cannot be read: {problem.str()}")
                yield _score(message.value(), f"{message.topic()}/{message.partition()} at {message.offset()}")
    finally:
        consumer.close()


def _score(value: bytes | None, where: str) -> FraudScore:
    try:
        return FRAUD_SCORE.validate_json(value or b"")
    except ValidationError as error:
        what = error.errors()[0]
        field = ".".join(map(str, what["loc"])) or "value"
        raise WatchError(
            f"{where} is not a score ({field}: {what['msg']}): is TENFOLD_OUTPUT_TOPIC the scores topic?"
        ) from None


def score_line(score: FraudScore) -> str:
    """Return a score as an aligned line: time of the payment, verdict, probability, window, user, payment, reasons."""
    verdict = "ANOMALY" if score["sequence_anomaly"] else ""
    why = "; ".join(reason["sentence"] for reason in score.get("reasons", []))
    return (
        f"{score['created_at']:<24}  {verdict:<7}  {score['fraud_probability']:.4f}"
        f"  window {score['window_length']:>2}  {score['user_id']:<20}  {score['transaction_id']}"
    ) + (f"  ({why})" if why else "")
