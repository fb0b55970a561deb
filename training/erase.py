"""Taking a user out of the archive's files, and out of the tables of profiles that were made of them.

A file that holds the user is written again without the rows, under the name that it has: the range of offsets in a name
says what was looked at, not how many rows are left, so archiver, compaction and replay go on as before. A file that
held nobody else is removed, since a table without rows has no topic id. Killed anywhere, every file is either as it was
or without the user, and running it again does the rest.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from training.archive import Archive, ArchiveError, FileName
from training.archive_reader import BATCH_ROWS, in_portions
from training.archive_writer import UNFINISHED, writing

_OWNERS = ("user_id", "key")  # a score or a label may have been produced under another key


class Swept(NamedTuple):
    """What was found of a user in a topic's files."""

    files: int  # looked at
    rewritten: int  # held the user and others
    removed: int  # held the user alone
    rows: int  # of the user


class SweptTables(NamedTuple):
    """What was found of a user in tables of profiles."""

    files: int  # looked at
    removed: int  # held the user


def sweep_topic(archive: Archive, topic: str, user: str, *, dry_run: bool) -> Swept:
    """Take the rows of a user out of a topic's files: those with the user's id, or under it as their key.

    Columns that this release does not know stay. With ``dry_run`` the files are only looked through.

    Raises:
        ArchiveError: a file cannot be read or written; those before it are done.
    """
    names = archive.files(topic)
    rewritten = removed = rows = 0
    for name in names:
        held, of_user = _count(archive, name, user)
        if not of_user:
            continue
        rows += of_user
        if held == of_user:
            removed += 1
            if not dry_run:
                archive.remove(name)
        else:
            rewritten += 1
            if not dry_run:
                _rewrite(archive, name, user)
    return Swept(len(names), rewritten, removed, rows)


def unfinished_files(archive: Archive, topic: str) -> int:
    """Return how many files of a topic are being written, or were left half written by a process that was killed.

    Object stores have none.
    """
    return sum(1 for _ in Path(archive.full(topic)).glob(f"date=*/.*{UNFINISHED}")) if archive.is_local else 0


def sweep_tables(place: Archive, user: str, *, dry_run: bool) -> SweptTables:
    """Remove the tables of profiles that hold a user; ``tenfold profiles build`` makes them again, of what is left.

    They are removed whole, because the user's payments are also in the counts of merchants.

    Args:
        place: root of the tables (:mod:`training.profiles_table`); there need not be any.
        user: whose profile it is.
        dry_run: only look through them.

    Raises:
        ArchiveError: a table cannot be read or removed.
    """
    place.fs.invalidate_cache()
    paths = sorted(str(path) for path in place.fs.glob(f"{place.root}/*/day=*/profiles.parquet"))
    holding = [path for path in paths if _table_holds(place, path, user)]
    for path in [] if dry_run else holding:
        try:
            place.fs.rm_file(path)
        except OSError as error:
            raise ArchiveError(f"{_url(place, path)} cannot be removed: {error.strerror or error}") from None
    return SweptTables(len(paths), len(holding))


def _count(archive: Archive, name: FileName, user: str) -> tuple[int, int]:
    """Return how many rows a file has, and how many of them are the user's."""
    of_user = 0
    with archive.open_file(name) as file:
        if "user_id" not in file.schema_arrow.names:
            raise archive.unreadable(name, ValueError("it has no column user_id"))
        for batch in _batches(archive, name, file, [each for each in _OWNERS if each in file.schema_arrow.names]):
            of_user += pc.sum(_is_of(batch, user)).as_py()
        return file.metadata.num_rows, of_user


def _rewrite(archive: Archive, name: FileName, user: str) -> None:
    with archive.open_file(name) as file, writing(archive, name, file.schema_arrow) as new:
        for rows in in_portions(_others(archive, name, file, user), BATCH_ROWS):
            new.writer.write_table(rows)


def _others(archive: Archive, name: FileName, file: pq.ParquetFile, user: str) -> Iterator[pa.Table]:
    for batch in _batches(archive, name, file, file.schema_arrow.names):
        rows = pa.Table.from_batches([batch], file.schema_arrow).filter(pc.invert(_is_of(batch, user)))
        if len(rows):  # a row group without rows has no statistics, which readers go by
            yield rows


def _batches(archive: Archive, name: FileName, file: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        yield from file.iter_batches(BATCH_ROWS, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise archive.unreadable(name, error) from None


def _is_of(batch: pa.RecordBatch, user: str) -> pa.Array:
    """Return, bool [rows], which rows are the user's."""
    mask = pc.fill_null(pc.equal(batch["user_id"], user), False)
    if "key" in batch.schema.names:
        mask = pc.or_(mask, pc.fill_null(pc.equal(batch["key"], user), False))
    return mask


def _table_holds(place: Archive, path: str, user: str) -> bool:
    try:
        with place.fs.open(path, "rb") as source:
            rows = pq.read_table(source, columns=["kind", "id"])
    except (OSError, pa.ArrowException) as error:
        raise ArchiveError(f"{_url(place, path)} cannot be read ({error}): remove it, or build it again") from None
    return bool(pc.any(pc.and_(pc.equal(rows["kind"], "user"), pc.equal(rows["id"], user))).as_py())


def _url(place: Archive, path: str) -> str:
    return place.url(path.removeprefix(f"{place.root}/"))
