"""Reading a bucket: the records of one partition in replay order, each once, in bounded memory.

A key always goes to the same partition, so a partition holds whole users, and replaying it gives the windows that
serving had.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stream.plurals import count_of
from training.archive import IMPORT, SCHEMAS, Archive, FileName, Kind
from training.archive_names import NAMED_UNDER, OWNERS, UnknownKeysError, generation_of, known, under_newest

BATCH_ROWS = 65_536


def read_partition(
    archive: Archive,
    topic: str,
    kind: Kind,
    partition: int,
    *,
    columns: Sequence[str] | None = None,
    since: date | None = None,
    until: date | None = None,
    batch_rows: int = BATCH_ROWS,
) -> Iterator[pa.Table]:
    """Yield the records of one partition in replay order, each ``(topic_id, offset)`` once.

    Imported history comes first, then one topic id after the other as they first appear (by Kafka timestamp), each in
    order of offset. Held in memory are ``batch_rows`` of each file that covers the offset at hand: of one or two,
    unless an archiver left overlaps.

    Args:
        archive: where the files are.
        topic: name of the topic.
        kind: what it holds.
        partition: which one; :func:`training.archive.partitions` says which there are.
        columns: which of the kind's columns, all by default.
        since: only files of this UTC day and later ones.
        until: only files of days before this one.
        batch_rows: how many rows a table has at least, but for the last; at most twice as many.

    Raises:
        ArchiveError: a file is corrupt, lacks a column, or has one of another type. Columns that this release does not
            know are ignored, and one that may be null may be missing. Or users are wanted, and a file names them under
            pseudonym keys that the archive was not opened with.
    """
    schema = SCHEMAS[kind]
    wanted = pa.schema([schema.field(name) for name in columns]) if columns is not None else schema
    names = [name for name in archive.files(topic, since=since, until=until) if name.partition == partition]
    for files in by_topic_id(look_at(archive, name, wanted) for name in names):
        yield from (rows.select(wanted.names) for rows in in_portions(merge(files, batch_rows), batch_rows))


def topic_id_of(archive: Archive, name: FileName) -> str:
    """Return the topic id of a file's records.

    Raises:
        ArchiveError: it cannot be read.
    """
    return look_at(archive, name, pa.schema([])).topic_id


@dataclass(frozen=True)
class StoredFile:
    """A file of which only the end, where Parquet keeps schema and statistics, was read."""

    archive: Archive
    name: FileName
    schema: pa.Schema  # of the rows that come out
    present: list[str]  # the columns of it that the file has
    topic_id: str
    begin_ms: int  # least Kafka timestamp

    def rows(self, batch_rows: int) -> Iterator[pa.Table]:
        """Yield the rows as ``schema`` has them, users under the names that the archive was opened with.

        Raises:
            ArchiveError: the file is damaged, its rows are not what its name says, or users have names of other keys.
        """
        next_offset = self.name.first
        try:
            with self.archive.open_file(self.name) as file:
                for batch in file.iter_batches(batch_rows, columns=self._read(file)):
                    found = under_newest(pa.Table.from_batches([batch]), self.archive.pseudonyms)
                    rows = pa.table([self._column(found, field) for field in self.schema], self.schema)
                    offsets = _offsets(rows)
                    if not (
                        offsets[0] >= next_offset and (np.diff(offsets) > 0).all() and offsets[-1] <= self.name.last
                    ):
                        raise ValueError("its offsets are not in order, or not those of its name")
                    next_offset = int(offsets[-1]) + 1
                    yield rows
        except UnknownKeysError as error:
            raise self.archive.of_other_keys(self.name.path, error.args[0]) from None
        except (OSError, ValueError) as error:  # pa.ArrowInvalid is a ValueError
            raise self.archive.unreadable(self.name, error) from None

    def _read(self, file: pq.ParquetFile) -> list[str]:
        """Return the columns to read; what names users goes with the keys that they are named under, as of now."""
        its_names = NAMED_UNDER.name in file.schema_arrow.names and not set(OWNERS).isdisjoint(self.present)
        return [*self.present, NAMED_UNDER.name] if its_names else self.present

    def _column(self, rows: pa.Table, field: pa.Field) -> pa.ChunkedArray:
        if field.name not in self.present:
            return pa.nulls(len(rows), field.type)
        column = rows.column(field.name)
        if column.null_count and not field.nullable:
            raise ValueError(f"{field.name} is null in {count_of(column.null_count, 'row')}")
        return column


def look_at(archive: Archive, name: FileName, wanted: pa.Schema) -> StoredFile:
    """Read what a file says of itself.

    Raises:
        ArchiveError: it is not whole, or has other columns; or users are wanted, and it has names of other keys.
    """
    with archive.open_file(name) as file:
        found: pa.Schema = file.schema_arrow
        schema = wanted if "offset" in wanted.names else wanted.append(pa.field("offset", pa.int64(), nullable=False))
        for field in schema:
            if field.name not in found.names and not field.nullable:
                raise archive.unreadable(name, ValueError(f"it has no column {field.name}"))
            if field.name in found.names and found.field(field.name).type != field.type:
                raise archive.unreadable(
                    name, ValueError(f"{field.name} is {found.field(field.name).type}, not {field.type}")
                )
        try:
            topic_ids, times = _bounds(file, "topic_id"), _bounds(file, "kafka_timestamp")
            if NAMED_UNDER.name in found.names and not set(OWNERS).isdisjoint(schema.names):
                for tag in _bounds(file, NAMED_UNDER.name):
                    known(tag.decode(), archive.pseudonyms)
        except UnknownKeysError as error:
            raise archive.of_other_keys(name.path, error.args[0]) from None
        except ValueError as error:
            raise archive.unreadable(name, error) from None
        if topic_ids[0] != topic_ids[1]:
            raise archive.unreadable(name, ValueError("it holds records of several topic ids"))
        present = [field.name for field in schema if field.name in found.names]
        return StoredFile(archive, name, schema, present, topic_ids[0].decode(), times[0])


def stored_batches(
    archive: Archive, name: FileName, file: pq.ParquetFile, columns: Sequence[str], batch_rows: int = BATCH_ROWS
) -> Iterator[pa.Table]:
    """Yield the rows of an open file as they are stored: all of its columns if asked, users under its own names.

    Raises:
        ArchiveError: it cannot be read.
    """
    try:
        for batch in file.iter_batches(batch_rows, columns=list(columns)):
            yield pa.Table.from_batches([batch])
    except (OSError, pa.ArrowException) as error:
        raise archive.unreadable(name, error) from None


def stored_generation(archive: Archive, name: FileName, rows: pa.Table) -> int:
    """Return the generation of the names in a file's rows, as they are stored.

    Raises:
        ArchiveError: it is of keys that the archive was not opened with, or there are several.
    """
    try:
        return generation_of(rows, archive.pseudonyms)
    except UnknownKeysError as error:
        raise archive.of_other_keys(name.path, error.args[0]) from None
    except ValueError as error:
        raise archive.unreadable(name, error) from None


def _bounds(file: pq.ParquetFile, column: str) -> tuple[Any, Any]:
    """Return least and greatest value of a column, as Parquet stores them, from the statistics.

    Raises:
        ValueError: there are none.
    """
    metadata = file.metadata
    if column not in file.schema_arrow.names:
        raise ValueError(f"it has no column {column}")
    place = next(i for i in range(metadata.num_columns) if file.schema.column(i).path == column)
    groups = [metadata.row_group(group).column(place).statistics for group in range(metadata.num_row_groups)]
    if not groups or any(each is None or not each.has_min_max for each in groups):
        raise ValueError(f"it has no rows, or no statistics of {column}")
    return min(each.min_raw for each in groups), max(each.max_raw for each in groups)


def by_topic_id(files: Iterable[StoredFile]) -> Iterator[list[StoredFile]]:
    """Yield the files of each topic id: the import, then as they first appear."""
    by_id: dict[str, list[StoredFile]] = {}
    for file in files:
        by_id.setdefault(file.topic_id, []).append(file)

    def appeared(topic_id: str) -> tuple[bool, int, str]:
        return topic_id != IMPORT, min(file.begin_ms for file in by_id[topic_id]), topic_id

    for topic_id in sorted(by_id, key=appeared):
        yield sorted(by_id[topic_id], key=lambda file: (file.name.first, file.name.last))


class _Cursor:
    """The rows of a file that were read and not passed on yet; never none."""

    def __init__(self, batches: Iterator[pa.Table], rows: pa.Table) -> None:
        self._batches, self._rows, self._offsets = batches, rows, _offsets(rows)

    @property
    def first(self) -> int:
        return int(self._offsets[0])

    @property
    def last(self) -> int:
        return int(self._offsets[-1])

    def take(self, end: int) -> tuple[pa.Table, bool]:
        """Return the rows up to offset ``end``, and whether more come."""
        count = int(np.searchsorted(self._offsets, end, side="right"))
        taken, self._rows, self._offsets = self._rows[:count], self._rows[count:], self._offsets[count:]
        if not len(self._rows):
            more = next(self._batches, None)
            if more is None:
                return taken, False
            self._rows, self._offsets = more, _offsets(more)
        return taken, True


def merge(files: Sequence[StoredFile], batch_rows: int) -> Iterator[pa.Table]:
    """Yield the rows of one topic id's files in order of offset, each offset once. ``files`` are by first offset."""
    upcoming = list(reversed(files))
    cursors: list[_Cursor] = []
    while upcoming or cursors:
        while upcoming and (not cursors or upcoming[-1].name.first <= min(cursor.first for cursor in cursors)):
            batches = upcoming.pop().rows(batch_rows)
            cursors.append(_Cursor(batches, next(batches)))
        # what lies before the first offset that may come from a batch not read yet
        end = min(cursor.last for cursor in cursors)
        if upcoming:
            end = min(end, upcoming[-1].name.first - 1)
        taken = [(cursor, *cursor.take(end)) for cursor in cursors]
        cursors = [cursor for cursor, _, more in taken if more]
        yield _each_once([rows for _, rows, _ in taken if len(rows)])


def _each_once(parts: Sequence[pa.Table]) -> pa.Table:
    if len(parts) == 1:
        return parts[0]
    rows = pa.concat_tables(parts)
    offsets, firsts = np.unique(_offsets(rows), return_index=True)
    return rows if len(offsets) == len(rows) and (np.diff(firsts) > 0).all() else rows.take(firsts)


def in_portions(tables: Iterator[pa.Table], batch_rows: int) -> Iterator[pa.Table]:
    """Put small tables together, so that an archive of many small files is read as fast as one of large ones."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= batch_rows:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _offsets(rows: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    offsets: np.ndarray[tuple[int], np.dtype[np.int64]] = rows["offset"].to_numpy()
    return offsets
