"""A client that librdkafka leaves without a broker: how it is found, and how all is begun anew without it.

A broker that is just starting may answer with metadata without brokers; then librdkafka forgets the ones that it knew,
and never connects again (librdkafka issue 5301, seen with 2.16 in one of twelve restarts). It does not always call that
an error: a consumer may only lose its partitions, and wait for its group for ever. So who reads nothing asks for
brokers; where a process's clients get no answer for a while, and a new one does, they are replaced.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata  # type: ignore[attr-defined]

from stream.clients import common_config, open_client
from stream.settings import Settings

log = logging.getLogger(__name__)

ASK_S = 1.0
_LOST_S = 10.0
_ANOTHER_S = 3.0


class ClientLostError(Exception):
    """Kafka answers, but not this process's clients: they have to be replaced."""


class Job(Protocol):
    """What runs until the process is asked to stop."""

    def run(self) -> None:
        """Run; raise :class:`ClientLostError` if it has to be begun anew, with other clients."""


class Watch:
    """Asks a process's clients for brokers, and tells an outage of Kafka from clients that are lost."""

    def __init__(
        self,
        clients: Sequence[AdminClient | Consumer],
        another_answers: Callable[[], bool],  # whether a new client gets an answer
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients, self._another_answers, self._clock = clients, another_answers, clock
        self._lost_at = float("inf")  # when to ask whether it is the clients that are lost

    def ask(self, topic: str) -> ClusterMetadata:
        """Return what Kafka says of a topic, once each of the clients has been told.

        Raises:
            KafkaException: it does not say, or names no broker; see :meth:`unanswered`.
        """
        for client in self._clients:
            found = client.list_topics(topic, ASK_S)
            if not found.brokers:  # this very answer makes librdkafka forget them
                raise KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN, "Kafka names no broker yet"))
        return found

    def answered(self) -> None:
        """Say that there was an answer."""
        self._lost_at = float("inf")

    def unanswered(self) -> None:
        """Say that there was none.

        Raises:
            ClientLostError: there has been none for a while, and another client has one.
        """
        now = self._clock()
        self._lost_at = min(self._lost_at, now + _LOST_S)
        if now >= self._lost_at:
            self._lost_at = now + _LOST_S
            if self._another_answers():
                raise ClientLostError("Kafka answers others, but not this process's clients any more")


def kafka_answers(settings: Settings) -> bool:
    """Return whether Kafka answers a new client."""
    try:
        open_client(AdminClient, common_config(settings)).list_topics(timeout=_ANOTHER_S)
    except KafkaException:
        return False
    return True


@contextmanager
def closed_unless_lost(consumer: Consumer, give_up: Callable[[], None]) -> Iterator[None]:
    """Close a consumer when the block ends; where :class:`ClientLostError` ends it, give up and leave it behind."""
    with ExitStack() as closing:
        closing.callback(consumer.close)
        try:
            yield
        except ClientLostError:
            closing.pop_all()
            give_up()
            leave_behind(consumer)
            raise


def leave_behind(consumer: Consumer) -> None:
    """Close a lost consumer, which may take for ever; it may call back meanwhile."""
    threading.Thread(target=consumer.close, name="close-consumer", daemon=True).start()


def run_replacing(job: Job, another: Callable[[], Job]) -> None:
    """Run a job; each time that its clients are lost, run another one."""
    while True:
        try:
            job.run()
        except ClientLostError as error:
            log.warning("beginning anew with other clients", extra={"error": str(error)})
            job = another()
        else:
            return
