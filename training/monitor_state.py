"""The monitor's state in Redis, and the marks that say up to which offset of each log it is.

Keys of a partition share a hash tag, so they share a slot of Redis Cluster::

    tenfold:{<group>:monitor:1:<topic>:<partition>}:mark     topic id, offset, newest Kafka timestamp
    tenfold:{<group>:monitor:1:<topic>:<partition>}:days     a set: the days of which there are records
    tenfold:{<group>:monitor:1:<topic>:<partition>}:<day>    packed records (training.monitor_records), as they came
    tenfold:{<group>:monitor:1}:rows                         a hash: what was published, and of what
    tenfold:{<group>:monitor:1}:forgotten                    the day before which nothing is kept

A partition's records and its mark move together, in one script, if the mark still is what the records were read from:
nothing is there twice and nothing is missing, whoever is killed when. Kafka's committed offsets are for those who look.
The number is that of the layout.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, cast

import numpy as np

from stream.redis_client import Client, round_trip, run_script
from stream.redis_cluster import Command
from training.archive import Kind
from training.archive_kafka import Place
from training.monitor_records import DTYPES, Packed

_APPEND = """
local mark = redis.call('GET', KEYS[1]) or ''
if mark == ARGV[2] then return 1 end  -- appended by an attempt whose answer was lost
if mark ~= ARGV[1] then return 0 end
for i = 3, #KEYS do
  redis.call('APPEND', KEYS[i], ARGV[2 * i - 2])
  redis.call('EXPIRE', KEYS[i], ARGV[3])
  redis.call('SADD', KEYS[2], ARGV[2 * i - 1])
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
_DAY_S = 86_400


class Mark(NamedTuple):
    """Up to where the state has a partition: it holds the records of topic ``topic_id`` below ``offset``."""

    topic_id: str
    offset: int
    newest_ms: int  # Kafka timestamp

    def to_bytes(self) -> bytes:
        """Return the value that Redis keeps."""
        return f"{self.topic_id} {self.offset} {self.newest_ms}".encode()

    @classmethod
    def from_bytes(cls, value: bytes | None) -> Self | None:
        """Read what :meth:`to_bytes` wrote; ``None`` where there is no mark.

        Raises:
            ValueError: the value is not a mark.
        """
        if value is None:
            return None
        topic_id, offset, newest_ms = value.decode().split(" ")
        return cls(topic_id, int(offset), int(newest_ms))


class Append(NamedTuple):
    """A request to move a partition from ``expected`` to ``mark``, with the records in between."""

    place: Place
    expected: Mark | None
    mark: Mark
    by_day: Mapping[int, Packed]


@dataclass(frozen=True)
class State:
    """The state of one group's monitors. Methods raise ``redis.RedisError`` when Redis does not do its part."""

    client: Client
    group_id: str
    kept_days: int

    def marks(self, places: Sequence[Place]) -> list[Mark | None]:
        """Return the marks of partitions."""
        answers = round_trip(self.client, [("GET", self._key(place, "mark")) for place in places])
        return [Mark.from_bytes(value) for value in answers]

    def append(self, requests: Sequence[Append]) -> list[bool]:
        """Append records and set marks, one script a partition in one round trip; say which partitions were moved.

        A partition whose mark is not the expected one is left as it is: somebody else owns it, or Redis lost writes.
        Asking again for what was done already is answered with yes.
        """
        answers = run_script(self.client, _APPEND, [self._arguments(request) for request in requests])
        return [answer == 1 for answer in answers]

    def _arguments(self, request: Append) -> list[str | bytes | int]:
        """Return what the script is run with: the number of its keys, the keys, its arguments."""
        place, expected, mark, by_day = request
        names: list[str | int] = ["mark", "days", *by_day]
        keys = [self._key(place, name) for name in names]
        records = [each for day, its in by_day.items() for each in (its.tobytes(), day)]
        before = expected.to_bytes() if expected else b""
        return [len(keys), *keys, before, mark.to_bytes(), (self.kept_days + 2) * _DAY_S, *records]

    def sizes(self, places: Sequence[Place]) -> dict[int, int]:
        """Return how many bytes the partitions together have of each day, in order of days."""
        named = round_trip(self.client, [("SMEMBERS", self._key(place, "days")) for place in places])
        asked = sorted((int(day), place) for place, days in zip(places, named, strict=True) for day in days)
        lengths = round_trip(self.client, [("STRLEN", self._key(place, day)) for day, place in asked])
        sizes: dict[int, int] = {}
        for (day, _), length in zip(asked, lengths, strict=True):
            if length:
                sizes[day] = sizes.get(day, 0) + int(length)
        return sizes

    def records(self, kind: Kind, places: Sequence[Place], day: int) -> list[Packed]:
        """Return the records of a day, of each partition in order of offset."""
        found = round_trip(self.client, [("GET", self._key(place, day)) for place in places])
        return [np.frombuffer(value or b"", DTYPES[kind]) for value in found]

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return what was published, by name."""
        found = cast("dict[bytes, bytes]", self.client.hgetall(self._own("rows")))
        return {name.decode(): json.loads(row) for name, row in found.items()}

    def publish(self, name: str, row: Mapping[str, Any]) -> None:
        """Keep what is published under a name."""
        self.client.hset(self._own("rows"), name, json.dumps(row))

    def forgotten(self) -> int:
        """Return the day before which nothing is kept; a negative number is before all days."""
        found = cast("bytes | None", self.client.get(self._own("forgotten")))
        return -1 if found is None else int(found)

    def forget(self, places: Sequence[Place], before: int, rows: Sequence[str]) -> None:
        """Forget all days before one, and what was published under names."""
        self.client.set(self._own("forgotten"), before)
        if rows:
            self.client.hdel(self._own("rows"), *rows)
        named = round_trip(self.client, [("SMEMBERS", self._key(place, "days")) for place in places])
        commands: list[Command] = []
        for place, found in zip(places, named, strict=True):
            days = [int(day) for day in found if int(day) < before]
            if days:
                commands.append(("UNLINK", *(self._key(place, day) for day in days)))
                commands.append(("SREM", self._key(place, "days"), *days))
        round_trip(self.client, commands)

    def _key(self, place: Place, name: str | int) -> str:
        topic, partition = place
        return f"tenfold:{{{self.group_id}:monitor:1:{topic}:{partition}}}:{name}"

    def _own(self, name: str) -> str:
        return f"tenfold:{{{self.group_id}:monitor:1}}:{name}"
