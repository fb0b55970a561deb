"""Scores of the archive's events as serving would have made them: replay, profiles of each day, the bundle's model."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.bundle import LoadedBundle
from models.context import DAY_MS, NO_DAY, ProfileDefinition, day_number
from models.window import Windows
from stream.encode import rounded
from stream.errors import TenfoldError
from stream.progress import Counted, nobody
from training.archive import SCHEMAS, TIME, Archive, Kind, partitions
from training.context import AT_ONCE, EventContext, milliseconds, open_contexts
from training.labels import Truth, open_labels
from training.profiles import Topics
from training.replay import Replayed, replay_partition
from training.samples import EVENT_COLUMNS, first_file_day

#: The score message, the record that it answers, and what is known of the truth by now.
SCHEMA = pa.schema(
    [
        *(
            SCHEMAS[Kind.SCORES].field(name)
            for name in (
                "transaction_id",
                "user_id",
                "created_at",
                "fraud_probability",
                "lstm_score",
                "sequence_anomaly",
                "insufficient_history",
                "window_length",
                "profile_day",
                "model_version",
                "scored_at",  # when the event arrived: a backtest has no clock
            )
        ),
        pa.field("source_topic_id", pa.string(), nullable=False),
        pa.field("source_partition", pa.int32(), nullable=False),
        pa.field("source_offset", pa.int64(), nullable=False),
        pa.field("is_fraud", pa.bool_()),  # null where no label has landed
        pa.field("labelled_at", TIME),
    ]
)


class BacktestError(TenfoldError):
    """The range cannot be scored, or the scores not be written; the message says why and what to do."""


class Backtested(NamedTuple):
    """What a backtest scored."""

    events: int
    anomalies: int
    labelled: int
    frauds: int
    not_scorable: int  # the model has no finite answer to them; left out, where serving dead-letters them
    profile_days_archived: int  # events whose table of profiles is the one that an archived score names
    profile_days_by_rule: int  # the others, where the model reads profiles: tables taken to be published at midnight
    insufficient_history: int  # events whose windows are not full
    days_without_events: int  # of the range: files may be missing


@dataclass(frozen=True)
class Range:
    """Days of event time, UTC."""

    first: date
    until: date  # the day after the last

    @property
    def bounds_ms(self) -> tuple[int, int]:
        """Begin and end, milliseconds."""
        return day_number(self.first) * DAY_MS, day_number(self.until) * DAY_MS


def backtest(
    archive: Archive,
    topics: Topics,
    scores: str,
    bundle: LoadedBundle,
    days: Range,
    out: Path,
    now_ms: int,
    progress: Counted = nobody,
) -> Backtested:
    """Score the events of a range of days into a Parquet file of :data:`SCHEMA`, by partition and in replay order.

    Profiles are those of the table that serving used, as archived scores say it; where there is no score, those of the
    table that it would have used, published at midnight. Labels are as they are known now.

    Args:
        archive: where the events are.
        topics: of transactions and labels.
        scores: the topic of scores.
        bundle: what scores them.
        days: of the events.
        out: the file; one that is there is replaced once the new one is whole.
        now_ms: the time.
        progress: counts the events that were scored.

    Raises:
        BacktestError: there is no event in the range, or the file cannot be written.
        training.archive.ArchiveError: the archive cannot be read.
    """
    spec = bundle.spec
    since = first_file_day(days.bounds_ms[0], spec.window_max_age_ms)
    totals = np.zeros(8, np.int64)
    begin_day = day_number(days.first)
    seen = np.zeros(day_number(days.until) - begin_day, np.bool_)  # days with an event
    with ExitStack() as stack:
        labels = stack.enter_context(open_labels(archive, topics, since=since))
        extent = labels.extent(now_ms)
        truth = labels.as_of(0 if extent is None else extent.known_ms)
        contexts = None
        if spec.context:
            definition = ProfileDefinition(spec.zone, spec.label_delay_days)
            contexts = stack.enter_context(
                open_contexts(
                    archive,
                    topics,
                    scores,
                    spec.context,
                    definition,
                    days.bounds_ms,
                    model_version=spec.model_version,
                )
            )
        writer = stack.enter_context(_writing(out))
        replayed = (
            chunk
            for partition in partitions(archive.files(topics.transactions, since=since))
            for chunk in replay_partition(
                archive,
                topics.transactions,
                partition,
                sequence_length=spec.sequence_length,
                max_age_ms=spec.window_max_age_ms,
                columns=EVENT_COLUMNS,
                since=since,
            )
        )
        for portion in _portions(_inside(chunk, days) for chunk in replayed):
            context = None if contexts is None else contexts.of_events(portion.rows)
            table = _scored(portion, bundle, context, truth)
            writer.write_table(table)
            progress(len(table))
            counted = (len(table), _true(table["sequence_anomaly"]), table["is_fraud"].null_count)
            left_out, short = len(portion.rows) - len(table), _true(table["insufficient_history"])
            totals += (*counted, _true(table["is_fraud"]), left_out, *_days_of(context), short)
            seen[milliseconds(portion.rows["created_at"]) // DAY_MS - begin_day] = True
        if not totals[0]:
            raise BacktestError(
                f"{archive.url(topics.transactions)} has no event from {days.first} to {days.until}: "
                f"{archive.days_told(topics.transactions)}"
            )
    events, anomalies, unlabelled, *others = totals.tolist()
    return Backtested._make([events, anomalies, events - unlabelled, *others, int((~seen).sum())])


def _inside(chunk: Replayed, days: Range) -> Replayed:
    begin_ms, end_ms = days.bounds_ms
    created_at_ms = milliseconds(chunk.rows["created_at"])
    rows = np.flatnonzero((created_at_ms >= begin_ms) & (created_at_ms < end_ms))
    return Replayed(chunk.rows.take(rows), chunk.scored.take(rows))


def _portions(chunks: Iterable[Replayed]) -> Iterator[Replayed]:
    """Put chunks together, up to :data:`AT_ONCE` events and a chunk; those without an event are left out.

    Of several partitions, too: profiles are looked up for a portion at once, which costs seconds, however small it is.
    """
    waiting: list[Replayed] = []
    for chunk in chunks:
        waiting += [chunk] if len(chunk.rows) else []
        if sum(len(each.rows) for each in waiting) >= AT_ONCE:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(chunks: Sequence[Replayed]) -> Replayed:
    windows = [chunk.scored for chunk in chunks]
    return Replayed(
        pa.concat_tables(chunk.rows for chunk in chunks),
        Windows(np.concatenate([each.records for each in windows]), np.concatenate([each.lengths for each in windows])),
    )


def _days_of(context: EventContext | None) -> tuple[int, int]:
    """Return how many days of tables are those of archived scores, and how many those of the rule."""
    if context is None:
        return 0, 0
    archived = int(context.archived.sum())
    return archived, len(context.archived) - archived


def _scored(portion: Replayed, bundle: LoadedBundle, context: EventContext | None, truth: Truth) -> pa.Table:
    """Return the scores of events, as :data:`SCHEMA` has them."""
    spec, rows = bundle.spec, portion.rows
    days = np.full(len(rows), NO_DAY) if context is None else context.days
    probabilities = rounded(bundle.score(portion.scored, None if context is None else context.columns))
    known = truth.of_transactions(rows["transaction_id"])
    lengths = portion.scored.lengths
    n = len(rows)
    columns = {
        **{name: rows[name] for name in ("transaction_id", "user_id", "created_at")},
        "fraud_probability": pa.array(probabilities),
        "lstm_score": pa.array(np.nan_to_num(probabilities * 100).astype(np.int32)),
        "sequence_anomaly": pa.array(probabilities > spec.threshold),
        "insufficient_history": pa.array(lengths < spec.sequence_length),
        "window_length": pa.array(lengths.astype(np.int32)),
        "profile_day": pa.array(days.astype(np.int32), pa.int32(), mask=days == NO_DAY).cast(pa.date32()),
        "model_version": pa.array([spec.model_version]).take(pa.array(np.zeros(n, np.int64))),
        "scored_at": rows["kafka_timestamp"],
        "source_topic_id": rows["topic_id"],
        "source_partition": rows["partition"],
        "source_offset": rows["offset"],
        "is_fraud": known["is_fraud"],
        "labelled_at": known["labelled_at_ms"].cast(TIME),
    }
    table = pa.table([columns[name] for name in SCHEMA.names], SCHEMA)
    return table.filter(pa.array(np.isfinite(probabilities)))


def _true(column: pa.ChunkedArray) -> int:
    return int(pc.sum(column).as_py() or 0)


@contextmanager
def _writing(out: Path) -> Iterator[pq.ParquetWriter]:
    """Give a writer of a file that is in place once the block has ended; after an error nothing has changed."""
    unfinished = out.with_name(f".{out.name}.unfinished")
    try:
        try:
            with pq.ParquetWriter(unfinished, SCHEMA, compression="zstd") as writer:
                yield writer
            unfinished.replace(out)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise BacktestError(f"{out} cannot be written: {error.strerror or error}") from error
