"""Full windows in Redis, as if every user had paid ten times before the topic's first event."""

import time
from collections.abc import Iterator
from secrets import token_hex

import numpy as np
from confluent_kafka.admin import AdminClient
from redis import Redis

from models.window import RECORD, SEQUENCE_LENGTH, Windows
from stream.partitioner import partitions_of
from stream.recovery import UNFINISHED
from stream.topics import topic_id
from stream.window_store import Mark, Save, WindowStore

_CHUNK = 5_000  # windows in one script
_TTL_S = 180 * 86_400
_CALL_S = 30.0


def fill(redis_url: str, bootstrap: str, group_id: str, topic: str, users: int) -> int:
    """Give ``user-0`` to ``user-<users - 1>`` a full window each and every partition the mark 0.

    A scorer of the group then begins with the topic's first record, and finds every user's window. With no users, only
    the marks are there.

    Returns:
        The bytes of Redis's memory that the windows take, keys and all.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap})
    its_id = topic_id(admin, topic, _CALL_S)
    partitions = len(admin.list_topics(topic, _CALL_S).topics[topic].partitions)
    with Redis.from_url(redis_url) as client:
        before = client.info("memory")["used_memory"]
        store = WindowStore(client, group_id, topic, SEQUENCE_LENGTH, _TTL_S)
        marks = {partition: Mark(its_id, token_hex(8), 0) for partition in range(partitions)}
        expected: dict[int, Mark] = {}
        for number, names in enumerate(_chunks(users, _CHUNK * partitions)):
            homes = partitions_of(names, partitions, "murmur2")
            for partition, mark in marks.items():
                mine = [names[row] for row in np.flatnonzero(homes == partition).tolist()]
                step = mark._replace(offset=UNFINISHED - number)  # a mark that does not move is saved already
                _save(store, Save(partition, expected.get(partition), step, mine, _full(len(mine))))
                expected[partition] = step
        for partition, mark in marks.items():
            _save(store, Save(partition, expected.get(partition), mark, [], _full(0)))
        return int(client.info("memory")["used_memory"] - before)


def _chunks(users: int, size: int) -> Iterator[list[bytes]]:
    for first in range(0, users, size):
        yield [f"user-{user}".encode() for user in range(first, min(first + size, users))]


def _full(n: int) -> Windows:
    """Return ``n`` full windows: a payment an hour until an hour and a half ago."""
    rng = np.random.default_rng()
    records = np.zeros((n, SEQUENCE_LENGTH), RECORD)
    hours = np.arange(SEQUENCE_LENGTH, 0, -1) * 3_600_000
    records["created_at_ms"] = time.time_ns() // 1_000_000 - 5_400_000 - hours
    records["transaction"] = rng.integers(0, 2**63, records.shape)
    records["amount"] = rng.lognormal(3, 1.5, records.shape).round(2)
    records["merchant"] = rng.integers(1, 2**32, records.shape)
    return Windows(records, np.full(n, SEQUENCE_LENGTH))


def _save(store: WindowStore, save: Save) -> None:
    if store.save([save]) != [True]:
        raise RuntimeError(f"the mark of partition {save.partition} moved while the windows were filled: who scores?")
