"""Publishing a micro-batch: scores, dead letters and offsets, all or nothing.

After librdkafka's ``examples/transactions.c``: every class of error has its own branch.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from stream.clients import TRANSACTION_TIMEOUT_MS, open_client, producer_config, transactional_config
from stream.encode import Output
from stream.settings import Settings, SettingsError

log = logging.getLogger(__name__)

_CALL_S = 2.0  # between two looks at whether to give up
_GRACE_S = 3.0  # by which a call may be late
_PATIENCE_S = 2 * TRANSACTION_TIMEOUT_MS / 1000  # by then the broker has ended the transaction itself
_STOPPING_S = 3.0

#: Of a record that was not refused itself: the transaction that it is part of is over.
_PURGED = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}

Offsets = Mapping[int, int]  # partition -> next offset to read


class NotPublishedError(Exception):
    """Nothing of the batch was published, and none of its offsets committed."""

    def __init__(self, error: KafkaError, *, dead_letter: bool = False, shadow: bool = False) -> None:
        super().__init__(error.str())
        self.shadow = shadow  # it was a challenger's score that was refused
        self.dead_letter_too_large = dead_letter and error.code() in {
            KafkaError.MSG_SIZE_TOO_LARGE,
            KafkaError.INVALID_MSG_SIZE,
            KafkaError.RECORD_LIST_TOO_LARGE,
        }


class ProducerLostError(Exception):
    """This producer cannot go on and the outcome may be unknown: open another, and ask the table of recovery."""

    def __init__(self, error: KafkaError) -> None:
        super().__init__(error.str())
        self.fenced_instance = error.code() == KafkaError.FENCED_INSTANCE_ID


class Publisher(Protocol):
    """How the service publishes a batch, in either mode of delivery."""

    def publish(
        self,
        scores: Iterable[Output],
        dead_letters: Iterable[Output],
        offsets: Offsets,
        group: object,
        shadow_scores: Iterable[Output] = (),
    ) -> None:
        """Publish, and commit ``offsets`` for ``group``, the group metadata that the batch was fetched under.

        Raises:
            NotPublishedError: no part of it happened, or in at-least-once delivery no offset was committed.
            ProducerLostError: the outcome may be unknown.
        """

    def close(self) -> None:
        """Let go of the producer."""


def open_publisher(settings: Settings, name: str, consumer: Consumer, stopping: Callable[[], bool]) -> Publisher:
    """Return the publisher that ``settings.delivery`` asks for; ``name`` is this process's.

    Raises:
        ProducerLostError: the broker does not let this producer begin.
        SettingsError: it never will, with a transaction of that length.
    """
    if settings.delivery == "at-least-once":
        return AtLeastOncePublisher(settings, consumer, stopping)
    return TransactionalPublisher(settings, name, stopping)


class _Outbox:
    """A producer, and the first error that a delivery report brought."""

    def __init__(self, config: dict[str, Any], settings: Settings) -> None:
        self.producer: Producer = open_client(Producer, config)
        self._topics = (settings.output_topic, settings.dlq_topic, settings.shadow_topic)
        self.refused: KafkaError | None = None
        self.refused_topic: str | None = None

    def produce(self, records: Sequence[Iterable[Output]], give_up: Callable[[], bool]) -> None:
        """Hand over scores, dead letters and shadow scores."""
        self.refused = self.refused_topic = None
        for topic, outputs in zip(self._topics, records, strict=True):
            for output in outputs:
                self._produce_one(topic, output, give_up)

    def not_published(self, cause: KafkaError) -> NotPublishedError:
        if self.refused is None or self.refused.code() in _PURGED:
            return NotPublishedError(cause)
        _, dead_letters, shadow = (topic == self.refused_topic for topic in self._topics)
        return NotPublishedError(self.refused, dead_letter=dead_letters, shadow=shadow)

    def begin_to_close(self) -> threading.Thread:
        # it ends an open transaction and flushes, without a time limit; whoever waits for a broker that is away hangs
        closing = threading.Thread(target=self._close, name="close-producer", daemon=True)
        closing.start()
        return closing

    def _close(self) -> None:
        try:
            self.producer.close()
        except KafkaException as error:  # what is wrong with it is known: that is why it is closed
            log.info("the producer was closed in a fatal state", extra={"error": error.args[0].str()})

    def _produce_one(self, topic: str, output: Output, give_up: Callable[[], bool]) -> None:
        key, value, headers = output
        while True:
            try:
                self.producer.produce(topic, value=value, key=key, headers=headers, on_delivery=self._on_delivery)
            except BufferError:  # librdkafka's queue is full: let it drain
                if give_up():
                    raise
                self.producer.poll(0.1)
            except KafkaException as error:  # refused by librdkafka itself, before any broker
                self.refused, self.refused_topic = error.args[0], topic
                raise
            else:
                return

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and (self.refused is None or self.refused.code() in _PURGED):
            self.refused, self.refused_topic = error, message.topic()


class TransactionalPublisher:
    """One Kafka transaction a batch: scores, dead letters and offsets are readable together or not at all.

    Two producers take turns. After a commit the broker still writes the transaction's markers, and refuses the same
    producer's next transaction until it has; librdkafka then asks again after 20 ms, whatever its settings say. For the
    other producer there is nothing to wait for. Readers are served in order all the same: nobody reads beyond a
    transaction whose markers are missing, and of two offsets the group's coordinator keeps the one written later.
    """

    def __init__(self, settings: Settings, name: str, stopping: Callable[[], bool]) -> None:
        self._topic = settings.input_topic
        self._stopping = stopping
        self._outboxes = deque(
            _Outbox(config, settings)
            for config in (transactional_config(settings, name), transactional_config(settings, f"{name}~2"))
        )
        give_up = self._deadline()  # for both: meanwhile the group's consumer is not polled
        for outbox in self._outboxes:  # ends what a predecessor of this transactional.id has left open
            self._insist(partial(outbox.producer.init_transactions, _CALL_S), give_up)

    def publish(
        self,
        scores: Iterable[Output],
        dead_letters: Iterable[Output],
        offsets: Offsets,
        group: object,
        shadow_scores: Iterable[Output] = (),
    ) -> None:
        """Publish in one transaction; see :class:`Publisher`."""
        give_up = self._deadline()
        positions = [TopicPartition(self._topic, partition, offset) for partition, offset in offsets.items()]
        outbox = self._outboxes[0]
        producer = outbox.producer
        try:
            producer.begin_transaction()
            outbox.produce((scores, dead_letters, shadow_scores), give_up)
            self._insist(lambda: _send_offsets(producer, positions, group), give_up)
            self._insist(lambda: producer.commit_transaction(_CALL_S), give_up)
        except BufferError:
            raise ProducerLostError(KafkaError(KafkaError._QUEUE_FULL)) from None
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            self._abort(producer, cause, give_up)  # waits for the delivery reports: which record was refused, if any
            raise outbox.not_published(cause) from None
        self._outboxes.rotate()

    def close(self) -> None:
        """Let go of the producers; a transaction left open is the broker's, or the successor's, to end."""
        closing = [outbox.begin_to_close() for outbox in self._outboxes]
        for thread in closing:
            thread.join(_STOPPING_S / len(closing))

    def _abort(self, producer: Producer, cause: KafkaError, give_up: Callable[[], bool]) -> None:
        if cause.fatal():
            raise ProducerLostError(cause)
        try:
            self._insist(lambda: producer.abort_transaction(_CALL_S), give_up)
        except KafkaException as error:
            raise ProducerLostError(error.args[0]) from None

    def _insist(self, call: Callable[[], object], give_up: Callable[[], bool]) -> None:
        """Repeat a call while librdkafka says that repeating may help; it resumes where it stood.

        Raises:
            KafkaException: the transaction has to be aborted.
            ProducerLostError: the producer is of no use any more, or the time is over.
        """
        while True:
            try:
                call()
            except KafkaException as error:
                cause: KafkaError = error.args[0]
                if cause.code() == KafkaError.INVALID_TRANSACTION_TIMEOUT:  # no outage: it never ends by itself
                    raise SettingsError(
                        "TENFOLD_KAFKA__transaction.timeout.ms is more than the brokers' transaction.max.timeout.ms: "
                        "set less"
                    ) from None
                if cause.txn_requires_abort():
                    raise
                if cause.fatal() or not cause.retriable() or give_up():
                    raise ProducerLostError(cause) from None
            else:
                return

    def _deadline(self) -> Callable[[], bool]:
        return _deadline(self._stopping)


class AtLeastOncePublisher:
    """Scores and dead letters first, then the offsets: a crash in between repeats scores, and loses none."""

    def __init__(self, settings: Settings, consumer: Consumer, stopping: Callable[[], bool]) -> None:
        self._topic = settings.input_topic
        self._consumer = consumer
        self._stopping = stopping
        self._outbox = _Outbox(producer_config(settings), settings)

    def publish(
        self,
        scores: Iterable[Output],
        dead_letters: Iterable[Output],
        offsets: Offsets,
        group: object,  # noqa: ARG002 -- the consumer commits under its own generation
        shadow_scores: Iterable[Output] = (),
    ) -> None:
        """Publish, wait for every acknowledgement, commit; see :class:`Publisher`."""
        give_up = _deadline(self._stopping)
        positions = [TopicPartition(self._topic, partition, offset) for partition, offset in offsets.items()]
        try:
            self._outbox.produce((scores, dead_letters, shadow_scores), give_up)
            while self._outbox.producer.flush(_CALL_S) and not self._outbox.refused:
                if give_up():
                    raise ProducerLostError(KafkaError(KafkaError._TIMED_OUT))
            if self._outbox.refused is None:
                for position in self._consumer.commit(offsets=positions, asynchronous=False):
                    if position.error is not None:  # the call raises only if it is so of all of them
                        raise KafkaException(position.error)
        except BufferError:
            raise ProducerLostError(KafkaError(KafkaError._QUEUE_FULL)) from None
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if cause.fatal():
                raise ProducerLostError(cause) from None
            raise self._outbox.not_published(cause) from None
        if self._outbox.refused is not None:
            raise self._outbox.not_published(self._outbox.refused)

    def close(self) -> None:
        """Let go of the producer."""
        self._outbox.begin_to_close().join(_STOPPING_S)


def _send_offsets(producer: Producer, positions: list[TopicPartition], group: object) -> None:
    """Send the offsets, and do not wait for ever.

    The call forgets its time limit while the group's coordinator is away, and may never return (librdkafka issue
    5456, seen with 2.16 in one of six outages). So it has a thread, which is left behind with its producer.
    """
    sent: Future[None] = Future()

    def send() -> None:
        try:
            producer.send_offsets_to_transaction(positions, group, _CALL_S)
        except KafkaException as error:
            sent.set_exception(error)
        else:
            sent.set_result(None)

    threading.Thread(target=send, name="send-offsets", daemon=True).start()
    try:
        sent.result(_CALL_S + _GRACE_S)
    except TimeoutError:
        raise ProducerLostError(KafkaError(KafkaError._TIMED_OUT)) from None


def _deadline(stopping: Callable[[], bool]) -> Callable[[], bool]:
    """Return a function that says when to stop insisting; sooner once the process is asked to stop."""
    begun = time.monotonic()
    return lambda: time.monotonic() - begun > (_STOPPING_S if stopping() else _PATIENCE_S)
