"""From the archive to what the network learns from: replay, labels, a split by time, honest windows sampled.

All that grows with the archive is on disk: partitions are replayed side by side, each in a process of its own.
"""

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

import pyarrow as pa

from models.context import DAY_MS, ProfileDefinition, day_date, day_number
from models.spec import BundleSpec
from stream.progress import Counted, nobody
from training.archive import Archive, partitions
from training.column_files import context_of, windowed
from training.columns import TrainingDataError
from training.context import open_contexts
from training.dataset import Dataset, Split, split_by_row
from training.dataset import Part as Windowed
from training.known_cards import Frauds, first_known_ms
from training.labels import Counts, Extent, Summary, open_labels
from training.periods import Part, PeriodError, Periods, labelled_days, split_by_time
from training.profiles import Topics
from training.samples import Plan, first_file_day, put_together, write_partition


@dataclass(frozen=True)
class Wanted:
    """Which windows are wanted, and how they are seen."""

    features: Sequence[str]  # names of a step's columns
    context: Sequence[str]  # names of the columns of profiles beside the window
    sequence_length: int
    max_age_ms: int
    zone: str
    first: date | None  # day that training begins with; the archive's first
    until: date | None  # day after the test; the last that is labelled
    label_delay_days: int
    validation_days: int
    test_days: int
    split: Split  # by row, the last two and the next mean nothing
    honest_per_fraud: float  # of the training windows that are no fraud, so many are kept for each fraud
    seed: int
    now_ms: int  # by the clock: nothing later is known

    @classmethod
    def of_bundle(cls, spec: BundleSpec, first: date, until: date, now_ms: int) -> Self:
        """Return all windows of some days, as a bundle sees them: for :func:`part_of_range`."""
        return cls(
            features=spec.features,
            context=spec.context,
            sequence_length=spec.sequence_length,
            max_age_ms=spec.window_max_age_ms,
            zone=spec.zone,
            first=first,
            until=until,
            label_delay_days=spec.label_delay_days,
            validation_days=0,
            test_days=0,
            honest_per_fraud=1,
            seed=0,  # nothing is drawn
            split="time",
            now_ms=now_ms,
        )


class ProfileDays(NamedTuple):
    """Where it is known from which table of profiles went with an event, in events."""

    archived: int  # an archived score of the event names it
    by_rule: int  # it follows from the event's times, tables taken to be published at midnight


class Made(NamedTuple):
    """A dataset and what it was made of."""

    dataset: Dataset
    days: Mapping[str, tuple[str, str]]  # first and last of each part, ISO dates
    summary: Summary
    frauds: Frauds  # that make a card known in the test
    profile_days: ProfileDays | None  # of a model that reads profiles


def dataset_of(
    archive: Archive,
    topics: Topics,
    scores: str,
    wanted: Wanted,
    directory: Path,
    processes: int = 1,
    dask: str | None = None,
    progress: Counted = nobody,
) -> Made:
    """Replay the archive and return its windows in three stretches of time; their columns are files in ``directory``.

    Labels are as they had landed when validation begins for the training days, and as they are known now for the
    others: the model is trained as it would have been then.

    Args:
        archive: where transactions and labels are.
        topics: their topics.
        scores: the topic of scores, which say what profiles serving used.
        wanted: which windows.
        directory: where the columns go: some 800 bytes a window.
        processes: so many partitions are replayed at once, on this machine;
        dask: or they are spread over the cluster whose scheduler has this address.
        progress: counts the partitions that were replayed on this machine.

    Raises:
        TrainingDataError: the archive is empty, or there is no fraud in one of the stretches.
        training.periods.PeriodError: it does not reach far enough.
        training.archive.ArchiveError: it cannot be read.
        training.cluster.ClusterError: the cluster cannot do it.
    """
    periods = partial(_periods, wanted=wanted)
    made = _stretches(archive, topics, scores, wanted, periods, directory, processes, progress, dask)
    if wanted.split == "rows":
        dataset, days = split_by_row(made.parts[Part.TEST]), {"all": made.periods.described()[Part.TEST]}
    else:
        dataset = Dataset(*(made.parts[part] for part in Part))
        days = made.periods.described()
    return Made(dataset, days, made.summary, made.frauds, made.profile_days)


class MadeRange(NamedTuple):
    """The windows of a range of days and what they were made of."""

    windows: Windowed
    summary: Summary
    frauds: Frauds  # that make a card known in the range
    profile_days: ProfileDays | None  # of a model that reads profiles


def part_of_range(
    archive: Archive,
    topics: Topics,
    scores: str,
    wanted: Wanted,
    directory: Path,
    processes: int = 1,
    progress: Counted = nobody,
) -> MadeRange:
    """Replay a range of days, all of its windows; of ``wanted`` neither the split nor the sampling counts.

    Arguments and what is raised are those of :func:`dataset_of`.
    """
    periods = partial(_undivided, wanted=wanted)
    made = _stretches(archive, topics, scores, wanted, periods, directory, processes, progress)
    return MadeRange(made.parts[Part.TEST], made.summary, made.frauds, made.profile_days)


class _Stretches(NamedTuple):
    parts: Mapping[Part, Windowed]
    periods: Periods
    summary: Summary
    frauds: Frauds
    profile_days: ProfileDays | None


