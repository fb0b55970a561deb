"""Taking a user out of the archive's files, and out of the tables of profiles that were made of them.

A file that holds the user is written again without the rows, under the name that it has: the range of offsets in a name
says what was looked at, not how many rows are left, so archiver, compaction and replay go on as before. A file that
held nobody else is removed, since a table without rows has no topic id. Killed anywhere, every file is either as it was
or without the user, and running it again does the rest.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stream.progress import Counted, nobody
from training.archive import Archive, ArchiveError, FileName
from training.archive_names import NAMED_UNDER, OWNERS
from training.archive_reader import BATCH_ROWS, in_portions, stored_batches, stored_generation
from training.archive_writer import writing
from training.profiles_table import generation_of as table_generation
from training.profiles_table import stored_tables


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


def sweep_topic(archive: Archive, topic: str, user: str, progress: Counted = nobody, *, dry_run: bool) -> Swept:
    """Take the rows of a user out of a topic's files: those with the user's id, or under it as their key.

    The id is looked for under the name that it has in each file. Columns that this release does not know stay. With
    ``dry_run`` the files are only looked through. ``progress`` counts them.

    Raises:
        ArchiveError: a file cannot be read or written, or names users under pseudonym keys that the archive was not
            opened with; those before it are done.
    """
    names = archive.files(topic)
    rewritten = removed = rows = 0
    for name in names:
        held, of_user = _count(archive, name, user)
        progress(1)
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
    paths = stored_tables(place)
    holding = [path for path in paths if _table_holds(place, path, user)]
    for path in [] if dry_run else holding:
        try:
            place.fs.rm_file(path)
        except OSError as error:
            raise ArchiveError(f"{_url(place, path)} cannot be removed: {place.why(error)}") from None
    return SweptTables(len(paths), len(holding))


def _count(archive: Archive, name: FileName, user: str) -> tuple[int, int]:
    """Return how many rows a file has, and how many of them are the user's."""
    of_user = 0
    with archive.open_file(name) as file:
        if "user_id" not in file.schema_arrow.names:
            raise archive.unreadable(name, ValueError("it has no column user_id"))
        wanted = [each for each in (*OWNERS, NAMED_UNDER.name) if each in file.schema_arrow.names]
        for rows in stored_batches(archive, name, file, wanted):
            of_user += pc.sum(_is_of(archive, name, rows, user)).as_py()
        return file.metadata.num_rows, of_user


def _rewrite(archive: Archive, name: FileName, user: str) -> None:
    with archive.open_file(name) as file, writing(archive, name, file.schema_arrow) as new:
        for rows in in_portions(_others(archive, name, file, user), BATCH_ROWS):
            new.writer.write_table(rows)


def _others(archive: Archive, name: FileName, file: pq.ParquetFile, user: str) -> Iterator[pa.Table]:
    for rows in stored_batches(archive, name, file, file.schema_arrow.names):
        others = rows.filter(pc.invert(_is_of(archive, name, rows, user)))
        if len(others):  # a row group without rows has no statistics, which readers go by
            yield others


def _is_of(archive: Archive, name: FileName, rows: pa.Table, user: str) -> pa.ChunkedArray:
    """Return, bool [rows], which rows are the user's."""
    its_name = archive.pseudonyms.every(user.encode())[stored_generation(archive, name, rows)].decode()
    mask = pc.fill_null(pc.equal(rows["user_id"], its_name), False)
    if "key" in rows.schema.names:
        mask = pc.or_(mask, pc.fill_null(pc.equal(rows["key"], its_name), False))
    return mask


def _table_holds(place: Archive, path: str, user: str) -> bool:
    try:
        with place.fs.open(path, "rb") as source:
            rows = pq.read_table(source, columns=["kind", "id"])
    except (OSError, pa.ArrowException) as error:
        raise ArchiveError(
            f"{_url(place, path)} cannot be read ({place.why(error)}): remove it, or build it again"
        ) from None
    its_name = place.pseudonyms.every(user.encode())[table_generation(place, path, rows.schema)].decode()
    return bool(pc.any(pc.and_(pc.equal(rows["kind"], "user"), pc.equal(rows["id"], its_name))).as_py())


def _url(place: Archive, path: str) -> str:
    return place.url(path.removeprefix(f"{place.root}/"))
