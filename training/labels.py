"""What is known of the archive's transactions at an instant: the labels that had landed, and which rows are repeats."""

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

from stream.plurals import count_of
from training.archive import Archive, Kind
from training.archive_damage import naming_the_file
from training.archive_sql import connect, relation_sql
from training.known_cards import Frauds
from training.profiles import MEMORY_LIMIT, Topics
from training.replay import id_hashes

# the first is the one that replay comes to first, so that a row's window ends with the row itself
_REPEATS = """
CREATE TEMP TABLE repeats AS
WITH topics AS (
    SELECT "partition", topic_id, min(kafka_timestamp) AS began FROM transactions GROUP BY ALL
)
SELECT topic_id, "partition", "offset" FROM transactions JOIN topics USING ("partition", topic_id)
WHERE transaction_id IN (SELECT transaction_id FROM transactions GROUP BY transaction_id HAVING count(*) > 1)
QUALIFY row_number() OVER (
    PARTITION BY transaction_id ORDER BY "partition", topic_id <> 'import', began, topic_id, "offset"
) > 1
"""

_EXTENT = """
SELECT epoch_ms(min(created_at)), epoch_ms(max(created_at)),
       epoch_ms(greatest(max(kafka_timestamp), (SELECT max(kafka_timestamp) FROM labels)))
FROM transactions
"""


_COUNTS = """
SELECT count(*), coalesce(sum(is_fraud::BIGINT), 0)
FROM transactions ANTI JOIN repeats USING (topic_id, "partition", "offset")
LEFT JOIN ({labels}) USING (transaction_id)
WHERE epoch_ms(created_at) >= $begin_ms AND epoch_ms(created_at) < $end_ms
"""


_FRAUDS = """
SELECT user_id, epoch_ms(created_at) AS created_at_ms, landed_at_ms
FROM transactions ANTI JOIN repeats USING (topic_id, "partition", "offset")
JOIN ({labels}) USING (transaction_id)
WHERE is_fraud AND epoch_ms(created_at) >= $begin_ms AND epoch_ms(created_at) < $end_ms
"""


_ASKED = 'SELECT is_fraud, labelled_at_ms FROM asked LEFT JOIN truth USING (transaction_id) ORDER BY "row"'


class Summary(NamedTuple):
    """What an archive holds for training, and what of it was of no use."""

    transactions: int
    repeated_transactions: int  # their ids were there before; left out
    labels: int  # landed by the cut-off
    repeated_labels: int  # their transaction had one that said the same
    contradicting_labels: int  # their transaction had one that said otherwise; this one counts
    labels_of_unknown: int  # their transaction is not in the days that were read
    labels_too_late: int  # landed after the cut-off; not used
    days_without_transactions: int  # of event time, between the first and the last: their files may be missing
    stamped_ahead: int  # records of both, but for an import's labels, of after the cut-off: a clock is ahead


def ahead_note(stamped_ahead: int) -> str:
    """Return what is said where records are stamped ahead of the clock."""
    return (
        f"{count_of(stamped_ahead, 'record')} with a Kafka timestamp later than the clock of this machine, up to which "
        "labels are taken as known: one of the clocks is wrong"
    )


class Extent(NamedTuple):
    """From when to when an archive reaches, milliseconds."""

    first_ms: int  # event time of the first transaction
    last_ms: int  # event time of the last
    known_ms: int  # Kafka timestamp of the newest record, or now, if that is earlier: nothing later is known


@dataclass(frozen=True)
class Truth:
    """Labels in force at an instant, in a table of DuckDB's, which goes on on disk."""

    connection: duckdb.DuckDBPyConnection

    def of_transactions(self, ids: pa.ChunkedArray) -> pa.Table:
        """Return ``is_fraud`` and ``labelled_at_ms`` of each transaction, null where it has no label."""
        asked = pa.table({"transaction_id": ids, "row": np.arange(len(ids))})
        self.connection.register("asked", asked)
        try:
            return self.connection.sql(_ASKED).to_arrow_table()
        finally:
            self.connection.unregister("asked")


class Counts(NamedTuple):
    """Transactions of a stretch of time, each id once."""

    transactions: int
    frauds: int  # by the labels in force at an instant


