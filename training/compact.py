"""Merging a day's small files. The content stays: the same records, each once, in order of offset.

A merged file covers what the old ones covered, and they are removed once it is in place. Killed in between, both are
there, readers drop what they have seen, and the next run removes the old ones.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from itertools import groupby
from typing import NamedTuple

import pyarrow as pa

from stream.progress import Counted, nobody
from training.archive import SCHEMAS, Archive, ArchiveError, FileName, Kind
from training.archive_names import NAMED_UNDER, named, stored_schema
from training.archive_reader import BATCH_ROWS, StoredFile, by_topic_id, in_portions, look_at, merge
from training.archive_writer import unfinished_files, writing

log = logging.getLogger(__name__)

_ABANDONED_AFTER_S = 86_400.0


class Compacted(NamedTuple):
    """What became of a topic's files."""

    before: int
    after: int


def compact(archive: Archive, topic: str, kind: Kind, day: date | None = None, progress: Counted = nobody) -> Compacted:
    """Merge the files of each day, partition and topic id into one.

    Args:
        archive: where the files are.
        topic: name of the topic.
        kind: what it holds.
        day: only this UTC day; else all but the last one, which is still being written.
        progress: counts the files that were looked at.

    Raises:
        ArchiveError: a file cannot be read or written, or has columns that this release would drop; what is merged by
            then stays merged.
    """
    names = archive.files(topic)
    last = max((name.day for name in names), default=None)
    chosen = [name for name in names if (name.day == day if day is not None else name.day != last)]
    after = 0
    for (its_day, partition), its in groupby(sorted(chosen), key=lambda name: (name.day, name.partition)):
        stored = [_look_at_all(archive, name, kind) for name in its]
        for files in by_topic_id(stored):
            after += 1
            if len(files) > 1:
                name = _merge_files(archive, kind, files)
                said = {"topic": topic, "day": its_day, "partition": partition, "files": len(files), "into": name.path}
                log.info("merged", extra=said)
            progress(len(files))
    return Compacted(len(chosen), after)


def _look_at_all(archive: Archive, name: FileName, kind: Kind) -> StoredFile:
    with archive.open_file(name) as file:
        unknown = sorted(set(file.schema_arrow.names) - {*SCHEMAS[kind].names, NAMED_UNDER.name})
    if unknown:
        raise ArchiveError(
            f"{archive.url(name.path)} has columns that this release does not know ({', '.join(unknown)}) and would "
            "drop: compact with the release that wrote it"
        )
    return look_at(archive, name, SCHEMAS[kind])


def _merge_files(archive: Archive, kind: Kind, files: Sequence[StoredFile]) -> FileName:
    """Merge files of one day, partition and topic id; return the name of the one that is left."""
    names = [file.name for file in files]
    target, is_there = _target(archive, names, files[0].topic_id)
    if not is_there:
        names_now = archive.pseudonyms
        with writing(archive, target, stored_schema(SCHEMAS[kind], names_now)) as new:
            for rows in in_portions(merge(files, BATCH_ROWS), BATCH_ROWS):
                new.writer.write_table(named(rows, names_now, len(names_now.keys)))
    for name in names:
        if name != target:
            archive.remove(name)
    return target


def _target(archive: Archive, names: Sequence[FileName], topic_id: str) -> tuple[FileName, bool]:
    """Return the name for all that files hold, and whether that file is there: a name is not given to other content."""
    rows = _count(archive, names)
    whole = names[0]._replace(first=min(name.first for name in names), last=max(name.last for name in names))
    # taken by another topic of that name, or by a file from before the archiver was set back and filled a gap
    for candidate in (whole, whole._replace(tag=topic_id), whole._replace(tag=f"rows-{rows}")):
        if candidate in names and _rows_of(archive, candidate) == rows:
            return candidate, True
        if not archive.exists(candidate):
            return candidate, False
    raise ArchiveError(f"{archive.url(whole.path)} and the names beside it are taken: move the file away")


def _rows_of(archive: Archive, name: FileName) -> int:
    with archive.open_file(name) as file:
        return int(file.metadata.num_rows)


def _count(archive: Archive, names: Sequence[FileName]) -> int:
    """Return how many records files hold together, each counted once."""
    offsets = pa.schema([pa.field("offset", pa.int64(), nullable=False)])
    stored = sorted((look_at(archive, name, offsets) for name in names), key=lambda file: file.name.first)
    return sum(len(rows) for rows in merge(stored, BATCH_ROWS))


def remove_abandoned(archive: Archive, topic: str, now: float) -> int:
    """Remove unfinished files that whoever wrote them left behind more than a day ago; return how many.

    ``now`` is in seconds since the epoch, as the file system's times are.
    """
    removed = 0
    for path in unfinished_files(archive, topic):
        with suppress(FileNotFoundError):  # whoever wrote it has finished meanwhile
            if now - path.stat().st_mtime > _ABANDONED_AFTER_S:
                path.unlink()
                removed += 1
    return removed
