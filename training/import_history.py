"""History into the archive, in the layout and the order that replay reads.

Rows go through a DuckDB file on disk, which sorts them in bounded memory: by partition, then time, equal times as in
the files. Each partition's rows are numbered from 0 and come before all live ones. The names carry a hash of what was
imported, so that the same import can be run again after it was interrupted, and another one is refused.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stream.partitioner import partitions_of
from training.archive import IMPORT, SCHEMAS, Archive, FileName, Kind
from training.archive_reader import topic_id_of
from training.archive_writer import write_rows
from training.import_rules import conversion_sql
from training.import_sources import Batch, UnusableHistoryError, read

_FILE_ROWS = 500_000
_READ_ROWS = 65_536
_DAY_MS = 86_400_000
_EXAMPLES = 5
_EPOCH = date(1970, 1, 1)


class Plan(NamedTuple):
    """What to import."""

    files: Sequence[Path]
    columns: Mapping[str, str]  # the files' column for each field that they must have
    own: Sequence[str]  # further fields, taken from the column of their own name if it is there
    label_delay_ms: int
    label_all: bool  # also a label for each transaction that is no fraud
    zone: str  # of times without an offset
    partitions: int
    partitioner: Literal["murmur2", "crc32"]


class Refused(NamedTuple):
    """A row that is not imported."""

    file: str
    row: int
    reason: str
    given: str | None = None  # what the file has there, of an amount, a time or a truth


@dataclass
class Imported:
    """What became of the rows."""

    transactions: int = 0
    repeated_transactions: int = 0  # among them; their ids were there before
    with_merchant: int = 0
    over_vpn: int = 0
    frauds: int = 0
    labels: int = 0
    files: int = 0  # in the archive
    first: str | None = None  # created_at, RFC 3339
    last: str | None = None
    first_label: str | None = None  # labelled_at, RFC 3339
    last_label: str | None = None
    refused: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)  # of each reason, the first rows, as file:row
    given: dict[str, Refused] = field(default_factory=dict)  # of each reason, the first whose value can be shown

    def refuse(self, refused: Refused) -> None:
        """Count a row that is not imported."""
        self.refused[refused.reason] += 1
        examples = self.examples.setdefault(refused.reason, [])
        if len(examples) < _EXAMPLES:
            examples.append(f"{refused.file}:{refused.row}")
        if refused.given is not None:
            self.given.setdefault(refused.reason, refused)

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON, which may be kept: without a value."""
        return {name: value for name, value in vars(self).items() if name != "given"}


def stage(
    connection: duckdb.DuckDBPyConnection,
    plan: Plan,
    on_refused: Callable[[Refused], None],
    on_rows: Callable[[int], None],
) -> None:
    """Read the files into the table ``staging``.

    Args:
        connection: to an empty database on disk.
        plan: what to import.
        on_refused: told of each row that cannot be used.
        on_rows: told how many rows were read, now and then.

    Raises:
        UnusableHistoryError: a file cannot be read.
    """
    connection.execute(f"SET TimeZone = '{plan.zone}'")
    connection.execute(
        'CREATE TABLE staging ("partition" INTEGER, file INTEGER, "row" BIGINT, transaction_id VARCHAR, '
        "user_id VARCHAR, amount DOUBLE, created_at BIGINT, is_vpn BOOLEAN, merchant_id VARCHAR, is_fraud BOOLEAN, "
        "labelled_at BIGINT)"
    )
    for number, path in enumerate(plan.files):
        for batch in read(path, plan.columns, plan.own):
            for unreadable in batch.unreadable:
                on_refused(Refused(path.name, *unreadable))
            if len(batch.rows):
                for refused in _stage_batch(connection, plan, number, batch):
                    on_refused(Refused(path.name, *refused))
            on_rows(len(batch.rows) + len(batch.unreadable))


def _stage_batch(
    connection: duckdb.DuckDBPyConnection, plan: Plan, file: int, batch: Batch
) -> Iterator[tuple[int, str, str | None]]:
    """Convert rows and put those that can be used into ``staging``; yield number, reason and value of the others."""
    values = batch.values.append_column("row", pa.array(batch.rows))
    query = conversion_sql(values.schema, plan.label_delay_ms, label_all=plan.label_all)
    connection.register("batch", values)
    converted = connection.sql(query).to_arrow_table()
    connection.unregister("batch")
    usable = pc.is_null(converted["refused"])
    good = converted.filter(usable).drop(["refused", "given"])
    users = good["user_id"].combine_chunks().dictionary_encode()
    keys = [user.encode() for user in users.dictionary.to_pylist()]
    placed = partitions_of(keys, plan.partitions, plan.partitioner)[users.indices.to_numpy()]
    good = good.append_column("partition", pa.array(placed)).append_column("file", pa.array([file] * len(good)))
    connection.register("good", good)
    connection.execute("INSERT INTO staging BY NAME SELECT * FROM good")
    connection.unregister("good")
    bad = converted.filter(pc.invert(usable))
    yield from zip(*(bad[name].to_pylist() for name in ("row", "refused", "given")), strict=True)


