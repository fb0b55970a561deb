"""History out of the archive, for a rebuild of windows whose log no longer reaches back."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from stream.history import Past
from training.archive import IMPORT, Archive, Kind
from training.archive_reader import read_partition
from training.replay import MerchantHashes, to_records

_COLUMNS = ("topic_id", "offset", "transaction_id", "user_id", "amount", "created_at", "is_vpn", "merchant_id")


def read_past(archive: Archive, topic: str, partition: int, topic_id: str, end: int) -> Iterator[Past]:
    """Yield what the archive has of a partition: imported history, then the topic ``topic_id`` below offset ``end``.

    Users have the names that the archive was opened with.

    Raises:
        training.archive.ArchiveError: a file cannot be read.
    """
    merchants = MerchantHashes()
    for table in read_partition(archive, topic, Kind.TRANSACTIONS, partition, columns=_COLUMNS):
        live = pc.and_(pc.equal(table["topic_id"], topic_id), pc.less(table["offset"], end))
        rows = table.filter(pc.or_(pc.equal(table["topic_id"], IMPORT), live))
        if not len(rows):
            continue
        offsets = rows.filter(pc.equal(rows["topic_id"], topic_id))["offset"]
        users = rows["user_id"].cast(pa.binary()).to_pylist()
        yield Past(users, to_records(rows, merchants), pc.max(offsets).as_py() if len(offsets) else None)
