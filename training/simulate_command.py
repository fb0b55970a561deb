"""``tenfold simulate``: the simulator's payments and verdicts into a directory, or onto Kafka."""

import heapq
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import KafkaError, Message, Producer

from stream.clients import open_client, producer_config
from stream.errors import TenfoldError
from stream.settings import Settings
from stream.topics import require_topics
from training.simulator import (
    DEFAULT_START,
    Simulated,
    Written,
    labels_as_json,
    simulate_days,
    transactions_as_json,
    write_parquet,
)

_FLUSH_S = 30.0
_POLL_EVERY = 500
_DAY_S = 86_400.0
_A_USER_AND_DAY = 1.62  # transactions that a simulated user makes, for the length of a run before it is drawn


class SimulateError(TenfoldError):
    """The payments cannot be written or sent; the message says what to do."""


class _Record(NamedTuple):
    at_ms: int
    is_label: bool
    key: bytes
    value: bytes


def to_directory(users: int, days: int, seed: int, directory: Path) -> Written:
    """Write ``transactions.parquet`` and ``labels.parquet``; the same seed writes the same.

    Raises:
        SimulateError: pyarrow is missing, or the directory cannot be written.
    """
    try:
        return write_parquet(simulate_days(users, days, seed, DEFAULT_START), directory)
    except ModuleNotFoundError as error:
        raise SimulateError(f"Parquet files need {error.name}: pip install 'tenfold[archive]'") from None
    except OSError as error:
        raise SimulateError(f"{directory} cannot be written: {error.strerror or error}") from None


def to_kafka(
    users: int,
    days: int,
    seed: int,
    settings: Settings,
    rate: float | None,
    stop: threading.Event,
    clock: Callable[[], float] = time.monotonic,
) -> Written:
    """Send payments, and each verdict that lands before the last of them, in order of time.

    The last payment is of about the time at which it is sent. A verdict that lands later is not known yet, and
    is not sent. ``rate`` is in payments a second, ``None`` as fast as Kafka takes them.

    Returns:
        What was sent, which is less than asked where ``stop`` was set.

    Raises:
        SimulateError: Kafka does not take a record, or ``rate`` is slower than so many users pay.
        stream.topics.TopicsError: there is no broker, or no topic.
    """
    lasts_s = _duration_s(users, days, rate)
    sender = _Sender(settings)
    require_topics(sender.producer, settings, [settings.input_topic, settings.labels_topic])
    start = datetime.now(UTC) + timedelta(seconds=lasts_s) - timedelta(days=days)
    transactions = frauds = labels = 0
    begun = clock()
    for day in simulate_days(users, days, seed, start):
        frauds_left = iter(day.is_fraud.tolist())
        for record in sender.in_order_of_time(day):
            if record.is_label:
                labels += 1
            else:
                if rate is not None and stop.wait(max(0.0, begun + transactions / rate - clock())):
                    break
                transactions += 1
                frauds += next(frauds_left)
            sender.send(record)
            if stop.is_set():
                break
        if stop.is_set():
            break
    sender.flush()
    return Written(transactions, frauds, labels)


def _duration_s(users: int, days: int, rate: float | None) -> float:
    if rate is None:
        return 0.0
    natural = users * _A_USER_AND_DAY / _DAY_S
    if rate < natural:
        raise SimulateError(f"--rate {rate:g} is slower than {users} users pay: give {natural:.3g} or more")
    return days * _DAY_S * natural / rate


class _Sender:
    """An idempotent producer of both topics, and the verdicts that have not landed yet."""

    def __init__(self, settings: Settings) -> None:
        self.producer: Producer = open_client(Producer, producer_config(settings))
        self._settings = settings
        self._pending: list[_Record] = []
        self._refused: KafkaError | None = None
        self._sent = 0

    def in_order_of_time(self, day: Simulated) -> Iterator[_Record]:
        """Yield the day's payments, and the verdicts, of earlier days too, that land between them."""
        for record in _records(labels_as_json(day), is_label=True):
            heapq.heappush(self._pending, record)
        for record in _records(transactions_as_json(day), is_label=False):
            while self._pending and self._pending[0].at_ms <= record.at_ms:
                yield heapq.heappop(self._pending)
            yield record

    def send(self, record: _Record) -> None:
        """Hand a record to the producer; wait where its queue is full."""
        topic = self._settings.labels_topic if record.is_label else self._settings.input_topic
        while True:
            try:
                self.producer.produce(topic, key=record.key, value=record.value, on_delivery=self._delivered)
            except BufferError:
                self.producer.poll(0.1)
                self._check()
            else:
                break
        self._sent += 1
        if self._sent % _POLL_EVERY == 0:
            self.producer.poll(0)
            self._check()

    def flush(self) -> None:
        """Return once Kafka has everything."""
        left = self.producer.flush(_FLUSH_S)
        self._check()
        if left:
            raise SimulateError(
                f"Kafka at {self._settings.bootstrap_servers} has not taken {left} records within {_FLUSH_S:.0f} s"
            )

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        self._refused = self._refused or error

    def _check(self) -> None:
        if self._refused is not None:
            raise SimulateError(
                f"Kafka at {self._settings.bootstrap_servers} refused a record: {self._refused.str()}"
            )


def _records(rows: Iterable[tuple[bytes, bytes, int]], *, is_label: bool) -> Iterator[_Record]:
    return (_Record(at_ms, is_label, key, value) for key, value, at_ms in rows)