@dataclass(frozen=True)
class Labels:
    """The labels of an archive; :func:`open_labels` makes one."""

    connection: duckdb.DuckDBPyConnection

    def extent(self, now_ms: int) -> Extent | None:
        """Return from when to when the archive reaches; ``None`` where there is no transaction.

        ``now_ms`` is the clock's. One record of a producer whose clock is ahead would otherwise end the label delay.
        """
        [(first_ms, last_ms, newest_ms)] = self.connection.execute(_EXTENT).fetchall()
        return None if first_ms is None else Extent(first_ms, last_ms, min(newest_ms, now_ms))

    def as_of(self, landed_by_ms: int) -> Truth:
        """Return the labels in force at an instant, in place of those that were asked for before."""
        query = f"CREATE OR REPLACE TEMP TABLE truth AS {_sql('labels')}"
        self.connection.execute(query, {"landed_by_ms": landed_by_ms})
        return Truth(self.connection)

    def known_frauds(self, landed_by_ms: int) -> npt.NDArray[np.uint64]:
        """Return the hashes of the transactions that are labelled as fraud at an instant, ascending."""
        query = f"SELECT transaction_id FROM ({_sql('labels')}) WHERE is_fraud"  # noqa: S608 - ours
        found = self.connection.sql(query, params={"landed_by_ms": landed_by_ms}).to_arrow_table()
        return np.sort(id_hashes(found["transaction_id"]))

    def counts(self, begin_ms: int, end_ms: int, landed_by_ms: int) -> Counts:
        """Return what there is between two event times, as labelled by an instant."""
        parameters = {"begin_ms": begin_ms, "end_ms": end_ms, "landed_by_ms": landed_by_ms}
        [row] = self.connection.execute(_COUNTS.format(labels=_sql("labels")), parameters).fetchall()
        return Counts(*row)

    def frauds(self, begin_ms: int, end_ms: int, landed_by_ms: int) -> Frauds:
        """Return the frauds between two event times, as labelled by an instant."""
        parameters = {"begin_ms": begin_ms, "end_ms": end_ms, "landed_by_ms": landed_by_ms}
        found = self.connection.sql(_FRAUDS.format(labels=_sql("labels")), params=parameters).to_arrow_table()
        columns = (found[name].to_numpy() for name in ("created_at_ms", "landed_at_ms"))
        return Frauds(id_hashes(found["user_id"]), *columns)

    def repeats(self, partition: int) -> pa.Table:
        """Return ``(topic_id, offset)`` of the rows of a partition whose transaction id is that of an earlier row."""
        query = 'SELECT topic_id, "offset" FROM repeats WHERE "partition" = $partition ORDER BY ALL'
        return self.connection.sql(query, params={"partition": partition}).to_arrow_table()

    def summary(self, landed_by_ms: int) -> Summary:
        """Return what the archive holds by an instant."""
        [row] = self.connection.execute(_sql("labels_summary"), {"landed_by_ms": landed_by_ms}).fetchall()
        return Summary(*row)


@contextmanager
def open_labels(
    archive: Archive,
    topics: Topics,
    *,
    since: date | None = None,
    until: date | None = None,
    scratch: Path | None = None,
) -> Iterator[Labels]:
    """Look through the archive's transactions and labels.

    Args:
        archive: where they are; the files that are there now are read.
        topics: their topics.
        since: only transactions in files of this UTC day and later ones.
        until: only transactions in files of days before this one. Labels are read of all days.
        scratch: directory for what does not fit into memory; the system's for temporary files by default.

    Raises:
        ArchiveError: a file cannot be read; the message names it.
    """
    transactions = relation_sql(archive, topics.transactions, Kind.TRANSACTIONS, since=since, until=until)
    labels = relation_sql(archive, topics.labels, Kind.LABELS)
    with (
        tempfile.TemporaryDirectory(prefix="tenfold-labels-", dir=scratch) as spill,
        naming_the_file(archive, (topics.transactions, Kind.TRANSACTIONS), (topics.labels, Kind.LABELS)),
        connect(archive, memory_limit=MEMORY_LIMIT, temp_directory=spill) as connection,
    ):
        connection.execute(f"CREATE TEMP VIEW transactions AS {transactions}")
        connection.execute(f"CREATE TEMP VIEW labels AS {labels}")
        connection.execute(_REPEATS)
        yield Labels(connection)


def _sql(name: str) -> str:
    return (Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8")
