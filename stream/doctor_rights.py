"""Rights on Kafka, by trying what the scorer does: read, and write in a transaction that is aborted."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from stream.clients import open_client, reader_config, transactional_config
from stream.doctor_finding import Finding, error, is_forbidden, ok
from stream.settings import Settings

_CALL_S = 30.0
_NAME = "~doctor"  # no process's own; always the same, so that at most one transactional id is left in Kafka's memory
_MARK: dict[str, str | bytes | None] = {"tenfold-doctor": b"aborted"}


def check_reading(settings: Settings) -> Iterator[Finding]:
    """Yield whether the input may be read: at its end, where there is nothing.

    Raises:
        KafkaException: Kafka does not do its part.
    """
    reader = open_client(Consumer, reader_config(settings))
    try:
        reader.assign([TopicPartition(settings.input_topic, 0, OFFSET_END)])
        message = reader.poll(_CALL_S)
        cause = None if message is None else message.error()
        while cause is not None and cause.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:  # said where it is asked for
            message = reader.poll(_CALL_S)
            cause = None if message is None else message.error()
        if message is None:
            yield error("not-read", f"{settings.input_topic} did not answer in {_CALL_S:g} s", "look at its brokers")
        elif cause is not None and is_forbidden(cause):
            yield _no_right(f"read {settings.input_topic}", cause, "Read on it")
        elif cause is not None and cause.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(cause)
        else:
            yield ok("may-read", f"{settings.input_topic} can be read")
    finally:
        reader.close()


def check_writing(settings: Settings, topics: list[str], *, commit: bool) -> Iterator[Finding]:
    """Yield whether scores, dead letters and, with ``commit``, offsets can be written.

    Each is tried in a transaction of its own, and aborted. What stays is one aborted record in partition 0 of each
    topic, which no reader with ``read_committed`` sees, and the transactional id ``<group>~~doctor``, which Kafka
    forgets after a week. ``commit`` only for a group without members: their offsets wait for open transactions.

    Raises:
        KafkaException: Kafka does not do its part.
    """
    refused = False
    for topic in topics:
        cause = _tried(settings, partial(_write, topic=topic))
        if cause is not None:
            if cause.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
                its_id, prefix = f"{settings.group_id}~{_NAME}", f"{settings.group_id}~"
                yield _no_right(f"use the transactional id {its_id}", cause, f"Write on the prefix {prefix}")
                return
            refused = True
            yield _no_right(f"write to {topic}", cause, "Write on it")
    cause = _tried(settings, partial(_commit, settings=settings)) if commit else None
    if cause is not None:
        refused = True
        yield _no_right(f"commit for the group {settings.group_id}", cause, "Read on the group")
    if topics and not refused:
        yield ok("may-write", f"transactions to {', '.join(topics)} are taken")


def _tried(settings: Settings, write: Callable[[Producer], None]) -> KafkaError | None:
    """Return why a transaction is refused, ``None`` if it is taken; it is aborted.

    Where it is refused nothing has begun that could be aborted: Kafka then takes that for an error of its own.
    """
    producer = open_client(Producer, transactional_config(settings, _NAME))
    try:
        producer.init_transactions(_CALL_S)
        producer.begin_transaction()
        write(producer)
    except KafkaException as failed:
        cause: KafkaError = failed.args[0]
        if is_forbidden(cause):
            return cause
        raise
    producer.abort_transaction(_CALL_S)
    return None


def _write(producer: Producer, topic: str) -> None:
    refusals: list[KafkaError] = []

    def delivered(refusal: KafkaError | None, _: Any) -> None:
        if refusal is not None:
            refusals.append(refusal)

    producer.produce(topic, b"{}", b"tenfold-doctor", 0, delivered, headers=_MARK)
    if producer.flush(_CALL_S):
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{topic}: no answer in {_CALL_S:g} s"))
    if refusals:
        # the record's own error is only that it was purged. With it the transaction has failed and cannot be committed:
        # asked to, the client says why
        producer.commit_transaction(_CALL_S)
        raise KafkaException(refusals[0])


def _commit(producer: Producer, settings: Settings) -> None:
    reader = open_client(Consumer, reader_config(settings))
    try:
        position = TopicPartition(settings.input_topic, 0, 0)
        producer.send_offsets_to_transaction([position], reader.consumer_group_metadata(), _CALL_S)
    finally:
        reader.close()


def _no_right(what: str, cause: KafkaError, right: str) -> Finding:
    return error("no-right", f"this account may not {what} ({cause.name()})", f"allow {right} (deploy/acls.md)")
