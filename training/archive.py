"""The archive's layout: which columns, which files, what their names mean.

``<root>/<topic>/date=YYYY-MM-DD/<topic>+<partition>+<first>-<last>.parquet``, plain Hive partitions under a local
directory or any fsspec URL. The date is the UTC day of the records' Kafka timestamps. A file holds every record of its
topic id, partition and day between the offsets ``first`` and ``last``, both included, that was not a dead letter, in
order of offset. Files may overlap; whoever reads drops what he has seen (:mod:`training.archive_reader`).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from functools import cached_property
from typing import Any, BinaryIO, NamedTuple

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from stream.errors import TenfoldError, UsageError
from stream.pseudonyms import CLEAR, Pseudonyms
from stream.settings import mask_url

#: The topic id of imported history. Its offsets count from 0 in each partition, and it comes before all live records.
IMPORT = "import"

TIME = pa.timestamp("ms", tz="UTC")

_DAY = re.compile(r"(?:.*/)?date=(\d{4}-\d{2}-\d{2})")
_PATH = re.compile(r"([A-Za-z0-9._-]+)/date=(\d{4}-\d{2}-\d{2})/\1\+(\d+)\+(\d+)-(\d+)(?:\+([A-Za-z0-9_-]+))?\.parquet")


class ArchiveError(TenfoldError):
    """The archive cannot be read or written; the message names the file and says what to do."""


class NoArchiveError(UsageError):
    """Where a command was told to look there is no archive; the message says where that is and what to give."""


class Kind(StrEnum):
    """What a topic of the archive holds."""

    TRANSACTIONS = "transactions"
    LABELS = "labels"
    SCORES = "scores"


_RECORD = [
    pa.field("topic_id", pa.string(), nullable=False),  # Kafka's; a topic made again under its name has another
    pa.field("partition", pa.int32(), nullable=False),
    pa.field("offset", pa.int64(), nullable=False),
    pa.field("kafka_timestamp", TIME, nullable=False),
    pa.field("key", pa.string()),
]
_TRANSACTION = [
    pa.field("transaction_id", pa.string(), nullable=False),
    pa.field("user_id", pa.string(), nullable=False),
]

#: The columns of each table, as Parquet has them. One that is nullable may be missing from a file.
SCHEMAS: dict[Kind, pa.Schema] = {
    Kind.TRANSACTIONS: pa.schema(
        [
            *_RECORD,
            *_TRANSACTION,
            pa.field("amount", pa.float64(), nullable=False),
            pa.field("created_at", TIME, nullable=False),
            pa.field("is_vpn", pa.bool_(), nullable=False),
            pa.field("merchant_id", pa.string()),
        ]
    ),
    Kind.LABELS: pa.schema(
        [
            *_RECORD,
            *_TRANSACTION,
            pa.field("is_fraud", pa.bool_(), nullable=False),
            pa.field("labelled_at", TIME, nullable=False),
        ]
    ),
    Kind.SCORES: pa.schema(
        [
            *_RECORD,
            *_TRANSACTION,
            pa.field("created_at", TIME, nullable=False),
            pa.field("fraud_probability", pa.float64(), nullable=False),
            pa.field("lstm_score", pa.int32(), nullable=False),
            pa.field("sequence_anomaly", pa.bool_(), nullable=False),
            pa.field("insufficient_history", pa.bool_(), nullable=False),
            pa.field("window_length", pa.int32(), nullable=False),
            pa.field("profile_day", pa.date32()),
            pa.field("model_version", pa.string(), nullable=False),
            pa.field("scored_at", TIME, nullable=False),
            pa.field("reasons", pa.list_(pa.string())),
            pa.field("suppressed", pa.bool_()),
            pa.field("source_topic", pa.string()),  # these three name the input record that the score answers
            pa.field("source_partition", pa.int32()),
            pa.field("source_offset", pa.int64()),
        ]
    ),
}


class FileName(NamedTuple):
    """What a file's place says of it. Topics cannot have a ``+`` in their names."""

    topic: str
    day: date  # UTC, of the records' Kafka timestamps
    partition: int
    first: int  # offset
    last: int  # offset, included
    tag: str = ""  # tells files apart whose offsets mean different records: an import, a second topic of that name

    @property
    def path(self) -> str:
        """The path under the archive's root."""
        tag = f"+{self.tag}" if self.tag else ""
        name = f"{self.topic}+{self.partition}+{self.first}-{self.last}{tag}.parquet"
        return f"{self.topic}/date={self.day.isoformat()}/{name}"

    @classmethod
    def parse(cls, path: str) -> "FileName | None":
        """Return what ``<topic>/date=…/<name>`` says; ``None`` if no archiver writes such a name."""
        found = _PATH.fullmatch(path)
        if found is None:
            return None
        topic, day, partition, first, last, tag = found.groups()
        try:
            return cls(topic, date.fromisoformat(day), int(partition), int(first), int(last), tag or "")
        except ValueError:  # no such day
            return None


