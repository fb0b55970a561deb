"""Which table of profiles serving used for each event, as the archived scores say."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.context import NO_DAY
from models.window import Ints
from training.archive import IMPORT, Archive, Kind
from training.archive_damage import naming_the_file
from training.archive_sql import connect, relation_sql
from training.profiles import MEMORY_LIMIT

_FIND = """
SELECT event, day FROM events JOIN served USING ("partition", "offset", transaction_id) WHERE topic_id <> $import
"""


class Found(NamedTuple):
    """Days of events; the two run side by side."""

    days: Ints  # int64 [n] since 1970-01-01, NO_DAY where serving had no table, and where nothing is known
    known: npt.NDArray[np.bool_]  # [n] whether there is a score that says so


@dataclass(frozen=True)
class ServedDays:
    """Days of the tables that serving used; :func:`open_served_days` makes one."""

    connection: duckdb.DuckDBPyConnection

    def earliest(self) -> int | None:
        """Return the earliest day, in days since 1970-01-01; ``None`` where there is none."""
        [[day]] = self.connection.execute("SELECT min(day) FROM served").fetchall()
        return None if day is None else int(day)

    def of_events(self, rows: pa.Table) -> Found:
        """Return the days of archived transactions: ``rows`` has their topic_id, partition, offset, transaction_id.

        A score names its record by topic, partition and offset. The transaction's id is compared, too, since a topic
        that is made again counts its offsets anew. Imported history was never scored.
        """
        columns = {name: rows[name] for name in ("topic_id", "partition", "offset", "transaction_id")}
        self.connection.register("events", pa.table({"event": np.arange(len(rows)), **columns}))
        found = self.connection.sql(_FIND, params={"import": IMPORT}).to_arrow_table()
        self.connection.unregister("events")
        days, known = np.full(len(rows), NO_DAY), np.zeros(len(rows), np.bool_)
        events = found["event"].to_numpy()
        known[events] = True
        days[events] = found["day"].fill_null(NO_DAY).to_numpy()
        return Found(days, known)


@contextmanager
def open_served_days(
    archive: Archive,
    topic: str,
    scores: str,
    *,
    model_version: str | None = None,
    since: date | None = None,
    scratch: Path | None = None,
) -> Iterator[ServedDays]:
    """Look through the archived scores; there need not be any.

    Args:
        archive: where they are; the files that are there now are read.
        topic: name of the topic of the transactions that were scored.
        scores: name of the topic of scores.
        model_version: a model that reads profiles, whose scores come before those of others.
        since: only scores in files of this UTC day and later ones.
        scratch: directory for what does not fit into memory; the system's for temporary files by default.

    Raises:
        ArchiveError: a file cannot be read; the message names it.
    """
    read_scores = relation_sql(archive, scores, Kind.SCORES, since=since)
    query = (Path(__file__).parent / "served_days.sql").read_text(encoding="utf-8")
    with (
        tempfile.TemporaryDirectory(prefix="tenfold-scores-", dir=scratch) as spill,
        naming_the_file(archive, (scores, Kind.SCORES)),
        connect(archive, memory_limit=MEMORY_LIMIT, temp_directory=spill) as connection,
    ):
        connection.execute(f"CREATE TEMP VIEW scores AS {read_scores}")
        connection.execute(f"CREATE TEMP TABLE served AS {query}", {"topic": topic, "model_version": model_version})
        yield ServedDays(connection)