def tag_of(plan: Plan) -> str:
    """Return what the names of an import's files have in common: the same for the same files and options.

    Raises:
        UnusableHistoryError: a file cannot be read.
    """
    digest = hashlib.sha256(repr((sorted(plan.columns.items()), *plan[2:])).encode())
    for path in plan.files:
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise UnusableHistoryError(f"{path} cannot be read: {error.strerror}") from None
    return f"{IMPORT}-{digest.hexdigest()[:8]}"


def refuse_another(archive: Archive, topic: str, tag: str, partitions: int) -> None:
    """See that an import fits what is in the archive.

    Raises:
        UnusableHistoryError: it holds another import, or has more partitions.
    """
    for name in archive.files(topic):
        # every import begins at 0, so that few files have to be opened
        if name.tag != tag and name.first == 0 and topic_id_of(archive, name) == IMPORT:
            raise UnusableHistoryError(
                f"{archive.url(topic)} holds another import ({name.path}), whose rows are numbered as these would be: "
                "import all files in one command, into another directory or after removing that import's files"
            )
        if name.partition >= partitions:
            raise UnusableHistoryError(
                f"{archive.url(topic)} has a partition {name.partition}: give --partitions as the topic has them"
            )


def write(connection: duckdb.DuckDBPyConnection, archive: Archive, topic: str, kind: Kind, query: str, tag: str) -> int:
    """Write the rows of a query into the archive; return how many files they are.

    Args:
        connection: has the table ``staging``.
        archive: where to.
        topic: name of the topic.
        kind: what it holds.
        query: gives the kind's columns from ``key`` on, ``partition`` and ``kafka_timestamp``, ordered by
            both. Times are in ms.
        tag: of the names.

    Raises:
        ArchiveError: they cannot be written. Those that are stay; the same import goes on from there.
    """
    files = 0
    offset, place, waiting = 0, (-1, -1), list[pa.Table]()

    def flush() -> None:
        nonlocal files, offset
        if waiting:
            files += 1
            rows = _as_records(pa.concat_tables(waiting), kind, offset)
            name = FileName(topic, _EPOCH + timedelta(place[1]), place[0], offset, offset + len(rows) - 1, tag)
            write_rows(archive, name, rows)
            offset += len(rows)
            waiting.clear()

    for batch in connection.sql(query).to_arrow_reader(_READ_ROWS):
        rows = pa.Table.from_batches([batch])
        its_partitions, days = rows["partition"].to_numpy(), rows["kafka_timestamp"].to_numpy() // _DAY_MS
        cuts = np.flatnonzero(np.diff(its_partitions) | np.diff(days)) + 1
        for begin, end in pairwise([0, *cuts.tolist(), len(rows)]):
            its = (int(its_partitions[begin]), int(days[begin]))
            if its != place or sum(map(len, waiting)) >= _FILE_ROWS:
                flush()
                offset = offset if its[0] == place[0] else 0
                place = its
            waiting.append(rows[begin:end])
    flush()
    return files


def _as_records(rows: pa.Table, kind: Kind, first: int) -> pa.Table:
    schema = SCHEMAS[kind]
    added = {
        "topic_id": pa.array([IMPORT] * len(rows)),
        "offset": pa.array(np.arange(first, first + len(rows))),
        "key": rows["user_id"],
    }
    columns = [added[name] if name in added else rows[name] for name in schema.names]
    return pa.table([column.cast(schema.field(i).type) for i, column in enumerate(columns)], schema)


TRANSACTIONS = (
    'SELECT "partition", created_at AS kafka_timestamp, transaction_id, user_id, amount, created_at, is_vpn, '
    'merchant_id FROM staging ORDER BY "partition", kafka_timestamp, file, "row"'
)
LABELS = (
    'SELECT "partition", labelled_at AS kafka_timestamp, transaction_id, user_id, is_fraud, labelled_at '
    'FROM staging WHERE {which} ORDER BY "partition", kafka_timestamp, file, "row"'
)
