"""The table of quality: ``<root>/day=YYYY-MM-DD/quality.parquet``, a row for each label delay and span of days."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from training.archive import TIME, Archive, ArchiveError
from training.archive_writer import writing
from training.daily import CARDS_A_DAY

_WHOLE, _REAL = pa.int64(), pa.float64()

SCHEMA = pa.schema(
    [
        pa.field("label_delay_days", pa.int32(), nullable=False),  # after which the labels were looked at
        pa.field("span_days", pa.int32(), nullable=False),  # the day alone, or the week that ends with it
        pa.field("judged_at", TIME, nullable=False),  # labels that landed later are not in the row
        *(pa.field(name, _WHOLE, nullable=False) for name in ("payments", "labelled", "frauds", "flagged")),
        *(pa.field(name, _REAL) for name in ("precision", "recall", "auc", "average_precision")),
        *(pa.field(name, _REAL) for name in ("protocol_auc", "protocol_average_precision")),
        pa.field(f"card_precision_at_{CARDS_A_DAY}", _REAL),
        *(pa.field(name, _REAL) for name in ("precision_at_budget", "recall_at_budget")),
        *(pa.field(name, _REAL, nullable=False) for name in ("caught_amount", "missed_amount")),
        pa.field("frauds_without_amount", _WHOLE, nullable=False),
    ]
)


class TableName(NamedTuple):
    """A day's file."""

    day: date

    @property
    def path(self) -> str:
        """The path under the table's root."""
        return f"day={self.day.isoformat()}/quality.parquet"


def write_day(place: Archive, day: date, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows of a day, in the place of those that are there.

    Where there is a row of more payments of the same delay and span, it stays: the state was lost since, and what
    Kafka still had made less of it.

    Args:
        place: root of the table.
        day: of the payments.
        rows: the columns of :data:`SCHEMA`, ``judged_at`` in milliseconds.

    Raises:
        training.archive.ArchiveError: the file cannot be written, or what is there cannot be read.
    """
    stored = {_key(row): row for row in read_day(place, day).to_pylist()}
    for row in rows:
        if _key(row) not in stored or row["payments"] >= stored[_key(row)]["payments"]:
            stored[_key(row)] = {**row, "judged_at": datetime.fromtimestamp(row["judged_at"] / 1000, UTC)}
    table = pa.Table.from_pylist([stored[key] for key in sorted(stored)], SCHEMA)
    with writing(place, TableName(day), SCHEMA) as file:
        file.writer.write_table(table)


def read_day(place: Archive, day: date) -> pa.Table:
    """Return the rows of a day, none where there is no file.

    Raises:
        training.archive.ArchiveError: what is there is not this table.
    """
    path = TableName(day).path
    try:
        raw = place.fs.cat_file(place.full(path))
        found = pq.ParquetFile(pa.BufferReader(raw)).read()
    except FileNotFoundError:
        return SCHEMA.empty_table()
    except (OSError, pa.ArrowException) as error:
        raise ArchiveError(f"{place.url(path)} cannot be read ({place.why(error)}): move it away") from None
    if not found.schema.equals(SCHEMA):
        raise ArchiveError(f"{place.url(path)} is not a table of quality of this release: move it away")
    return found


def _key(row: Mapping[str, Any]) -> tuple[int, int]:
    return row["label_delay_days"], row["span_days"]
