"""Columns of a Parquet file as training reads them; one that does not serve is named, with what would."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stream.contract import MAX_AMOUNT
from stream.plurals import count_of
from training.events import LAST_MS


class TrainingDataError(ValueError):
    """The data cannot be trained on; the message says why and what would help."""


def read_columns(path: Path, needed: Mapping[str, "Column"], optional: Mapping[str, "Column"]) -> pa.Table:
    """Read these columns of a file, each as its function returns it.

    Args:
        path: the file.
        needed: by name, columns that must be there, with a value in each row.
        optional: by name, columns that may be absent or empty.

    Raises:
        TrainingDataError: the file or a column is missing, or has something else in it.
    """
    if not path.is_file():
        raise TrainingDataError(f"{path} does not exist: `tenfold simulate --to {path.parent}` makes such a file")
    try:
        present = pq.read_schema(path).names
        missing = [name for name in needed if name not in present]
        if missing:
            raise TrainingDataError(
                f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(present)}: give yours these names"
            )
        kinds = {**needed, **{name: kind for name, kind in optional.items() if name in present}}
        table = pq.read_table(path, columns=list(kinds))
    except (pa.ArrowInvalid, OSError) as error:
        raise TrainingDataError(f"{path} cannot be read as Parquet: {error}") from None
    for name in needed:
        if table[name].null_count:
            raise TrainingDataError(
                f"{path} has {count_of(table[name].null_count, 'row')} without {name}, the first is row "
                f"{_first(pc.is_null(table[name]))}: leave them out"
            )
    return pa.table({name: kind(table[name], f"{path}: {name}") for name, kind in kinds.items()})


Column = Callable[[pa.ChunkedArray, str], pa.ChunkedArray]


def ids(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """Return ids as text; whole numbers are ids, too."""
    if _is_text(column.type) or pa.types.is_integer(column.type):
        return column.cast(pa.string())
    raise TrainingDataError(f'{where} is {column.type}; it must be text: with pandas, column.astype("string")')


def amounts(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """Return amounts as ``float64``."""
    if not (_is_number(column.type) or pa.types.is_decimal(column.type)):
        raise TrainingDataError(
            f"{where} is {_told(column)}; it must be a number: with pandas, "
            'column.str.replace(",", ".").astype(float) where the comma is a decimal one'
        )
    values = column.cast(pa.float64())
    in_range = pc.and_(pc.greater_equal(values, 0), pc.less_equal(values, MAX_AMOUNT))
    _refuse(pc.invert(in_range), values, where, f"an amount is 0 to {MAX_AMOUNT:g}, in one currency")
    return values


def times(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """Return times as ``int64``, milliseconds since 1970; what is finer is cut off, as the decoder does."""
    kind = column.type
    if not pa.types.is_timestamp(kind) or kind.tz is None:
        if pa.types.is_timestamp(kind):
            how = 'column.dt.tz_localize("Europe/Berlin") says of which zone these are'
        elif _is_number(kind):
            how = 'pandas.to_datetime(column, unit="ms", utc=True) where these are milliseconds'
        else:
            how = 'pandas.to_datetime(column, utc=True), with format="%d.%m.%Y %H:%M" where the day comes first'
        raise TrainingDataError(
            f"{where} is {_told(column)}; it must be a timestamp with a time zone: with pandas, {how}"
        )
    milliseconds = column.cast(pa.timestamp("ms", tz="UTC"), safe=False).cast(pa.int64())
    outside = pc.or_(pc.less(milliseconds, 0), pc.greater(milliseconds, LAST_MS))
    _refuse(outside, column, where, "a time is of 1970 to 9999")
    return milliseconds


def truths(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """Return truths as ``bool``; of numbers 1 is true and 0 is not."""
    if pa.types.is_boolean(column.type):
        return column
    rule = "it must be true or false, or 1 or 0"
    if not _is_number(column.type):
        raise TrainingDataError(f"{where} is {_told(column)}; {rule}")
    numbers = column.cast(pa.float64(), safe=False)  # Arrow compares no float16
    _refuse(pc.invert(pc.is_in(numbers, pa.array([0.0, 1.0]))), column, where, rule)
    return pc.equal(numbers, 1)


def _refuse(wrong: pa.ChunkedArray, values: pa.ChunkedArray, where: str, rule: str) -> None:
    """See that no value is wrong; a missing one is not."""
    wrong = pc.and_(wrong, pc.is_valid(values))
    count = pc.sum(wrong).as_py()
    if count:
        row = _first(wrong)
        told = f"{where} is {_shown(values[row - 1])} in row {row}, and {rule}"
        raise TrainingDataError(f"{told}: mend or leave out such rows, {count:,} in all")


def _told(column: pa.ChunkedArray) -> str:
    """Return the type of a column that is no id, and what a value looks like."""
    values = column.drop_null()
    return f"{column.type}, such as {_shown(values[0])}" if len(values) else f"{column.type}"


def _shown(value: pa.Scalar) -> str:
    """Return a value as text; a time that Python has no date for, or no such zone, is its number."""
    try:
        return str(value)
    except (OverflowError, ValueError):
        return str(value.cast(pa.int64()))


def _first(marked: pa.ChunkedArray) -> int:
    row: int = pc.index(marked, True).as_py() + 1
    return row


def _is_text(kind: pa.DataType) -> bool:
    text = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(text) or pa.types.is_large_string(text) or pa.types.is_string_view(text))


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
