"""Bringing users in the archive's files, and in tables of profiles, under the newest pseudonym key.

A file whose users lie under an older generation, clear ids among them, is written again under the name that it has: the
same records, its users brought forward from name to name, so that nobody's id has to be known. Killed anywhere, every
file is either as it was or under the newest key, both of which readers understand, and running it again does the rest.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from stream.errors import UsageError
from stream.plurals import count_of
from stream.progress import Counted, nobody
from training.archive import Archive, FileName
from training.archive_names import NAMED_UNDER, named, stored_schema
from training.archive_reader import stored_batches, stored_generation
from training.archive_writer import unfinished_files, writing
from training.profiles_table import rename_table, stored_tables


class NoKeysError(UsageError):
    """There is no key to bring users under."""


class Renamed(NamedTuple):
    """What became of a topic's files, or of tables."""

    files: int  # looked at
    rewritten: int  # whose users were under an older generation


@dataclass(frozen=True)
class Rotated:
    """What was brought under the newest key."""

    topics: dict[str, Renamed]
    profile_tables: Renamed
    unfinished_files: int  # being written, or left half written: nobody can say under which names

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        renamed = {topic: each._asdict() for topic, each in self.topics.items()}
        return {**asdict(self), "topics": renamed, "profile_tables": self.profile_tables._asdict()}


def rotate(archive: Archive, topics: list[str], tables: Archive, progress: Counted = nobody) -> Rotated:
    """Bring all files of some topics, and all tables of profiles, under the newest key that they were opened with.

    ``progress`` counts the files of topics that were looked at.

    Raises:
        NoKeysError: there is none.
        training.archive.ArchiveError: a file cannot be read or written, or is under other keys; those before it are
            done.
        training.profiles_table.ProfileTableError: the same of a table.
    """
    if not archive.pseudonyms.keys:
        raise NoKeysError("TENFOLD_PSEUDONYM_KEYS is not set: give the keys, newest first (docs/pseudonyms.md)")
    renamed = {topic: rotate_topic(archive, topic, progress) for topic in topics}
    paths = stored_tables(tables)
    of_tables = Renamed(len(paths), sum(rename_table(tables, path) for path in paths))
    return Rotated(renamed, of_tables, sum(len(unfinished_files(archive, topic)) for topic in topics))


def rotate_topic(archive: Archive, topic: str, progress: Counted = nobody) -> Renamed:
    """Bring the files of a topic under the newest key. Columns that this release does not know stay.

    Raises:
        ArchiveError: a file cannot be read or written, or is under other keys; those before it are done.
    """
    names, rewritten = archive.files(topic), 0
    for name in names:
        rewritten += _rename(archive, name)
        progress(1)
    return Renamed(len(names), rewritten)


def _rename(archive: Archive, name: FileName) -> bool:
    with archive.open_file(name) as file:
        if _tag(archive, name, file) == archive.pseudonyms.tag:
            return False
        with writing(archive, name, stored_schema(file.schema_arrow, archive.pseudonyms)) as new:
            for rows in _renamed(archive, name, file):
                new.writer.write_table(rows)
    return True


def _tag(archive: Archive, name: FileName, file: pq.ParquetFile) -> str:
    """Return the word for the keys of a file, by its first row."""
    if NAMED_UNDER.name in file.schema_arrow.names:
        for rows in stored_batches(archive, name, file, [NAMED_UNDER.name], batch_rows=1):
            return archive.pseudonyms.tags[stored_generation(archive, name, rows)]
    return ""


def _renamed(archive: Archive, name: FileName, file: pq.ParquetFile) -> Iterator[pa.Table]:
    for rows in stored_batches(archive, name, file, file.schema_arrow.names):
        yield named(rows, archive.pseudonyms, stored_generation(archive, name, rows))


def report_lines(rotated: Rotated) -> list[str]:
    """Return what to tell a person."""
    found = {**rotated.topics, "tables of profiles": rotated.profile_tables}
    lines = [
        f"{what}: {each.rewritten:,} of {count_of(each.files, 'file')} brought under the newest key"
        for what, each in found.items()
    ]
    if rotated.unfinished_files:
        lines.append(
            f"{count_of(rotated.unfinished_files, 'half-written file')} may hold older names: "
            "`tenfold archive compact` removes what is half-written once it is a day old"
        )
    return lines
