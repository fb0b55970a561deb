"""History out of the archive, for a rebuild of windows whose log no longer reaches back."""

from collections.abc import Iterator
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from stream.history import Past
from training.archive import IMPORT, Archive, Kind
from training.archive_reader import read_partition
from training.replay import MerchantHashes, to_records

_COLUMNS = ("topic_id", "offset", "transaction_id", "user_id", "amount", "created_at", "is_vpn", "merchant_id")


def past_rows(
    archive: Archive, topic: str, partition: int, topic_id: str, end: int, *, since: date | None = None
) -> Iterator[pa.Table]:
    """Yield what the archive has of a partition: imported history, then the topic ``topic_id`` below offset ``end``.

    Users have the names that the archive was opened with. ``since`` leaves out files of earlier UTC days.

    Raises:
        training.archive.ArchiveError: a file cannot be read.
    """
    for table in read_partition(archive, topic, Kind.TRANSACTIONS, partition, columns=_COLUMNS, since=since):
        live = pc.and_(pc.equal(table["topic_id"], topic_id), pc.less(table["offset"], end))
        rows = table.filter(pc.or_(pc.equal(table["topic_id"], IMPORT), live))
        if len(rows):
            yield rows


def read_past(archive: Archive, topic: str, partition: int, topic_id: str, end: int) -> Iterator[Past]:
    """Yield what :func:`past_rows` does, as windows take it; it raises the same."""
    merchants = MerchantHashes()
    for rows in past_rows(archive, topic, partition, topic_id, end):
        users = rows["user_id"].cast(pa.binary()).to_pylist()
        yield Past(users, to_records(rows, merchants), last_offset(rows, topic_id))


def last_offset(rows: pa.Table, topic_id: str) -> int | None:
    """Return the greatest offset of a topic's rows, ``None`` if there are none."""
    offsets = rows.filter(pc.equal(rows["topic_id"], topic_id))["offset"]
    return pc.max(offsets).as_py() if len(offsets) else None
