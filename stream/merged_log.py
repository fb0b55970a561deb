"""The logs of several partitions as one, in order of their records' Kafka timestamps.

Within a partition order is that of offsets, whatever the timestamps say: a record counts as no older than the one
before it. Between partitions it is that of timestamps. What two partitions took in the same millisecond has no order
that anyone could know.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from confluent_kafka import Consumer, TopicPartition

from models.window import RECORD, Ints, Records
from stream.framing import Framing
from stream.replay import decode_messages, take_some

#: Records held in memory at a time, of all partitions together.
BUFFER = 50_000

_WAIT_S = 30.0

#: For the reader: it goes from one partition to the next all the time, and would wait for what it fetches ahead.
READER_CONFIG = {"fetch.wait.max.ms": 10, "queued.min.messages": 5_000}


class Range(NamedTuple):
    """The offsets ``begin`` up to ``end`` of a partition."""

    partition: int
    begin: int
    end: int


class Events(NamedTuple):
    """Good transactions, side by side."""

    times_ms: Ints  # int64 [n] Kafka timestamp, or that of an earlier record of the partition if it is later
    partitions: Ints  # int64 [n] where each was read
    users: npt.NDArray[np.object_]  # [n] keys
    records: Records  # [n] RECORD

    def take(self, rows: Ints | slice) -> "Events":
        """Return some of them."""
        return Events(self.times_ms[rows], self.partitions[rows], self.users[rows], self.records[rows])


_NONE = Events(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.object_), np.empty(0, RECORD))


class _Stream:
    """One partition's range, read a piece at a time; ``ready`` is what has been read and not been taken."""

    def __init__(self, reader: Consumer, topic: str, framing: Framing, given: Range, most: int) -> None:
        self._reader, self._topic, self._framing, self._most = reader, topic, framing, most
        self._partition, self._at, self._end = given
        self._latest_ms = -1
        self.ready = _NONE

    @property
    def over(self) -> bool:
        """Whether there is nothing more to read."""
        return self._at >= self._end

    def fill(self) -> None:
        """Read on if everything was taken, until there is a good transaction or the range is over."""
        if self.over or len(self.ready.users):
            return
        self._reader.assign([TopicPartition(self._topic, self._partition, self._at)])
        while not self.over and not len(self.ready.users):
            messages, self._at = take_some(self._reader, self._at, self._end, self._most, _WAIT_S)
            timestamps = np.array([message.timestamp()[1] for message in messages], np.int64)
            decoded = decode_messages(messages, self._framing)
            times = np.maximum(np.maximum.accumulate(timestamps), self._latest_ms)[decoded.rows]
            users = np.empty(len(decoded.users), np.object_)
            users[:] = decoded.users
            self.ready = Events(times, np.full(len(times), self._partition, np.int64), users, decoded.records)
            self._latest_ms = max(self._latest_ms, int(timestamps.max(initial=-1)))

    def take_until(self, horizon_ms: int) -> Events:
        """Take what is not later than ``horizon_ms``."""
        count = int(np.searchsorted(self.ready.times_ms, horizon_ms, side="right"))
        taken, self.ready = self.ready.take(slice(count)), self.ready.take(slice(count, None))
        return taken


def read_merged(reader: Consumer, topic: str, framing: Framing, ranges: Sequence[Range]) -> Iterator[Events]:
    """Yield the good transactions of ``ranges`` in order, at most :data:`BUFFER` at a time.

    Raises:
        KafkaException: a log cannot be read, or Kafka is silent for half a minute.
    """
    most = max(BUFFER // max(len(ranges), 1), 500)
    streams = [_Stream(reader, topic, framing, each, most) for each in ranges]
    while True:
        for stream in streams:
            stream.fill()
        going_on = [int(stream.ready.times_ms[-1]) for stream in streams if not stream.over]
        horizon = min(going_on, default=np.iinfo(np.int64).max)
        taken = [stream.take_until(horizon) for stream in streams]
        events = Events(*map(np.concatenate, zip(*taken, strict=True)))
        if not len(events.users):
            return
        yield events.take(np.argsort(events.times_ms, kind="stable"))
