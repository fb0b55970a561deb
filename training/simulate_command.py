"""``tenfold simulate``: the simulator's payments and verdicts into a directory, or onto Kafka."""

import heapq
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from stream.errors import TenfoldError, UsageError
from stream.progress import Counted, nobody
from stream.sender import Sender
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

_DAY_S = 86_400.0
_A_USER_AND_DAY = 1.62  # transactions that a simulated user makes, for the length of a run before it is drawn


class SimulateError(TenfoldError):
    """The payments cannot be written or sent; the message says what to do."""


class SimulatedRecord(NamedTuple):
    """A payment or a verdict on its way to Kafka; sorts by time."""

    at_ms: int
    is_label: bool
    key: bytes
    value: bytes
    is_fraud: bool  # of a payment: what the simulator knows


def to_directory(users: int, days: int, seed: int, directory: Path, progress: Counted = nobody) -> Written:
    """Write ``transactions.parquet`` and ``labels.parquet``; the same seed writes the same. ``progress`` counts rows.

    Raises:
        SimulateError: pyarrow is missing, or the directory cannot be written.
    """
    try:
        return write_parquet(_told(simulate_days(users, days, seed, DEFAULT_START), progress), directory)
    except ModuleNotFoundError as error:
        raise SimulateError(f"Parquet files need {error.name}: pip install '.[archive]' in the checkout") from None
    except OSError as error:
        raise SimulateError(f"{directory} cannot be written: {error.strerror or error}") from None


def to_kafka(
    users: int,
    days: int,
    seed: int,
    settings: Settings,
    rate: float | None,
    progress: Counted = nobody,
    *,
    backdate: bool = False,
) -> Written:
    """Send payments, and each verdict that lands before the last of them, in order of time.

    The last payment is of about the time at which it is sent. A verdict that lands later is not known yet, and
    is not sent. ``rate`` is in payments a second, ``None`` as fast as Kafka takes them; ``progress`` counts payments.

    With ``backdate`` a record's Kafka timestamp is the time of its payment or verdict, so that what reads it cannot
    tell that it did not come then; else Kafka stamps it with the time at which it is sent. Retention goes by it, too.

    Raises:
        UsageError: ``rate`` is slower than so many users pay.
        stream.sender.SendError: Kafka does not take a record.
        stream.topics.TopicsError: there is no broker, or no topic.
    """
    lasts_s = _duration_s(users, days, rate)
    sender = Sender(settings)
    require_topics(sender.producer, settings, [settings.input_topic, settings.labels_topic])
    start = datetime.now(UTC) + timedelta(seconds=lasts_s) - timedelta(days=days)
    transactions = frauds = labels = 0
    begun = time.monotonic()
    for record in in_order_of_time(simulate_days(users, days, seed, start)):
        if record.is_label:
            labels += 1
        else:
            if rate is not None:
                time.sleep(max(0.0, begun + transactions / rate - time.monotonic()))
            transactions += 1
            frauds += record.is_fraud
            progress(1)
        topic = settings.labels_topic if record.is_label else settings.input_topic
        sender.send(topic, record.key, record.value, record.at_ms if backdate else 0)
    sender.flush()
    return Written(transactions, frauds, labels)


def _told(days: Iterable[Simulated], progress: Counted) -> Iterator[Simulated]:
    for day in days:
        yield day
        progress(len(day))


def in_order_of_time(days: Iterable[Simulated]) -> Iterator[SimulatedRecord]:
    """Yield the payments of all days, and between them the verdicts that land until the last of them."""
    landing: list[SimulatedRecord] = []
    for day in days:
        for key, value, at_ms in labels_as_json(day):
            heapq.heappush(landing, SimulatedRecord(at_ms, True, key, value, False))
        for (key, value, at_ms), is_fraud in zip(transactions_as_json(day), day.is_fraud.tolist(), strict=True):
            while landing and landing[0].at_ms <= at_ms:
                yield heapq.heappop(landing)
            yield SimulatedRecord(at_ms, False, key, value, is_fraud)


def _duration_s(users: int, days: int, rate: float | None) -> float:
    if rate is None:
        return 0.0
    natural = users * _A_USER_AND_DAY / _DAY_S
    if rate < natural:
        raise UsageError(f"--rate {rate:g} is slower than {users} users pay: give {natural:.3g} or more")
    return days * _DAY_S * natural / rate
