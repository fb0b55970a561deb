"""Archives made by hand, for tests of what reads them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from training.archive import SCHEMAS, TIME, Archive, FileName, Kind, open_archive
from training.archive_writer import write_rows

DAY = date(2026, 1, 31)
DAY_MS = 86_400_000

#: Kinds of places for :func:`empty_archive`.
PLACES = ("local", "memory")


@contextmanager
def empty_archive(place: str, directory: Path) -> Iterator[Archive]:
    """Give an empty archive below a directory of the test's own, on disk, or in its name on an object store."""
    if place == "local":
        yield open_archive(str(directory / "archive"))
        return
    made = open_archive(f"{place}://{directory.name}/archive")
    yield made
    if made.fs.exists(made.root):
        made.fs.rm(made.root, recursive=True)


def start_ms(day: date) -> int:
    """Return the first millisecond of a UTC day."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def transactions(
    offsets: Sequence[int], day: date = DAY, partition: int = 0, topic_id: str = "T1", users: int = 10
) -> pa.Table:
    """Return a row for each offset, made from it: the same offset is the same row whichever file it is in."""
    numbers = np.array(offsets, np.int64)
    times = pa.array(start_ms(day) + numbers % DAY_MS).cast(TIME)
    user_ids = pa.array([f"user-{number % users}" for number in offsets])
    columns = {
        "topic_id": pa.array([topic_id] * len(offsets)),
        "partition": pa.array([partition] * len(offsets), pa.int32()),
        "offset": pa.array(numbers),
        "kafka_timestamp": times,
        "key": user_ids,
        "transaction_id": pa.array([f"{topic_id}-{partition}-{number}" for number in offsets]),
        "user_id": user_ids,
        "amount": pa.array(numbers / 4),
        "created_at": times,
        "is_vpn": pa.array(numbers % 7 == 0),
        "merchant_id": pa.array([f"m-{number % 3}" if number % 5 else None for number in offsets]),
    }
    return pa.table(columns, SCHEMAS[Kind.TRANSACTIONS])


def put(archive: Archive, rows: pa.Table, topic: str = "transactions") -> FileName:
    """Put rows of one topic id, partition and UTC day into the archive as one file."""
    offsets = rows["offset"].to_pylist()
    day = rows["kafka_timestamp"][0].as_py().date()
    return write_rows(archive, FileName(topic, day, rows["partition"][0].as_py(), offsets[0], offsets[-1]), rows).name
