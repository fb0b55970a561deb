"""``tenfold import``: the options, and what the user is told."""

import csv
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TextIO

import duckdb

from stream.contract import timestamp
from stream.errors import UsageError
from stream.settings import Settings
from training import options
from training.archive import Archive, Kind
from training.import_history import (
    LABELS,
    TRANSACTIONS,
    Imported,
    Plan,
    Refused,
    refuse_another,
    stage,
    tag_of,
    write,
)
from training.import_report import refused_as_told
from training.import_rules import labelled
from training.import_sources import UnusableHistoryError

_REQUIRED = ("transaction_id", "user_id", "amount", "created_at")
_OPTIONAL = ("is_vpn", "merchant_id", "labelled_at")
_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MEMORY = "1GB"  # of DuckDB's; beyond it spills to disk


def columns_of(mapped: Sequence[str], label: str | None) -> dict[str, str]:
    """Return the files' column for each field that they must have; one that is not mapped has the field's own name.

    Raises:
        UsageError: a mapping is not FIELD=COLUMN, or of no field.
    """
    columns = {name: name for name in _REQUIRED}
    for option, mapping, fields in [
        *(("--map", each, (*_REQUIRED, *_OPTIONAL)) for each in mapped),
        *([("--label", label, ("is_fraud",))] if label is not None else []),
    ]:
        name, sign, column = mapping.partition("=")
        if not sign or not column or name not in fields:
            raise UsageError(f"{option} {mapping}: give FIELD=COLUMN, FIELD being one of {', '.join(fields)}")
        columns[name] = column
    return columns


def milliseconds(duration: str) -> int:
    """Return what ``7d``, ``12h``, ``30m`` or ``0s`` says.

    Raises:
        UsageError: it says nothing.
    """
    found = re.fullmatch(r"(\d{1,6})([smhd])", duration)
    if found is None:
        raise UsageError(f"--label-delay {duration}: give a number and s, m, h or d, as 7d")
    return int(found[1]) * _UNITS_MS[found[2]]


def plan_of(
    files: Sequence[Path],
    mapped: Sequence[str],
    label: str | None,
    label_delay: str,
    zone: str,
    partitions: int,
    settings: Settings,
    *,
    label_all: bool,
) -> Plan:
    """Return what the options ask for.

    Raises:
        UsageError: one of them cannot be used.
    """
    columns = columns_of(mapped, label)
    if label is None and (label_all or "labelled_at" in columns):
        raise UsageError("--label-all and labelled_at are for --label is_fraud=COLUMN")
    options.zone("--timezone", zone)
    delay_ms, partitioner = milliseconds(label_delay), settings.partitioner
    own = [name for name in _OPTIONAL if name not in columns and (name != "labelled_at" or label is not None)]
    placed_by: Literal["murmur2", "crc32"] = "murmur2" if partitioner == "any" else partitioner
    return Plan(files, columns, own, delay_ms, label_all, zone, partitions, placed_by)


def run(
    plan: Plan, archive: Archive, settings: Settings, reject: Path | None, progress: Callable[[int], None]
) -> Imported:
    """Import history into the archive.

    Args:
        plan: what.
        archive: where to.
        settings: name the topics.
        reject: a CSV file for the rows that are refused: file, row, reason.
        progress: told how many more rows were read.

    Raises:
        UnusableHistoryError: a file cannot be read, or no row can be used, or the archive holds another import.
        training.archive.ArchiveError: the archive cannot be written.
    """
    tag = tag_of(plan)
    topics = {Kind.TRANSACTIONS: settings.input_topic, Kind.LABELS: settings.labels_topic}
    for topic in topics.values():
        refuse_another(archive, topic, tag, plan.partitions)
    imported = Imported()
    with tempfile.TemporaryDirectory(prefix="tenfold-import-") as directory, _rejects(reject) as on_refused:

        def refuse(refused: Refused) -> None:
            imported.refuse(refused)
            on_refused(refused)

        config: dict[str, Any] = {"memory_limit": _MEMORY, "temp_directory": f"{directory}/spill"}
        try:
            with duckdb.connect(f"{directory}/staging.duckdb", config=config) as connection:
                stage(connection, plan, refuse, progress)
                _count(connection, imported)
                if not imported.transactions:
                    told = "; ".join(refused_as_told(imported, reason, plan.columns) for reason in imported.refused)
                    raise UnusableHistoryError(f"no row can be used: {told or 'the files are empty'}")
                imported.files += write(
                    connection, archive, topics[Kind.TRANSACTIONS], Kind.TRANSACTIONS, TRANSACTIONS, tag
                )
                if "is_fraud" in plan.columns:
                    which = labelled(label_all=plan.label_all)
                    counts = "count(*), min(labelled_at), max(labelled_at)"
                    imported.labels, *times = _one(connection, f"SELECT {counts} FROM staging WHERE {which}")  # noqa: S608
                    if imported.labels:
                        imported.first_label, imported.last_label = map(timestamp, times)
                    labels = LABELS.format(which=which)
                    imported.files += write(connection, archive, topics[Kind.LABELS], Kind.LABELS, labels, tag)
        except duckdb.IOException as error:
            raise UnusableHistoryError(
                f"no room to sort in {directory}: {error}; set TMPDIR to a larger place"
            ) from None
    return imported


def _count(connection: duckdb.DuckDBPyConnection, imported: Imported) -> None:
    counts = {
        "transactions": "count(*)",
        "repeated_transactions": "count(*) - count(DISTINCT transaction_id)",
        "with_merchant": "count(merchant_id)",
        "over_vpn": "count(*) FILTER (is_vpn)",
        "frauds": "count(*) FILTER (is_fraud)",
    }
    selected = ", ".join([*counts.values(), "min(created_at)", "max(created_at)"])
    *counted, first, last = _one(connection, f"SELECT {selected} FROM staging")  # noqa: S608 - ours
    for name, count in zip(counts, counted, strict=True):
        setattr(imported, name, count)
    if imported.transactions:
        imported.first, imported.last = timestamp(first), timestamp(last)


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    [row] = connection.sql(query).fetchall()
    return tuple(row)


@contextmanager
def _rejects(path: Path | None) -> Iterator[Callable[[Refused], None]]:
    """Give a function that writes refused rows down; one that does nothing if there is no file for them."""
    if path is None:
        yield lambda _: None
        return
    try:
        file: TextIO = path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise UnusableHistoryError(f"--reject {path} cannot be written: {error.strerror}") from None
    with file:
        writer = csv.writer(file)
        writer.writerow(Refused._fields[:3])  # none with its content
        yield lambda refused: writer.writerow(refused[:3])