def _stretches(
    archive: Archive,
    topics: Topics,
    scores: str,
    wanted: Wanted,
    periods_of: Callable[[Extent], Periods],
    directory: Path,
    processes: int,
    progress: Counted,
    dask: str | None = None,
) -> _Stretches:
    since = None if wanted.first is None else first_file_day(day_number(wanted.first) * DAY_MS, wanted.max_age_ms)
    with open_labels(archive, topics, since=since, scratch=directory) as labels:
        extent = labels.extent(wanted.now_ms)
        if extent is None:
            then = "" if wanted.first is None else f" from {wanted.first} on"
            raise TrainingDataError(
                f"{archive.url(topics.transactions)} holds no transaction{then}: "
                f"{archive.days_told(topics.transactions)}"
            )
        periods = periods_of(extent)
        summary = labels.summary(extent.known_ms)
        landed_by = {part: periods.judged_at(part, extent.known_ms) for part in Part}
        counts = {part: labels.counts(*periods.bounds(part), landed_by[part]) for part in Part}
        _check(counts, periods, summary)
        share = _share_of_honest(counts[Part.TRAINING], wanted.honest_per_fraud)
        plan = Plan(
            topics.transactions,
            wanted.sequence_length,
            wanted.max_age_ms,
            periods,
            {part: labels.known_frauds(landed_by[part]) for part in Part},
            share,
            wanted.seed,
        )
        known_from_ms = first_known_ms(periods.test_ms // DAY_MS, wanted.label_delay_days)
        frauds = labels.frauds(known_from_ms, periods.end_ms, extent.known_ms)
        buckets = partitions(archive.files(topics.transactions, since=since))
        repeats = {partition: labels.repeats(partition) for partition in buckets}
    _write(archive, plan, repeats, directory, processes, progress, dask)
    samples = put_together(directory, buckets, wanted.sequence_length)
    parts = {
        part: windowed(
            samples[part], directory / f"{part}.features.npy", wanted.features, wanted.zone, periods.bounds(part)
        )
        for part in Part
    }
    profile_days = None
    if wanted.context:
        definition = ProfileDefinition(wanted.zone, wanted.label_delay_days)
        whole = periods.begin_ms, periods.end_ms
        with open_contexts(archive, topics, scores, wanted.context, definition, whole, scratch=directory) as contexts:
            archived = 0
            for part in Part:
                context, its_archived = context_of(samples[part], directory / f"{part}.context.npy", contexts)
                parts[part] = replace(parts[part], context=context)
                archived += its_archived
        profile_days = ProfileDays(archived, sum(map(len, parts.values())) - archived)
    parts[Part.TRAINING] = replace(parts[Part.TRAINING], honest_weight=1 / share)
    return _Stretches(parts, periods, summary, frauds, profile_days)


def _periods(extent: Extent, wanted: Wanted) -> Periods:
    if wanted.split == "rows":
        return _undivided(extent, wanted)
    return split_by_time(
        extent,
        first=wanted.first,
        until=wanted.until,
        label_delay_days=wanted.label_delay_days,
        validation_days=wanted.validation_days,
        test_days=wanted.test_days,
    )


def _undivided(extent: Extent, wanted: Wanted) -> Periods:
    begin, end = labelled_days(extent, first=wanted.first, until=wanted.until, label_delay_days=wanted.label_delay_days)
    if end <= begin:
        raise PeriodError(
            f"there is nothing from {wanted.first} to {wanted.until}: the archive has events from "
            f"{day_date(extent.first_ms // DAY_MS)} to {day_date(extent.last_ms // DAY_MS)}, and --to is the day after "
            "the last"
        )
    return Periods.undivided(begin * DAY_MS, end * DAY_MS)


def _check(counts: Mapping[Part, Counts], periods: Periods, summary: Summary) -> None:
    for part, (transactions, frauds) in counts.items():
        begin_ms, end_ms = periods.bounds(part)
        if begin_ms < end_ms and not 0 < frauds < transactions:
            begin, last = periods.described()[part]
            raise TrainingDataError(
                f"of the {transactions:,} {part} transactions, {begin} to {last}, {frauds:,} are labelled as fraud, "
                f"and both kinds are needed: the archive has {summary.labels:,} labels, {summary.labels_of_unknown:,} "
                "of unknown transactions; archive more days, or give others"
            )


def _share_of_honest(counts: Counts, honest_per_fraud: float) -> float:
    if not counts.transactions:  # of a range that is all test
        return 1.0
    return min(1.0, honest_per_fraud * counts.frauds / max(counts.transactions - counts.frauds, 1))


def _write(
    archive: Archive,
    plan: Plan,
    repeats: Mapping[int, pa.Table],
    directory: Path,
    processes: int,
    progress: Counted,
    dask: str | None,
) -> None:
    if dask is not None:
        from training.cluster import write_on_cluster  # noqa: PLC0415 - to import it takes a second

        write_on_cluster(dask, archive, plan, repeats, directory)
        return
    processes = min(processes, len(repeats))
    if processes <= 1:
        for partition, repeated in repeats.items():
            write_partition(archive, partition, plan, repeated, directory)
            progress(1)
        return
    # a fork would inherit the threads' locks of Arrow and DuckDB, but not the threads
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context) as pool:
        written = [
            pool.submit(write_partition, archive, partition, plan, repeated, directory)
            for partition, repeated in repeats.items()
        ]
        for each in as_completed(written):
            each.result()
            progress(1)
