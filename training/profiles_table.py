"""Tables of profiles as files: ``<root>/<zone>+<label delay>d/day=YYYY-MM-DD/profiles.parquet``.

Columns ``kind`` ('merchant', 'user', or 'prior' in one row), ``id``, and the values; ordered, so that the same archive
makes the same file. Users have the names that the archive was opened with, and the file's metadata says under which
keys.
"""

import hashlib
from datetime import date
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.context import VALUES, ProfileDefinition, day_number
from stream.errors import TenfoldError, UsageError
from training.archive import Archive, ArchiveError, open_archive
from training.archive_names import UnknownKeysError, forward_column, known
from training.archive_writer import writing
from training.profiles import Summary, Topics, open_profiles

SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        *(pa.field(name, pa.float32(), nullable=False) for name in VALUES),
    ]
)

_DEFINITION = b"tenfold.profile_definition"
_NAMED_UNDER = b"tenfold.pseudonyms"  # the tag of the keys; not there where users have their ids


class ProfileTableError(TenfoldError):
    """A table of profiles cannot be written or read; the message says which and what to do."""


class NoTablesError(UsageError):
    """Where a command was told to look there are no tables of profiles."""


class Built(NamedTuple):
    """A table that was built."""

    day: date
    url: str
    merchants: int
    users: int
    summary: Summary


class StoredTable(NamedTuple):
    """A table as it was read."""

    day: date
    version: str  # of its contents
    rows: pa.Table
    generation: int = 0  # of the pseudonyms that users have in it


def build_table(
    archive: Archive,
    topics: Topics,
    definition: ProfileDefinition,
    day: date,
    place: Archive,
    scratch: Path | None = None,
) -> Built:
    """Build the table of a day and put it in its place, in the place of one that is there.

    Args:
        archive: what it is built of.
        topics: of transactions and labels.
        definition: of the profiles.
        day: at whose start things stood so.
        place: root of the tables.
        scratch: directory for what does not fit into memory.

    Raises:
        training.archive.ArchiveError: the archive cannot be read.
        ProfileTableError: the table cannot be written.
    """
    number = day_number(day)
    with open_profiles(archive, topics, definition, first=number, last=number, scratch=scratch) as profiles:
        rows = profiles.table(number).cast(SCHEMA)
        summary = profiles.summary(number)
    path = table_path(definition, day)
    tag = {_NAMED_UNDER: archive.pseudonyms.tag} if archive.pseudonyms.keys else {}
    _write(place, path, rows.replace_schema_metadata({_DEFINITION: definition.name, **tag}))
    kinds = rows["kind"].value_counts().to_pylist()
    counts = {each["values"]: each["counts"] for each in kinds}
    return Built(day, place.url(path), counts.get("merchant", 0), counts.get("user", 0), summary)


def table_path(definition: ProfileDefinition, day: date) -> str:
    """Return where a table is under the root of the tables."""
    name = f"{definition.zone.replace('/', '-')}+{definition.label_delay_days}d"
    return f"{name}/day={day.isoformat()}/profiles.parquet"


def read_table(place: Archive, definition: ProfileDefinition, day: date) -> StoredTable:
    """Return the table of a day.

    Raises:
        ProfileTableError: it is not there, or it is damaged or of another definition.
    """
    path = table_path(definition, day)
    try:
        raw = place.fs.cat_file(place.full(path))
        rows = pq.read_table(pa.BufferReader(raw))
    except FileNotFoundError:
        raise ProfileTableError(f"{place.url(path)} does not exist: `tenfold profiles build` makes it") from None
    except (OSError, pa.ArrowException) as error:
        raise ProfileTableError(f"{place.url(path)} cannot be read ({place.why(error)}): build it again") from None
    if not rows.schema.equals(SCHEMA) or (rows.schema.metadata or {}).get(_DEFINITION) != definition.name.encode():
        raise ProfileTableError(f"{place.url(path)} is not a table of this release and definition: build it again")
    generation = generation_of(place, place.full(path), rows.schema)
    return StoredTable(day, hashlib.sha256(raw).hexdigest()[:16], rows, generation)


def tables_beside(archive: Archive, option: str = "--to") -> Archive:
    """Return the root where tables are put unless told otherwise; see :meth:`training.archive.Archive.beside`."""
    return archive.beside("profiles", option)


def tables_for(given: str | None, archive: Archive) -> Archive:
    """Return the root of the tables that a command mends: what was given, or what is beside the archive, if anything.

    Raises:
        NoTablesError: what was given is not there.
        UsageError: nothing was given, and nothing is beside the archive.
        training.archive.ArchiveError: there is no place of that URL.
    """
    if given is None:
        return tables_beside(archive, "--profiles")
    place = open_archive(given, archive.pseudonyms)
    if not place.fs.exists(place.root):
        raise NoTablesError(f"there is no {given}: give --profiles the place where `tenfold profiles` puts tables")
    return place


def stored_tables(place: Archive) -> list[str]:
    """Return the paths of all tables, of any definition, under the root of the tables, as the file system has them."""
    place.fs.invalidate_cache()
    return sorted(str(path) for path in place.fs.glob(f"{place.root}/*/day=*/profiles.parquet"))


def generation_of(place: Archive, path: str, schema: pa.Schema) -> int:
    """Return the generation of the names that users have in a table.

    Raises:
        training.archive.ArchiveError: it is none of the keys that ``place`` was opened with.
    """
    tag = (schema.metadata or {}).get(_NAMED_UNDER, b"").decode()
    try:
        return known(tag, place.pseudonyms)
    except UnknownKeysError:
        raise place.of_other_keys(path.removeprefix(f"{place.root}/"), tag) from None


def rename_table(place: Archive, path: str) -> bool:
    """Bring the users of a table under the newest pseudonym key; return whether they were under an older one.

    The file is the one that building it anew would make.

    Raises:
        training.archive.ArchiveError: they are under keys that ``place`` was not opened with.
        ProfileTableError: the table cannot be read or written.
    """
    below = path.removeprefix(f"{place.root}/")
    try:
        rows = pq.read_table(pa.BufferReader(place.fs.cat_file(path)))
    except (OSError, pa.ArrowException) as error:
        raise ProfileTableError(f"{place.url(below)} cannot be read ({place.why(error)}): build it again") from None
    generation = generation_of(place, path, rows.schema)
    if generation == len(place.pseudonyms.keys):
        return False
    names = forward_column(rows["id"], place.pseudonyms, generation)
    ids = pc.if_else(pc.equal(rows["kind"], "user"), names, rows["id"])
    renamed = rows.set_column(rows.schema.get_field_index("id"), rows.schema.field("id"), ids)
    metadata = {**(rows.schema.metadata or {}), _NAMED_UNDER: place.pseudonyms.tag}
    _write(
        place, below, renamed.sort_by([("kind", "ascending"), ("id", "ascending")]).replace_schema_metadata(metadata)
    )
    return True


class _TableFile(NamedTuple):
    path: str  # under the root of the tables


def _write(place: Archive, path: str, rows: pa.Table) -> None:
    try:
        with writing(place, _TableFile(path), rows.schema) as file:
            file.writer.write_table(rows)
    except ArchiveError as error:
        raise ProfileTableError(str(error)) from error
