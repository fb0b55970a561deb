"""What the archiver has read of a partition and not written yet. Pure."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.archive import FileName, Kind
from training.archive_records import Records, to_rows

_DAY_MS = 86_400_000


@dataclass
class Buffer:
    """A partition's records in memory, from the committed offset up to ``position``."""

    topic: str
    kind: Kind
    partition: int
    topic_id: str
    position: int  # the next offset to be read
    committed: int  # the group's offset
    since: float | None = None  # when the first record came that is not committed, by the archiver's clock
    tables: list[pa.Table] = field(default_factory=list)
    rows: int = 0

    def add(self, records: Records, now: float) -> Counter[str]:
        """Take records in; return how many were refused, by reason."""
        table, refused = to_rows(self.kind, records, self.topic_id, self.partition)
        if len(table):
            self.tables.append(table)
            self.rows += len(table)
        self.position = records.offsets[-1] + 1
        self.since = now if self.since is None else self.since
        return refused

    def files(self) -> Iterator[tuple[FileName, pa.Table]]:
        """Yield name and rows of each file that the records make, one a day."""
        if not self.tables:
            return
        rows = pa.concat_tables(self.tables)
        days = rows["kafka_timestamp"].cast(pa.int64()).to_numpy() // _DAY_MS
        for day in np.unique(days).tolist():
            its = rows.filter(pa.array(days == day))
            ends = pc.min_max(its["offset"])
            yield FileName(self.topic, _date(day), self.partition, ends["min"].as_py(), ends["max"].as_py()), its

    def done(self) -> None:
        """Say that everything is in the archive and committed."""
        self.committed, self.since, self.tables, self.rows = self.position, None, [], 0


def _date(day: int) -> date:
    """Return days since 1970-01-01 as a date."""
    return date(1970, 1, 1) + timedelta(day)
