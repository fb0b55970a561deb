"""Replay from the log into the windows in Redis: what recovery and a rebuild have in common."""

from collections.abc import Sequence

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from models.window import Records, advance
from stream.decode import Decoded, decode
from stream.framing import Framing
from stream.window_store import Load, Mark, Save, WindowStore


def take(reader: Consumer, at: int, end: int, most: int, wait_s: float) -> tuple[list[Message], int]:
    """Return at most ``most`` records below ``end``, and the offset to go on at: ``end`` when the range is over.

    Offsets have gaps: a range ends with the first record at or past ``end``, or with the partition.

    Args:
        reader: assigned to one partition, and about to read ``at``.
        at: offset of the next record.
        end: offset behind the range.
        most: records to return.
        wait_s: seconds to wait for the first of them; there may be none by then.

    Raises:
        KafkaException: the log cannot be read.
    """
    taken: list[Message] = []
    first = reader.poll(wait_s)
    for message in [first, *reader.consume(most - 1, 0)] if first else []:
        problem, offset = message.error(), message.offset()
        if problem is not None and problem.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(problem)
        if problem is not None or offset is None or offset >= end:
            return taken, end
        taken.append(message)
        at = offset + 1
    return taken, at


def take_some(reader: Consumer, at: int, end: int, most: int, wait_s: float) -> tuple[list[Message], int]:
    """Return what :func:`take` does, where there is something before ``end``: nothing within ``wait_s`` is an error.

    Raises:
        KafkaException: as :func:`take` does, or nothing came.
    """
    taken, behind = take(reader, at, end, most, wait_s)
    if not taken and behind < end:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
    return taken, behind


def decode_messages(messages: Sequence[Message], framing: Framing) -> Decoded:
    """Decode records as the scorer does; ``framing`` is as in :func:`stream.decode.decode`."""
    return decode(
        [message.key() for message in messages],
        [message.value() for message in messages],
        [message.timestamp()[1] for message in messages],
        framing,
    )


def advance_stored(
    store: WindowStore, partition: int, marks: tuple[Mark, Mark], users: Sequence[bytes], records: Records, age_ms: int
) -> bool:
    """Run ``records`` of ``users``, side by side in order of arrival, through a partition's windows in Redis.

    Windows and mark go together from the first of ``marks`` to the second. Return whether they did: they do not if the
    mark is another, and then nothing has changed. ``age_ms`` is as in :func:`models.window.advance`.
    """
    before, after = marks
    rows: dict[bytes, int] = {}
    places = np.array([rows.setdefault(user, len(rows)) for user in users], np.int64)
    [loaded] = store.load([Load(partition, before.epoch, list(rows))])
    if loaded.mark != before:
        return False
    windows = advance(loaded.windows, places, records, age_ms).state
    return store.save([Save(partition, before, after, list(rows), windows)]) == [True]
