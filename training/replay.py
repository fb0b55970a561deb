"""Replay of the archive: one partition's events through the scorer's own windows, in vectorised chunks.

What comes out is what the scorer saw: the same order, the same :func:`models.window.advance`, late events and
repetitions included. A partition holds whole users, so partitions can be replayed side by side.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.hashing import merchant_hash, transaction_hashes
from models.window import RECORD, VPN, Ints, Records, Windows, advance
from training.archive import Archive, Kind
from training.archive_reader import read_partition

#: Events that are advanced at once. Measured: half as many cost more calls, twice as many do not fit a core's cache.
CHUNK = 32_768

_NEEDED = ("offset", "transaction_id", "user_id", "amount", "created_at", "is_vpn", "merchant_id")


class Replayed(NamedTuple):
    """Events of a partition, one after the other in replay order; the two run side by side."""

    rows: pa.Table  # the columns asked for
    scored: Windows  # [n, T] the window that each event is scored on


def replay_partition(
    archive: Archive,
    topic: str,
    partition: int,
    *,
    sequence_length: int,
    max_age_ms: int,
    columns: Sequence[str] = (),
    since: date | None = None,
    until: date | None = None,
) -> Iterator[Replayed]:
    """Yield the events of one partition in replay order, with the windows that they are scored on.

    Held in memory are a window for each user of the partition (about 400 bytes) and some chunks of events.

    Args:
        archive: where the files are.
        topic: name of the topic of transactions.
        partition: which one.
        sequence_length: transactions in a window, T.
        max_age_ms: as in :func:`models.window.advance`.
        columns: of the archive's transactions, to come out beside the windows.
        since: only files of this UTC day and later ones; windows begin empty there.
        until: only files of days before this one.

    Raises:
        ArchiveError: as :func:`training.archive_reader.read_partition` does.
    """
    wanted = list(dict.fromkeys([*_NEEDED, *columns]))
    rows_of, merchants = _Rows(), MerchantHashes()
    windows = Windows.empty(0, sequence_length)
    for table in read_partition(
        archive, topic, Kind.TRANSACTIONS, partition, columns=wanted, since=since, until=until, batch_rows=CHUNK
    ):
        rows, events = rows_of(table["user_id"])
        windows = _with_room(windows, len(rows_of))
        advanced = advance(windows.take(rows), events, to_records(table, merchants), max_age_ms)
        windows.put(rows, advanced.state)
        yield Replayed(table.select(list(columns)), advanced.scored)


class MerchantHashes(dict[bytes, int]):
    """:func:`models.hashing.merchant_hash` of UTF-8 ids, each computed once: merchants repeat."""

    def __missing__(self, merchant: bytes) -> int:
        self[merchant] = merchant_hash(merchant.decode())
        return self[merchant]


def to_records(table: pa.Table, merchants: MerchantHashes) -> Records:
    """Return transactions of the archive as windows keep them, ``[n] RECORD``, as :mod:`stream.decode` makes them."""
    records = np.empty(len(table), RECORD)
    records["created_at_ms"] = table["created_at"].cast(pa.int64()).to_numpy()
    records["transaction"] = id_hashes(table["transaction_id"])
    records["amount"] = table["amount"].to_numpy()
    names, places = _distinct(table["merchant_id"])
    hashes = np.zeros(len(names) + 1, np.uint32)  # the last is for events without a merchant, at place -1
    hashes[:-1] = list(map(merchants.__getitem__, _utf8(names)))
    records["merchant"] = hashes[places]
    records["flags"] = np.where(table["is_vpn"].to_numpy(), VPN, 0)
    return records


def id_hashes(ids: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """Return :func:`models.hashing.transaction_hash` of each id, ``uint64 [n]``."""
    return transaction_hashes(_utf8(ids.combine_chunks()))


class _Rows:
    """Rows of users in the order of their first events, ever growing."""

    def __init__(self) -> None:
        self._rows: defaultdict[bytes, int] = defaultdict()
        self._rows.default_factory = self._rows.__len__

    def __len__(self) -> int:
        return len(self._rows)

    def __call__(self, users: pa.ChunkedArray) -> tuple[Ints, Ints]:
        """Return the row of each distinct user, and where in these each event's is."""
        names, places = _distinct(users)
        return np.fromiter(map(self._rows.__getitem__, _utf8(names)), np.int64, len(names)), places


def _distinct(ids: pa.ChunkedArray) -> tuple[pa.Array, Ints]:
    """Return distinct ids, and the place of each among them, -1 for null."""
    encoded = ids.combine_chunks().dictionary_encode()
    places: Ints = pc.fill_null(encoded.indices, -1).to_numpy().astype(np.int64)
    return encoded.dictionary, places


def _utf8(ids: pa.Array) -> npt.NDArray[np.object_]:
    encoded: npt.NDArray[np.object_] = ids.view(pa.binary()).to_numpy(zero_copy_only=False)
    return encoded


def _with_room(windows: Windows, users: int) -> Windows:
    """Return windows with room for so many users, the new ones empty."""
    room, length = windows.records.shape
    if users <= room:
        return windows
    more = Windows.empty(max(users - room, room // 2), length)
    return Windows(np.concatenate([windows.records, more.records]), np.concatenate([windows.lengths, more.lengths]))
