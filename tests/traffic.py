"""Transactions for tests: late ones, repeated ones, several at one instant, and bad ones on purpose."""

import json
import random
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from confluent_kafka import Producer

from stream.contract import timestamp
from tests.oracle import BAD


class Record(NamedTuple):
    key: bytes | None
    value: bytes | None
    bad: bool


def traffic(events: int, users: int, seed: int, bad_share: float = 0.01) -> Iterator[Record]:
    """Yield ``events`` records of ``users`` users; the same for the same seed and start."""
    rng = random.Random(seed)
    now_ms = int(time.time() * 1000) - 3_600_000
    for number in range(events):
        user = f"user-{rng.randrange(users)}"
        at_ms = now_ms + number // 3  # several at one instant
        if rng.random() < 0.05:
            at_ms -= rng.randrange(200_000)  # late
        if rng.random() < 0.01:
            at_ms -= 100 * 86_400_000  # older than a window reaches back
        repeated = number > 500 and rng.random() < 0.02
        message = {
            "transaction_id": f"t-{seed}-{number - rng.randrange(1, 500) if repeated else number}",
            "user_id": user,
            "amount": round(rng.lognormvariate(3, 1.5), 2),
            "created_at": timestamp(at_ms),
            "is_vpn": rng.random() < 0.1,
            "merchant_id": f"m-{rng.randrange(500)}" if rng.random() < 0.9 else None,
        }
        if rng.random() < bad_share:
            yield _spoil(message, rng)
        else:
            yield Record(user.encode(), json.dumps(message).encode(), bad=False)


def verdicts(labels: int, users: int, seed: int) -> Iterator[Record]:
    """Yield labels of transactions that :func:`traffic` has made with the same seed, one in ten a fraud."""
    rng = random.Random(seed)
    for number in range(labels):
        user = f"user-{rng.randrange(users)}"
        message = {
            "transaction_id": f"t-{seed}-{number}",
            "user_id": user,
            "is_fraud": rng.random() < 0.1,
            "labelled_at": timestamp(int(time.time() * 1000)),
        }
        yield Record(user.encode(), json.dumps(message).encode(), bad=False)


def _spoil(message: dict[str, object], rng: random.Random) -> Record:
    key, value = str(message["user_id"]).encode(), json.dumps(message).encode()
    ways: list[Callable[[], tuple[bytes | None, bytes | None]]] = [
        lambda: (key, None),
        lambda: (key, value[:-5]),
        lambda: (key, b"\xff" + value),
        lambda: (None, value),
        lambda: (b"someone-else", value),
        lambda: (key, json.dumps(message | {"amount": -1}).encode()),
        lambda: (key, json.dumps(message | {"amount": float("nan")}).encode()),
        lambda: (key, json.dumps(message | {"created_at": "yesterday"}).encode()),
        lambda: (key, json.dumps(message | {"created_at": "2199-01-01T00:00:00Z"}).encode()),
        lambda: (key, json.dumps({name: part for name, part in message.items() if name != "user_id"}).encode()),
        lambda: (key, b'{"a":' * 10_000),
    ]
    return Record(*rng.choice(ways)(), bad=True)


def produce(bootstrap: str, topic: str, records: Iterator[Record], rate: float | None = None) -> int:
    """Send records to a topic, as fast as it takes them or at ``rate`` a second; return how many."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    count, begun = 0, time.monotonic()
    for count, record in enumerate(records, 1):
        producer.produce(topic, key=record.key, value=record.value, headers=[(BAD, b"")] if record.bad else None)
        if count % 500 == 0:
            producer.poll(0)
            if rate is not None:
                time.sleep(max(0.0, begun + count / rate - time.monotonic()))
    assert producer.flush(60) == 0
    return count
