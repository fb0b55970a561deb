"""Simulated payments and their labels as the archiver leaves them: a file a day and partition."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from models.window import Ints
from stream.partitioner import partitions_of
from training.archive import SCHEMAS, TIME, Archive, FileName, Kind
from training.archive_writer import write_rows
from training.events import DAY_MS
from training.profiles import Topics
from training.simulator import Simulated, simulate_days

TOPICS = Topics("transactions", "fraud-labels")


def put_simulated(archive: Archive, users: int, days: int, partitions: int, seed: int = 1) -> None:
    """Archive a simulated stream; the records' Kafka timestamps are the events' own times."""
    names = [f"user-{seed}-{user:06d}" for user in range(users)]
    homes = partitions_of([name.encode() for name in names], partitions, "murmur2")
    transactions, labels = _Topic(archive, TOPICS.transactions, partitions), _Topic(archive, TOPICS.labels, partitions)
    later: list[pa.Table] = []
    for day in simulate_days(users, days, seed):
        rows = _columns(day, pa.array(names))
        transactions.write(Kind.TRANSACTIONS, rows, "created_at", homes[day.events["user"]])
        labelled = np.flatnonzero(day.events["labelled_at_ms"])
        later.append(rows.take(labelled).append_column("user", pa.array(day.events["user"][labelled])))
    landed = pa.concat_tables(later).sort_by("labelled_at")
    landing_days = landed["labelled_at"].cast(pa.int64()).to_numpy() // DAY_MS
    for number in np.unique(landing_days):
        its = landed.filter(pa.array(landing_days == number))
        labels.write(Kind.LABELS, its, "labelled_at", homes[its["user"].to_numpy()])


def _columns(day: Simulated, names: pa.Array) -> pa.Table:
    events = day.events
    users = names.take(pa.array(events["user"]))
    return pa.table(
        {
            "key": users,
            "transaction_id": day.transaction_ids(),
            "user_id": users,
            "amount": events["amount"],
            "created_at": pa.array(events["created_at_ms"]).cast(TIME),
            "is_vpn": events["is_vpn"],
            "merchant_id": day.merchant_ids(),
            "is_fraud": day.is_fraud,
            "labelled_at": pa.array(events["labelled_at_ms"]).cast(TIME),
        }
    )


class _Topic:
    """Where the next rows of a topic go."""

    def __init__(self, archive: Archive, name: str, partitions: int) -> None:
        self._archive, self._name, self._next = archive, name, [0] * partitions

    def write(self, kind: Kind, rows: pa.Table, arrival: str, homes: Ints) -> None:
        """Write the rows of one day, ordered by the column of their arrival; ``homes`` are their partitions."""
        day = datetime.fromtimestamp(rows[arrival].cast(pa.int64())[0].as_py() / 1000, UTC).date()
        schema = SCHEMAS[kind]
        for partition, first in enumerate(self._next):
            its = rows.take(pa.array(np.flatnonzero(homes == partition)))
            n = len(its)
            if not n:
                continue
            columns = {
                **{name: its[name] for name in its.column_names},
                "topic_id": pa.array(["a-topic-id-of-22-chars"]).take(pa.array(np.zeros(n, np.int64))),
                "partition": pa.array(np.full(n, partition, np.int32)),
                "offset": pa.array(np.arange(first, first + n)),
                "kafka_timestamp": its[arrival],
            }
            name = FileName(self._name, day, partition, first, first + n - 1)
            write_rows(self._archive, name, pa.table([columns[field] for field in schema.names], schema))
            self._next[partition] += n
