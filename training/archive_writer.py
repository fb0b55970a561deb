"""Putting a file into the archive: whole or not at all, and never over other content."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from models.durable import sync_directory
from training.archive import Archive, ArchiveError, FileName
from training.archive_names import named
from training.archive_reader import BATCH_ROWS, topic_id_of

#: How an unfinished file's name ends; it also begins with a dot, so that nobody takes it for part of the table.
UNFINISHED = ".unfinished"


def unfinished_files(archive: Archive, topic: str) -> list[Path]:
    """Return the files of a topic that are being written, or were left half written by a process that was killed.

    Object stores have none.
    """
    return list(Path(archive.full(topic)).glob(f"date=*/.*{UNFINISHED}")) if archive.is_local else []


class Named(Protocol):
    """What a file's place is taken from."""

    @property
    def path(self) -> str:
        """The path under the archive's root."""


@dataclass
class NewFile:
    """A file that is being written."""

    writer: pq.ParquetWriter
    size: int = 0  # bytes, known when it is in place


@contextmanager
def writing(archive: Archive, name: Named, schema: pa.Schema) -> Iterator[NewFile]:
    """Give a new file to write, which is in place once the block has ended; after an error nothing is left.

    Locally the file has another name until it is whole and on disk. Object stores get it in one put.

    Raises:
        ArchiveError: it cannot be written: no space, no permission, no answer.
    """
    target = Path(archive.full(name.path))
    try:
        if archive.is_local:
            target.parent.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(
            UNFINISHED, f".{target.name}.", target.parent if archive.is_local else None
        )
        try:
            with os.fdopen(handle, "wb") as file:
                with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
                    new = NewFile(writer)
                    yield new
                file.flush()
                os.fsync(file.fileno())
                new.size = file.tell()
            if archive.is_local:
                Path(unfinished).chmod(0o644)  # mkstemp's files are for their owner only
                Path(unfinished).replace(target)
                sync_directory(target.parent)
            else:
                archive.fs.put_file(unfinished, archive.full(name.path))
        finally:
            Path(unfinished).unlink(missing_ok=True)
    except OSError as error:
        raise ArchiveError(f"{archive.url(name.path)} cannot be written: {archive.why(error)}") from error


class Written(NamedTuple):
    """Where rows are in the archive."""

    name: FileName
    size: int  # bytes that were written; 0 where the file was there


def write_rows(archive: Archive, name: FileName, rows: pa.Table) -> Written:
    """Write rows of one topic id, partition and day, in order of offset, users by their ids.

    In the file they have the names that the archive was opened with. A file of that name and topic id is the same file,
    under whichever keys, and is left alone. One of that name with another topic id is of a topic that was deleted and
    made again: it is left alone as well, and this one gets its topic id into the name.

    Raises:
        ArchiveError: it cannot be written, or what is there cannot be read.
    """
    topic_id = rows["topic_id"][0].as_py()
    for candidate in (name, name._replace(tag=topic_id)):
        if not archive.exists(candidate):
            stored = named(rows, archive.pseudonyms)
            with writing(archive, candidate, stored.schema) as file:
                file.writer.write_table(stored, row_group_size=BATCH_ROWS)
            return Written(candidate, file.size)
        if topic_id_of(archive, candidate) == topic_id:
            return Written(candidate, 0)
    raise ArchiveError(f"{archive.url(candidate.path)} holds another topic id than its name says: move it away")
