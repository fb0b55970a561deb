"""``tenfold backtest``: the options, and what the user is told."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.bundle import BundleError, load_bundle
from stream.errors import UsageError
from stream.progress import Counted, nobody
from stream.settings import Settings
from training.archive import Archive
from training.backtest import BacktestError, Range, backtest
from training.options import day
from training.profiles import Topics


def run(
    archive: Archive,
    settings: Settings,
    model: Path,
    first: str,
    until: str,
    out: Path,
    now_ms: int,
    clock: Callable[[], float],
    progress: Counted = nobody,
) -> dict[str, Any]:
    """Score a range of days of the archive into a Parquet file; return what was scored, for JSON.

    Args:
        archive: where the payments are.
        settings: the topics' names, and the engine that computes the model.
        model: the bundle.
        first: ISO date of the first day.
        until: ISO date of the day after the last.
        out: the file.
        now_ms: the time.
        clock: seconds, monotonic.
        progress: counts the payments that were scored.

    Raises:
        UsageError: an option means nothing.
        BacktestError: the bundle does not serve, or there is nothing to score.
        training.archive.ArchiveError: the archive cannot be read.
    """
    days = Range(day("--from", first), day("--to", until))
    if days.until <= days.first:
        raise UsageError(f"--to {until} is the day after the last: give one later than --from {first}")
    if out.suffix != ".parquet":
        raise UsageError(
            f"--out {out} is written as Parquet: give a name that ends in .parquet; "
            f"with DuckDB, COPY (FROM '{out.with_suffix('.parquet')}') TO '{out.with_suffix('.csv')}' makes a CSV of it"
        )
    try:
        bundle = load_bundle(model, settings.runtime, threads=len(os.sched_getaffinity(0)))
    except BundleError as error:
        raise BacktestError(str(error)) from None
    begun = clock()
    topics = Topics(settings.input_topic, settings.labels_topic)
    done = backtest(archive, topics, settings.output_topic, bundle, days, out, now_ms, progress)
    seconds = clock() - begun
    return {
        "out": str(out),
        "model_version": bundle.spec.model_version,
        **done._asdict(),
        "seconds": round(seconds, 3),
        "events_per_second": round(done.events / seconds),
    }
