"""The oracle: replay the input topic offline with the same bundle, and compare every score and every window.

Windows come from :class:`tests.reference.ReferenceWindow`; nothing of the engine's decoding, windows or recovery is
used, only the bundle's own features and model.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from xxhash import xxh3_64_intdigest

from models.bundle import LoadedBundle
from models.context import Floats32
from models.window import RECORD, Windows
from tests.redis_servers import client_of
from tests.reference import Entry, ReferenceWindow

#: Header of an input record that the generator made bad on purpose.
BAD = "bad"

Source = tuple[int, int]  # partition, offset of the input record
User = tuple[int, bytes]  # partition, key


@dataclass
class Expected:
    """What the scorer must have published, and what Redis must hold."""

    scores: dict[Source, tuple[float, int]]  # probability, window length
    bad: set[Source]
    windows: dict[User, list[Entry]]
    ends: dict[int, int]  # partition -> offset behind its last record


@dataclass
class Verdict:
    """How what was published differs from what was expected; all zero is right."""

    events: int
    missing: int = 0
    doubled: int = 0
    unexpected: int = 0
    different: int = 0
    dead_missing: int = 0
    dead_doubled: int = 0
    dead_unexpected: int = 0
    wrong_windows: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Whether every event has exactly its score, every bad one its dead letter, and Redis the right windows."""
        return not any(value for name, value in vars(self).items() if name not in {"events", "examples"})


def read_topic(bootstrap: str, topic: str) -> list[Message]:
    """Return every committed record of a topic, partition by partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "oracle",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,  # at its end a partition says so only after this
        }
    )
    records: list[Message] = []
    try:
        partitions = consumer.list_topics(topic, 10).topics[topic].partitions
        for partition in partitions:
            begin, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            consumer.assign([TopicPartition(topic, partition, begin)])
            at_end = False
            while not at_end:
                messages = consumer.consume(10_000, 0.05)
                for message in messages:
                    problem = message.error()
                    if problem is None:
                        records.append(message)
                    elif problem.code() == KafkaError._PARTITION_EOF:
                        at_end = True
                    else:
                        raise AssertionError(problem)
    finally:
        consumer.close()
    return records


def replay(
    records: Iterable[Message],
    bundle: LoadedBundle,
    home: Callable[[Message], int] = Message.partition,
    context_of: Callable[[list[Message]], Floats32] | None = None,
) -> Expected:
    """Return what a scorer must make of ``records``.

    ``home`` is the partition that has the window of a record; ``context_of`` returns what the model reads of records
    beside their windows.
    """
    spec = bundle.spec
    windows: dict[User, ReferenceWindow] = {}
    scored: list[Message] = []
    seen: list[list[Entry]] = []
    expected = Expected({}, set(), {}, {})
    for record in records:
        source = record.partition(), record.offset()
        expected.ends[source[0]] = source[1] + 1
        if any(name == BAD for name, _ in record.headers() or []):
            expected.bad.add(source)
            continue
        user = home(record), record.key()
        window = windows.setdefault(user, ReferenceWindow(spec.sequence_length, spec.window_max_age_ms))
        scored.append(record)
        seen.append(window.add(entry_of(record.value())))
    context = context_of(scored) if context_of else None
    probabilities = bundle.score(_as_windows(seen, spec.sequence_length), context) if seen else np.empty(0)
    expected.scores = {
        (record.partition(), record.offset()): (float(probability), len(entries))
        for record, probability, entries in zip(scored, probabilities, seen, strict=True)
    }
    expected.windows = {user: window.entries for user, window in windows.items()}
    return expected


def entry_of(value: bytes) -> Entry:
    """Return a transaction as a window holds it."""
    message = json.loads(value)
    merchant = message.get("merchant_id")
    at = datetime.fromisoformat(message["created_at"])
    return Entry(
        created_at_ms=int(at.timestamp()) * 1000 + at.microsecond // 1000,
        transaction=xxh3_64_intdigest(message["transaction_id"].encode()),
        amount=float(message["amount"]),
        merchant=0 if merchant is None else xxh3_64_intdigest(merchant.encode()) % (2**32 - 1) + 1,
        flags=int(message.get("is_vpn", False)),
    )


def judge(expected: Expected, scores: Iterable[Message], dead_letters: Iterable[Message]) -> Verdict:
    """Compare published scores and dead letters with what was expected."""
    verdict = Verdict(events=len(expected.scores) + len(expected.bad))
    times: Counter[Source] = Counter()
    for record in scores:
        headers = dict(record.headers() or [])
        source = int(headers["source-partition"]), int(headers["source-offset"])
        times[source] += 1
        if source not in expected.scores:
            verdict.unexpected += 1
            continue
        score = json.loads(record.value())
        probability, length = expected.scores[source]
        if abs(score["fraud_probability"] - probability) > 1e-5 or score["window_length"] != length:
            verdict.different += 1
            verdict.examples.append(f"{source}: expected {probability, length}, published {score}")
    verdict.missing = sum(source not in times for source in expected.scores)
    verdict.doubled = sum(count > 1 for count in times.values())
    dead_times: Counter[Source] = Counter()
    for record in dead_letters:
        headers = dict(record.headers() or [])
        dead_times[int(headers["partition"]), int(headers["offset"])] += 1
    verdict.dead_missing = sum(source not in dead_times for source in expected.bad)
    verdict.dead_doubled = sum(count > 1 for count in dead_times.values())
    verdict.dead_unexpected = sum(source not in expected.bad for source in dead_times)
    verdict.examples = verdict.examples[:5]
    return verdict


def wrong_windows(expected: Expected, redis_url: str, group_id: str, topic: str) -> int:
    """Return how many windows in Redis are not the replay's, marks that are not at the end included."""
    client = client_of(redis_url)
    wrong = 0
    for partition, end in expected.ends.items():
        prefix = f"tenfold:{{{group_id}:{topic}:{partition}}}:"
        mark = client.get(f"{prefix}mark")
        _, epoch, offset = (mark or b"none none -1").decode().split()
        wrong += int(offset) < end  # behind the last record there may be a transaction's marker
        users = [key for owner, key in expected.windows if owner == partition]
        for begin in range(0, len(users), 1000):
            some = users[begin : begin + 1000]
            values = client.mget([f"{prefix}{epoch}:".encode() + user for user in some])
            for user, value in zip(some, values, strict=True):
                kept = np.frombuffer((value or b"\x01")[1:], RECORD).tolist()
                wrong += [Entry(*record) for record in kept] != expected.windows[partition, user]
    client.close()
    return wrong


def _as_windows(seen: list[list[Entry]], length: int) -> Windows:
    windows = Windows.empty(len(seen), length)
    for row, entries in enumerate(seen):
        windows.lengths[row] = len(entries)
        for place, entry in enumerate(entries):
            windows.records[row, place] = (
                entry.created_at_ms,
                entry.transaction,
                entry.amount,
                entry.merchant,
                entry.flags,
            )
    return windows
