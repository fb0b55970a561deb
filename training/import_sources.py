"""Reading files of history: CSV, JSON lines and Parquet, a batch of rows at a time, columns under the fields' names."""

import csv
import gzip
import json
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.window import Ints
from stream.errors import TenfoldError

BATCH_ROWS = 65_536

#: DuckDB has times of so many milliseconds before and after 1970 for certain, some 30,000 years.
_DUCKDB_MS = 10**15

_DELIMITERS = ",;\t|"


class UnusableHistoryError(TenfoldError):
    """The history cannot be imported; the message says why and what to do."""


class Unreadable(NamedTuple):
    """A row that is not even one."""

    row: int
    reason: str


class Batch(NamedTuple):
    """Rows of one file."""

    rows: Ints  # int64 [n] their numbers in the file, from 1, header not counted
    values: pa.Table  # [n] columns under the fields' names; text, but for Parquet
    unreadable: list[Unreadable]  # between them


def read(path: Path, columns: Mapping[str, str], own: Collection[str] = ()) -> Iterator[Batch]:
    """Yield a file's rows. What it is, its name says: ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson``, ``.json`` or
    ``.parquet``; all but the last may be gzip, and end in ``.gz``.

    Args:
        path: the file.
        columns: the file's column for each field that it must have.
        own: further fields, taken from the column of their own name if it is there.

    Raises:
        UnusableHistoryError: it is not there, not what its name says, or lacks a column.
    """
    name = Path(path.name.lower())
    ending = Path(name.stem).suffix if name.suffix == ".gz" else name.suffix
    reader = {".csv": _csv, ".tsv": _csv, ".parquet": _parquet}.get(ending)
    if reader is None and ending in {".jsonl", ".ndjson", ".json"}:
        reader = _json_lines
    if reader is None or (reader is _parquet and name.suffix == ".gz"):
        raise UnusableHistoryError(f"{path}: the name must end in .csv, .tsv, .jsonl, .ndjson, .json or .parquet")
    try:
        yield from reader(path, columns, own)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error, pa.ArrowInvalid) as error:
        raise UnusableHistoryError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _parquet(path: Path, columns: Mapping[str, str], own: Collection[str]) -> Iterator[Batch]:
    first = 1
    with pq.ParquetFile(path) as file:
        columns = _found(path, columns, own, file.schema_arrow.names)
        for batch in file.iter_batches(BATCH_ROWS, columns=list(dict.fromkeys(columns.values()))):
            values = pa.table({field: _readable(batch.column(name)) for field, name in columns.items()})
            yield Batch(np.arange(first, first + len(batch)), values, [])
            first += len(batch)


def _readable(column: pa.Array) -> pa.Array:
    """Return a column; as text where it has times that are beyond what DuckDB can have, and these as their numbers."""
    kind = column.type
    if not pa.types.is_timestamp(kind) or kind.unit != "ms":  # the coarsest of Parquet; 64 bits of the finer ones do
        return column
    numbers = column.cast(pa.int64())
    beyond = pc.or_(pc.less(numbers, -_DUCKDB_MS), pc.greater(numbers, _DUCKDB_MS))
    if not pc.any(beyond).as_py():
        return column
    times = pc.if_else(beyond, None, column.cast(pa.timestamp(kind.unit, kind.tz and "UTC")))
    return pc.if_else(beyond, numbers.cast(pa.string()), times.cast(pa.string()))


def _csv(path: Path, columns: Mapping[str, str], own: Collection[str]) -> Iterator[Batch]:
    with _open(path) as file:
        header = file.readline()
        delimiter = max(_DELIMITERS, key=header.count)
        names = next(csv.reader([header], delimiter=delimiter), [])
        columns = _found(path, columns, own, names)
        places = [names.index(name) for name in columns.values()]
        rows: list[list[str]] = []
        numbers: list[int] = []
        unreadable: list[Unreadable] = []
        for number, row in _csv_rows(path, file, delimiter):
            if len(row) != len(names):
                unreadable.append(Unreadable(number, "it does not have as many values as the header has columns"))
            else:
                rows.append([row[place] for place in places])
                numbers.append(number)
            if len(rows) + len(unreadable) >= BATCH_ROWS:
                yield _text_batch(columns, numbers, rows, unreadable, columns)
                rows, numbers, unreadable = [], [], []
        yield _text_batch(columns, numbers, rows, unreadable, columns)


def _csv_rows(path: Path, file: IO[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    begins = 2  # the line that the next row begins in, after that of the header
    try:
        for number, row in enumerate(reader, 1):
            yield number, row
            begins = reader.line_num + 2
    except csv.Error as error:
        raise UnusableHistoryError(
            f"{path}: the row that begins in line {begins} cannot be read: {error}; "
            'look there for a quote that is not closed, or that is in a value and not written twice ("5"" wide")'
        ) from None


def _json_lines(path: Path, columns: Mapping[str, str], own: Collection[str]) -> Iterator[Batch]:
    seen: set[str] = set()
    wanted = {**columns, **{name: name for name in own}}
    rows: list[list[str | None]] = []
    numbers: list[int] = []
    unreadable: list[Unreadable] = []
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if not seen and line.lstrip().startswith("["):
                raise UnusableHistoryError(
                    f"{path} is a JSON list: write an object a line, without brackets and commas around them; "
                    'with pandas, to_json(FILE, orient="records", lines=True)'
                )
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            if isinstance(value, dict):
                seen.update(value)
                rows.append([_as_text(value.get(name)) for name in wanted.values()])
                numbers.append(number)
            else:
                unreadable.append(Unreadable(number, "it is not a JSON object"))
            if len(rows) + len(unreadable) >= BATCH_ROWS:
                yield _text_batch(wanted, numbers, rows, unreadable, _found(path, columns, own, seen))
                rows, numbers, unreadable = [], [], []
    yield _text_batch(wanted, numbers, rows, unreadable, _found(path, columns, own, seen) if rows else columns)


def _as_text(value: Any) -> str | None:
    return value if isinstance(value, str) or value is None else json.dumps(value)


def _text_batch(
    columns: Mapping[str, str],
    numbers: Sequence[int],
    rows: Sequence[Sequence[str | None]],
    bad: list[Unreadable],
    found: Collection[str],
) -> Batch:
    """Return rows, which have a value of each of the columns, with the fields that were found."""
    by_column = list(zip(*rows, strict=True)) or [()] * len(columns)
    values = {name: pa.array(each, pa.string()) for name, each in zip(columns, by_column, strict=True) if name in found}
    return Batch(np.array(numbers, np.int64), pa.table(values), bad)


def _open(path: Path) -> IO[str]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"  # which no text begins with, whatever its file is called
    if packed:
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _found(path: Path, columns: Mapping[str, str], own: Collection[str], present: Collection[str]) -> dict[str, str]:
    """Return the column for each field that a file has, whose columns are ``present``."""
    for field, column in columns.items():
        if column not in present:
            raise UnusableHistoryError(
                f"{path} has no column {column!r} for {field}: give --map {field}=COLUMN. "
                f"It has {', '.join(map(repr, sorted(present))) or 'none'}"
            )
    found = {**columns, **{name: name for name in own if name in present}}
    for column in found.values():
        if list(present).count(column) > 1:
            raise UnusableHistoryError(f"{path} has column {column!r} more than once: rename all but one")
    return found