@dataclass(frozen=True)
class Archive:
    """Where the files are: a root in a file system. Paths are relative to the root."""

    fs: fsspec.AbstractFileSystem
    root: str
    pseudonyms: Pseudonyms = CLEAR  # under which users are written, and come out of what is read

    @cached_property
    def is_local(self) -> bool:
        """Whether files are renamed into place and synced, rather than put whole."""
        return isinstance(self.fs, LocalFileSystem)

    def full(self, path: str) -> str:
        """Return a path as the file system takes it."""
        return f"{self.root}/{path}"

    def address(self, path: str) -> str:
        """Return a path as another program takes it; of some file systems it has a password in it."""
        return str(self.full(path) if self.is_local else self.fs.unstrip_protocol(self.full(path)))

    def url(self, path: str) -> str:
        """Return a path for a person."""
        return self.address(path) if self.is_local else mask_url(self.address(path))

    def why(self, error: Exception) -> str:
        """Return what an error of the file system says, which may quote a path, without what is masked in it."""
        said = str(getattr(error, "strerror", None) or error)
        return said if self.url("") == self.address("") else said.replace(self.root, self.url("").rstrip("/"))

    def beside(self, name: str, option: str = "--to") -> "Archive":
        """Return the place beside the archive for what is made of it.

        Raises:
            UsageError: nothing is beside a whole bucket; the message names the option that says where.
        """
        above, slash, _ = self.root.rpartition("/")
        if not slash:
            raise UsageError(
                f"{self.url('').rstrip('/') or '/'} is all there is at that place, so that {name} cannot be beside "
                f"it: give {option} a place"
            )
        return replace(self, root=f"{above}/{name}")

    def files(self, topic: str, *, since: date | None = None, until: date | None = None) -> list[FileName]:
        """Return the files of a topic whose day is in ``[since, until)``, by day, partition and offset.

        Raises:
            ArchiveError: a file is there whose name says nothing: Spark and DuckDB would read it, and replay would not.
        """
        self.fs.invalidate_cache()  # object stores remember their listings
        names = []
        for directory in self._list(topic):
            day = _DAY.fullmatch(directory)
            if day is None or (since and day[1] < since.isoformat()) or (until and day[1] >= until.isoformat()):
                continue
            for path in self._list(directory):
                if path.endswith(".parquet") and "/." not in path:
                    name = FileName.parse(path)
                    if name is None:
                        raise ArchiveError(f"{self.url(path)} is not named as the archiver names files: move it away")
                    names.append(name)
        return sorted(names)

    def days_told(self, topic: str) -> str:
        """Return of which days a topic has files, for an error that finds nothing in them.

        Raises:
            ArchiveError: a file is there whose name says nothing.
        """
        days = [name.day for name in self.files(topic)]
        if not days:
            return "it has no file, and `tenfold archive run` or `tenfold import` fills it"
        return f"its files are of what arrived from {min(days)} to {max(days)}"

    def refuse_file(self) -> None:
        """See that there is no file where the archive is, or is to be.

        Raises:
            ArchiveError: there is one.
        """
        if self.is_local and self.fs.isfile(self.root):
            raise ArchiveError(f"{self.url('').rstrip('/')} is a file, and an archive is a directory")

    def require(self, topics: Sequence[str]) -> None:
        """See that there is an archive: a day of one of its topics, or an empty place that is to be one.

        Raises:
            NoArchiveError: there is none.
            ArchiveError: it is a file.
        """
        self.refuse_file()
        if any(_DAY.fullmatch(directory) for topic in topics for directory in self._list(topic)):
            return
        is_there = self.fs.exists(self.root)
        if is_there and not self.fs.ls(self.root, detail=False):
            return  # nothing has been archived yet
        what = f"it has nothing of {', '.join(topics)}" if is_there else "no such directory"
        raise NoArchiveError(
            f"there is no archive at {self.url('')}: {what}. Give --archive, or TENFOLD_ARCHIVE, the place that "
            "`tenfold archive run` or `tenfold import` fills"
        )

    def exists(self, name: FileName) -> bool:
        """Return whether a file is there."""
        return bool(self.fs.exists(self.full(name.path)))

    def remove(self, name: FileName) -> None:
        """Remove a file; one that is gone is none to worry about.

        Raises:
            ArchiveError: it cannot be removed.
        """
        try:
            self.fs.rm_file(self.full(name.path))
        except FileNotFoundError:
            return
        except OSError as error:
            raise ArchiveError(f"{self.url(name.path)} cannot be removed: {self.why(error)}") from None

    def _list(self, path: str) -> list[str]:
        """Return the paths of what is in a directory; nothing where there is none.

        Raises:
            ArchiveError: it cannot be listed.
        """
        try:
            entries = self.fs.ls(self.full(path), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise ArchiveError(f"{self.url(path)} cannot be listed: {self.why(error)}") from None
        return [str(entry).rstrip("/").removeprefix(f"{self.root}/") for entry in entries]

    def open_file(self, name: FileName) -> pq.ParquetFile:
        """Open a file; its pages are checked against their sums as they are read.

        Raises:
            ArchiveError: it is not a Parquet file, or it is gone.
        """
        path = self.full(name.path)
        try:
            source: pa.NativeFile | BinaryIO = pa.OSFile(path) if self.is_local else self.fs.open(path, "rb")
            return pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=not self.is_local)
        except (OSError, pa.ArrowException) as error:
            raise self.unreadable(name, error) from None

    def unreadable(self, name: FileName, error: Exception) -> ArchiveError:
        """Return the error for a file that cannot be read."""
        return ArchiveError(
            f"{self.url(name.path)} cannot be read ({self.why(error)}): restore it from a copy; or move it away, "
            f"archive its offsets again while Kafka still has them, or go on without them"
        )

    def of_other_keys(self, path: str, tag: str) -> ArchiveError:
        """Return the error for a file whose users are named under keys that are not on this process's list."""
        return ArchiveError(
            f"{self.url(path)} names users under pseudonym keys {tag}, and TENFOLD_PSEUDONYM_KEYS has "
            f"{self.pseudonyms.tag or 'none'}: give this process the list that wrote it, newest key first "
            "(docs/pseudonyms.md)"
        )


def open_archive(url: str, pseudonyms: Pseudonyms = CLEAR, **storage_options: Any) -> Archive:
    """Return the archive at a directory or an fsspec URL; it need not exist yet.

    Users are written, and come out of what is read, as ``pseudonyms`` names them (:mod:`training.archive_names`).

    Raises:
        ArchiveError: there is no file system for such a URL, its package is missing, or it does not answer.
    """
    try:
        fs, root = url_to_fs(url, **storage_options)
    except (ValueError, ImportError) as error:
        shown = mask_url(url)
        told = isinstance(error, ImportError) or shown == url  # else it may quote what is masked
        why = error if told else "write /, ?, # and @ in user and password as %2F, %3F, %23 and %40"
        raise ArchiveError(f"{shown} is not a place for an archive: {why}") from None
    except OSError as error:  # some file systems connect at once
        raise ArchiveError(f"{mask_url(url)} does not answer: {error.strerror or type(error).__name__}") from None
    return Archive(fs, root.rstrip("/"), pseudonyms)


def partitions(files: Iterable[FileName]) -> list[int]:
    """Return the partitions that files are of, in order."""
    return sorted({name.partition for name in files})
