"""Windows of the archive on disk, each with its label: what a model is trained and tested on, in bounded memory.

A column is a file of nothing but its values, so that it grows as partitions are replayed, is put together by appending,
and is read by mapping it into memory.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.context import DAY_MS, day_date
from models.window import RECORD, Ints, Windows
from training.archive import SCHEMAS, Archive, Kind
from training.periods import Part, Periods
from training.replay import Replayed, id_hashes, replay_partition

#: What is kept of the archive's row of each window's last event.
EVENT_COLUMNS = (
    *("topic_id", "partition", "offset", "kafka_timestamp"),
    *("transaction_id", "user_id", "merchant_id", "amount", "created_at"),
)

_TYPES: dict[str, np.dtype[np.generic]] = {
    "records": RECORD,  # T of them a window
    "lengths": np.dtype(np.int64),
    "is_fraud": np.dtype(np.bool_),
    "users": np.dtype(np.uint64),
}
_EVENTS = "events"  # rows of the archive, an Arrow stream
_EVENT_SCHEMA = pa.schema([SCHEMAS[Kind.TRANSACTIONS].field(name) for name in EVENT_COLUMNS])


class Plan(NamedTuple):
    """Which windows of the archive are kept; the same for every partition."""

    topic: str  # of the transactions
    sequence_length: int
    max_age_ms: int  # as in models.window.advance
    periods: Periods
    frauds: Mapping[Part, npt.NDArray[np.uint64]]  # hashes of the transactions known as fraud, ascending
    share_of_honest: float  # of training's windows that are not known as fraud, so many are kept; all of the others'
    seed: int  # decides which


@dataclass(frozen=True)
class Samples:
    """Windows of one part, by partition and in replay order; all columns run side by side, mapped from disk."""

    windows: Windows  # [n, T]
    is_fraud: npt.NDArray[np.bool_]  # [n] what is known of the window's last event
    users: npt.NDArray[np.uint64]  # [n] hash of the user id
    streams: Sequence[Path]  # Arrow streams of EVENT_COLUMNS

    def __len__(self) -> int:
        return len(self.is_fraud)

    @property
    def created_at_ms(self) -> Ints:
        """Event time of each window's last event, ``int64 [n]``."""
        return _last(self.windows)[0]

    @property
    def events(self) -> Iterator[pa.Table]:
        """Yield :data:`EVENT_COLUMNS` of the windows' last events, some thousands at a time."""
        for path in self.streams:
            with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
                yield from (pa.Table.from_batches([batch]) for batch in stream)


def write_partition(archive: Archive, partition: int, plan: Plan, repeats: pa.Table, directory: Path) -> None:
    """Replay a partition and write what the plan keeps of it under ``directory``. Partitions can be written at once.

    Args:
        archive: where it is.
        partition: which one.
        plan: what is kept.
        repeats: ``(topic_id, offset)`` of rows that are left out, see :meth:`training.labels.Labels.repeats`.
        directory: where the files go; :func:`put_together` makes samples of them.

    Raises:
        training.archive.ArchiveError: a file cannot be read.
    """
    rng = np.random.default_rng([plan.seed, partition])
    replayed = replay_partition(
        archive,
        plan.topic,
        partition,
        sequence_length=plan.sequence_length,
        max_age_ms=plan.max_age_ms,
        columns=EVENT_COLUMNS,
        since=first_file_day(plan.periods.begin_ms, plan.max_age_ms),
    )
    with ExitStack() as stack:
        files = {part: _open_columns(directory, part, partition, stack) for part in Part}
        streams = {
            part: stack.enter_context(pa.ipc.new_stream(files[part].pop(_EVENTS), _EVENT_SCHEMA)) for part in Part
        }
        for chunk in replayed:
            once = ~_repeated(chunk.rows, repeats)
            drawn = rng.random(len(once)) < plan.share_of_honest
            created_at_ms, transactions = _last(chunk.scored)
            for part in Part:
                rows = np.flatnonzero(once & plan.periods.inside(part, created_at_ms))
                is_fraud = _among(plan.frauds[part], transactions[rows])
                if part is Part.TRAINING:
                    kept = drawn[rows] | is_fraud
                    rows, is_fraud = rows[kept], is_fraud[kept]
                columns = _columns(chunk, rows, is_fraud)
                for name, file in files[part].items():
                    columns[name].tofile(file)
                streams[part].write_table(chunk.rows.take(rows))


def first_file_day(begin_ms: int, max_age_ms: int) -> date:
    """Return the first day whose files hold what the windows of events from ``begin_ms`` on are made of.

    A record arrives at most a day before its event time (:data:`stream.decode.MAX_AHEAD_MS`).
    """
    return day_date((begin_ms - max_age_ms) // DAY_MS) - timedelta(days=1)


def put_together(directory: Path, partitions: Iterable[int], sequence_length: int) -> dict[Part, Samples]:
    """Return the samples of partitions that were written under ``directory``; their files become one a column."""
    partitions = sorted(partitions)
    return {part: _put_together(directory, part, partitions, sequence_length) for part in Part}


def _put_together(directory: Path, part: Part, partitions: Sequence[int], sequence_length: int) -> Samples:
    columns = {}
    for name, kind in _TYPES.items():
        whole = directory / f"{part}.{name}"
        with whole.open("wb") as file:
            for partition in partitions:
                path = _path(directory, part, name, partition)
                with path.open("rb") as source:
                    shutil.copyfileobj(source, file)
                path.unlink()
        # a file without a byte cannot be mapped
        columns[name] = np.memmap(whole, kind, "r") if whole.stat().st_size else np.empty(0, kind)
    windows = Windows(columns.pop("records").reshape(-1, sequence_length), columns.pop("lengths"))
    return Samples(windows, **columns, streams=[_path(directory, part, _EVENTS, partition) for partition in partitions])


def _open_columns(directory: Path, part: Part, partition: int, stack: ExitStack) -> dict[str, BinaryIO]:
    return {
        name: stack.enter_context(_path(directory, part, name, partition).open("wb")) for name in (*_TYPES, _EVENTS)
    }


def _path(directory: Path, part: Part, column: str, partition: int) -> Path:
    return directory / f"{part}.{column}.{partition}"


def _among(ascending: npt.NDArray[np.uint64], ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Return which ids are among some others."""
    return np.searchsorted(ascending, ids, "right") > np.searchsorted(ascending, ids, "left")


def _columns(chunk: Replayed, rows: Ints, is_fraud: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[np.generic]]:
    """Return the columns of some rows of a chunk."""
    windows = chunk.scored.take(rows)
    return {
        "records": windows.records,
        "lengths": windows.lengths,
        "is_fraud": is_fraud,
        "users": id_hashes(chunk.rows["user_id"].take(rows)),
    }


def _last(scored: Windows) -> tuple[Ints, npt.NDArray[np.uint64]]:
    """Return event time and transaction of each window's last record."""
    last = scored.records[np.arange(len(scored)), scored.lengths - 1]
    return last["created_at_ms"], last["transaction"]


def _repeated(rows: pa.Table, repeats: pa.Table) -> npt.NDArray[np.bool_]:
    """Return which rows, all of one topic id, are repeats."""
    of_topic = pc.equal(repeats["topic_id"], rows["topic_id"][0]).to_numpy()
    found: npt.NDArray[np.bool_] = np.isin(rows["offset"].to_numpy(), repeats["offset"].to_numpy()[of_topic])
    return found
