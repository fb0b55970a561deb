"""Daily profiles of merchants and users out of the archive, for training and serving alike.

``profile_facts.sql`` says what was known when, ``profiles.sql`` makes profiles of it. A profile of day D is made of
what had landed before D began, so it never changes once the archiver has passed D's midnight.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
from duckdb.func import PythonUDFType

from models.context import (
    NO_DAY,
    NOTHING_KNOWN,
    PROFILE_KINDS,
    VALUES,
    WINDOWS_DAYS,
    Floats32,
    ProfileDefinition,
    day_date,
    local_day,
)
from models.window import Ints
from training.archive import Archive, ArchiveError, Kind
from training.archive_damage import naming_the_file
from training.archive_sql import connect, relation_sql

#: A fraud rate is ``(frauds + PRIOR_STRENGTH * base rate) / (transactions + PRIOR_STRENGTH)``, the base rate being that
#: of all transactions over 30 days: with so many transactions, their own rate and the base rate weigh the same. It is
#: small, since a merchant's first confirmed fraud says a lot: on data of the Fraud Detection Handbook, 2 ranked better
#: than 16, and the number of frauds beside the rate better than the rate alone.
PRIOR_STRENGTH = 2

#: Of DuckDB, which goes on on disk.
MEMORY_LIMIT = "1GB"

_WANTED_OF_EVENTS = """
CREATE OR REPLACE TEMP TABLE asked_by AS
-- an event without a merchant asks for '', as no merchant is called, and so gets the prior
SELECT event, 'merchant' AS kind, coalesce(merchant, '') AS id, day FROM events WHERE day IS NOT NULL
UNION ALL
SELECT event, 'user', "user", day FROM events WHERE day IS NOT NULL;
CREATE OR REPLACE TEMP TABLE wanted AS SELECT DISTINCT kind, id, day FROM asked_by
"""

_WANTED_OF_DAY = """
CREATE OR REPLACE TEMP TABLE wanted AS
SELECT DISTINCT kind, id, $day::BIGINT AS day FROM profile_facts
WHERE kind <> 'all' AND known < $day AND created BETWEEN $day - $span_days AND $day - 1
UNION ALL
SELECT 'user', '', $day::BIGINT  -- nobody; but a day before which nothing happened has a prior, too
"""


class Topics(NamedTuple):
    """The topics that profiles are made of."""

    transactions: str
    labels: str


class Summary(NamedTuple):
    """What landed in the days that a table looks back over, and what of it was of no use."""

    transactions: int
    repeated_transactions: int  # their ids were there before
    without_merchant: int
    labels: int
    repeated_labels: int  # their transaction had one that said the same
    contradicting_labels: int  # their transaction had one that said otherwise; this one counts
    labels_of_unknown: int  # their transaction is not in the archive, or from before the days that were read
    frauds: int  # transactions of these days that are frauds by the label in force
    label_delay_median_s: float | None  # from a transaction's created_at until its first label landed; None without one
    label_delay_p95_s: float | None


@dataclass(frozen=True)
class Profiles:
    """Profiles as of the start of the days of a range; :func:`open_profiles` makes one."""

    connection: duckdb.DuckDBPyConnection
    definition: ProfileDefinition

    def of_events(self, merchants: pa.ChunkedArray, users: pa.ChunkedArray, days: Ints) -> Floats32:
        """Return the profiles that go with events, ``float32 [n, 2, len(VALUES)]``: the merchant's, then the user's.

        A call looks through all facts once and holds its events in memory: some hundred thousand are a good size.

        Args:
            merchants: ``[n]`` ids, null where there is none.
            users: ``[n]`` ids.
            days: ``int64 [n]``, the days whose tables go with the events, NO_DAY where there is none: those of archived
                scores, or of :func:`models.context.replayed_profile_day`.
        """
        events = {"event": np.arange(len(days)), "merchant": merchants, "user": users}
        self.connection.register("events", pa.table(events | {"day": pa.array(days, mask=days == NO_DAY)}))
        self.connection.execute(_WANTED_OF_EVENTS)
        self.connection.unregister("events")
        self._make()
        query = "SELECT event, kind = 'user' AS is_user, made.* FROM asked_by JOIN made USING (kind, id, day)"
        found = self.connection.sql(query).to_arrow_table()
        values = np.empty((len(days), len(PROFILE_KINDS), len(VALUES)), np.float32)
        values[:] = NOTHING_KNOWN
        rows, places = found["event"].to_numpy(), found["is_user"].to_numpy().astype(np.int64)
        for column, name in enumerate(VALUES):
            values[rows, places, column] = found[name].to_numpy()
        return values

    def table(self, day: int) -> pa.Table:
        """Return the table of a day: ``(kind, id, *VALUES)`` by kind and id, one row of kind ``prior`` among them.

        Whoever is not in it has not been seen lately, and has the prior.
        """
        self.connection.execute(_WANTED_OF_DAY, {"day": day, "span_days": _span_days(self.definition)})
        self._make()
        query = "SELECT * EXCLUDE day FROM made WHERE kind = 'prior' OR id <> '' ORDER BY kind, id"
        return self.connection.sql(query).to_arrow_table()

    def summary(self, day: int) -> Summary:
        """Return what the table of a day is made of."""
        parameters = {"day": day, "span_days": _span_days(self.definition)}
        [row] = self.connection.execute(_sql("profile_summary"), parameters).fetchall()
        return Summary(*row)

    def _make(self) -> None:
        """Make the profiles of table ``wanted`` as table ``made``."""
        parameters = {
            "span_days": _span_days(self.definition),
            "label_delay_days": self.definition.label_delay_days,
            "prior_strength": PRIOR_STRENGTH,
        }
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE made AS {_sql('profiles')}", parameters)


@contextmanager
def open_profiles(
    archive: Archive,
    topics: Topics,
    definition: ProfileDefinition,
    *,
    first: int | None = None,
    last: int | None = None,
    scratch: Path | None = None,
) -> Iterator[Profiles]:
    """Read the archive for profiles of the days ``first`` to ``last``, of any day by default.

    Args:
        archive: where transactions and labels are; the files that are there now are read.
        topics: their topics.
        definition: of the profiles.
        first: earliest day that will be asked for, in days since 1970-01-01.
        last: latest day that will be asked for.
        scratch: directory for what does not fit into memory; the system's for temporary files by default.

    Raises:
        ArchiveError: a file cannot be read; the message names it.
    """
    span_days = _span_days(definition)
    # a record's Kafka timestamp may be a day before created_at, and another day is for the zone; a repetition that
    # matters is of a record up to so many days before
    repeat_days = span_days + 2
    since = None if first is None else day_date(first) - timedelta(days=span_days + 2 + repeat_days + 1)
    until = None if last is None else day_date(last) + timedelta(days=2)

    def to_local_day(at_ms: pa.ChunkedArray) -> pa.Array:
        return pa.array(local_day(definition.zone, at_ms.to_numpy().astype(np.int64)))

    try:
        with (
            tempfile.TemporaryDirectory(prefix="tenfold-profiles-", dir=scratch) as spill,
            naming_the_file(archive, (topics.transactions, Kind.TRANSACTIONS), (topics.labels, Kind.LABELS)),
            connect(archive, memory_limit=MEMORY_LIMIT, temp_directory=spill) as connection,
        ):
            # the very function that serving calls: no second definition of a time zone
            connection.create_function("local_day", to_local_day, ["BIGINT"], "BIGINT", type=PythonUDFType.ARROW)
            read_transactions = relation_sql(archive, topics.transactions, Kind.TRANSACTIONS, since=since, until=until)
            # labels of all days: one may be older than its transaction
            read_labels = relation_sql(archive, topics.labels, Kind.LABELS, until=until)
            connection.execute(f"CREATE TEMP VIEW transactions AS {read_transactions}")
            connection.execute(f"CREATE TEMP VIEW labels AS {read_labels}")
            parameters = {"span_days": span_days, "repeat_days": repeat_days}
            connection.execute(f"CREATE TEMP TABLE profile_facts AS {_sql('profile_facts')}", parameters)
            yield Profiles(connection, definition)
    except (duckdb.IOException, duckdb.InvalidInputException) as error:  # no file is to blame: the disk is full
        raise ArchiveError(
            f"the archive at {archive.url('')} cannot be read for profiles: {archive.why(error)}"
        ) from None


def _span_days(definition: ProfileDefinition) -> int:
    """Return how many days before its own a profile looks at."""
    return definition.label_delay_days + max(WINDOWS_DAYS)


def _sql(name: str) -> str:
    return (Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8")
