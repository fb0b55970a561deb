"""The archive as a relation of DuckDB, for profiles and joins. Each record is there once, as in replay."""

from collections.abc import Callable, Sequence
from datetime import date
from itertools import groupby

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from duckdb.func import PythonUDFType

from stream.pseudonyms import Pseudonyms
from training.archive import SCHEMAS, Archive, FileName, Kind
from training.archive_names import NAMED_UNDER, OWNERS, forward_column, known

_FORWARD = "newest_name"  # a function of a user's name and the keys it is under

_SQL_TYPES = {
    pa.string(): "VARCHAR",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.date32(): "DATE",
    pa.timestamp("ms", tz="UTC"): "TIMESTAMPTZ",
    pa.list_(pa.string()): "VARCHAR[]",
}


def connect(archive: Archive, **config: str | int | bool) -> duckdb.DuckDBPyConnection:
    """Return a connection that can read the archive, in UTC. ``config`` is DuckDB's, ``memory_limit`` for example."""
    connection = duckdb.connect(config=dict(config))
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")  # DuckDB draws it on standard output, into what --json prints
    if not archive.is_local:
        connection.register_filesystem(archive.fs)
    if archive.pseudonyms.keys:
        forward = _forward(archive.pseudonyms)
        connection.create_function(_FORWARD, forward, ["VARCHAR", "VARCHAR"], "VARCHAR", type=PythonUDFType.ARROW)
    return connection


def relation_sql(
    archive: Archive, topic: str, kind: Kind, *, since: date | None = None, until: date | None = None
) -> str:
    """Return a query, to stand in brackets or behind ``CREATE VIEW``, of a topic's records: the columns of its kind.

    It is for connections of :func:`connect` to the same archive. Users have the names that the archive was opened with;
    where one is named under other keys, the query fails once it is asked for names. An archive without files gives no
    rows. Only where files overlap are their rows looked through for repetitions.

    Args:
        archive: where the files are; the query is of those that are there now.
        topic: name of the topic.
        kind: what it holds.
        since: only files of this UTC day and later ones.
        until: only files of days before this one.
    """
    alone, overlapping = _apart(archive.files(topic, since=since, until=until))
    schema = SCHEMAS[kind]
    columns = ", ".join(_named(name, archive.pseudonyms) if name in OWNERS else f'"{name}"' for name in schema.names)
    # gives the types, and the columns that none of the files has
    nothing = ", ".join(f'NULL::{_SQL_TYPES[field.type]} AS "{field.name}"' for field in schema.append(NAMED_UNDER))
    parts = [f"(FROM (SELECT {nothing}) WHERE false)"]
    if alone:
        parts.append(f"(FROM {_read(archive, alone)})")
    if overlapping:
        once = 'row_number() OVER (PARTITION BY topic_id, "partition", "offset") = 1'
        parts.append(f"(FROM {_read(archive, overlapping)} QUALIFY {once})")
    return f"SELECT {columns} FROM ({' UNION ALL BY NAME '.join(parts)})"  # noqa: S608 - all names are ours


def _named(column: str, pseudonyms: Pseudonyms) -> str:
    under = NAMED_UNDER.name
    if not pseudonyms.keys:
        other = f"error('users are named under pseudonym keys ' || {under})"
        return f'CASE WHEN {under} IS NULL THEN "{column}" ELSE {other} END AS "{column}"'
    older = f"{_FORWARD}(\"{column}\", coalesce({under}, ''))"
    return f'CASE WHEN {under} = \'{pseudonyms.tag}\' THEN "{column}" ELSE {older} END AS "{column}"'


def _forward(pseudonyms: Pseudonyms) -> Callable[[pa.ChunkedArray, pa.ChunkedArray], pa.Array]:
    def forward(names: pa.ChunkedArray, tags: pa.ChunkedArray) -> pa.Array:
        found, newest = tags.combine_chunks(), pa.nulls(len(names), pa.string())
        for tag in pc.unique(found).to_pylist():
            its = pc.equal(found, tag)
            named = forward_column(names.filter(its), pseudonyms, known(tag, pseudonyms))
            newest = pc.replace_with_mask(newest, its, named)
        return newest

    return forward


def _apart(names: Sequence[FileName]) -> tuple[list[FileName], list[FileName]]:
    """Return the files that share no offset with another of their day and partition, and those that may."""
    alone: list[FileName] = []
    overlapping: list[FileName] = []
    for _, same in groupby(sorted(names), key=lambda name: (name.day, name.partition)):
        reach = -1
        cluster: list[FileName] = []
        for name in [*same, None]:
            if name is not None and (not cluster or name.first <= reach):
                cluster.append(name)
                reach = max(reach, name.last)
                continue
            (alone if len(cluster) == 1 else overlapping).extend(cluster)
            if name is not None:
                cluster, reach = [name], name.last
    return alone, overlapping


def _read(archive: Archive, names: Sequence[FileName]) -> str:
    paths = ", ".join("'" + archive.address(name.path).replace("'", "''") + "'" for name in names)
    # by default what looks like `column=value` in a path, the root's too, would stand in place of the file's own column
    return f"read_parquet([{paths}], hive_partitioning = false, union_by_name = true)"
