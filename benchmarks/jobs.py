"""Section 5: what is done beside scoring: catching up, rebuilding, archiving, backtest, the replay of training."""

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median

from confluent_kafka import Consumer, KafkaException, TopicPartition

from benchmarks import training_data
from benchmarks.harness import Backlog, Parts, backlog, deployment, parts
from benchmarks.section import Row, Size, Table
from benchmarks.used import cpu_s, peak_resident_mb
from benchmarks.windows import fill
from models.bundle import load_bundle, starter
from tests.archivers import Archiving
from tests.processes import ChildProcess
from tests.simulated_archive import TOPICS, put_simulated
from tests.topics import Topics
from training.archive import Kind, open_archive
from training.backtest import Range, backtest

_USERS = 5_000
_LOOK_S = 0.05
_MOST_S, _CALL_S = 600.0, 30.0
_PARTITIONS, _DAYS, _PAYMENTS_A_DAY = 8, 60, 1.5


def measure(size: Size) -> list[Table]:
    """Measure each job by itself."""
    with parts() as on:
        waiting = backlog(on, size.events, _USERS)
        rows = [
            _recovery(on, waiting, size.rounds, marked=True),
            _recovery(on, waiting, size.rounds, marked=False),
            _archiver(on, waiting),
        ]
    return [Table("Jobs", [*rows, *_on_an_archive(size.archived)], _NOTE)]


_NOTE = (
    "Catch-up: windows behind the group's offset are brought up to it, in Redis. Rebuild: there are none, and a new "
    "epoch is built. Memory is the process's peak; for backtest and replay, of all processes together."
)


def _recovery(on: Parts, waiting: Backlog, rounds: int, *, marked: bool) -> Row:
    """Let a scorer bring the windows of a whole topic up to date, of which everything has been committed."""
    found = [_recover(on, waiting, marked=marked) for _ in range(rounds)]
    name = "catch-up of windows from the log" if marked else "rebuild of windows from the log"
    return _row(name, *(median(column) for column in zip(*found, strict=True)))


def _recover(on: Parts, waiting: Backlog, *, marked: bool) -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory() as directory:
        group = deployment(on, waiting, Path(directory))
        if marked:
            fill(on.redis.url, on.kafka.bootstrap, group.group_id, waiting.topic, users=0)
        _commit_ends(on, waiting, group.group_id)
        scorer = group.scorer()
        try:
            return _timed(scorer.process, lambda: scorer.metric("tenfold_recovered_events_total"), waiting.events)
        finally:
            scorer.stop()


def _commit_ends(on: Parts, waiting: Backlog, group_id: str) -> None:
    """Commit the end of each partition for a group that nobody is in."""
    with closing(Consumer({"bootstrap.servers": on.kafka.bootstrap, "group.id": group_id})) as member:
        ends = [TopicPartition(waiting.topic, partition) for partition in range(waiting.partitions)]
        for end in ends:
            _, end.offset = member.get_watermark_offsets(end, timeout=_CALL_S)
        for committed in member.commit(offsets=ends, asynchronous=False):
            if committed.error is not None:
                raise KafkaException(committed.error)


def _archiver(on: Parts, waiting: Backlog) -> Row:
    topics = Topics(on.kafka.bootstrap)
    names = {
        Kind.TRANSACTIONS: waiting.topic,
        Kind.LABELS: topics.create("fraud-labels"),
        Kind.SCORES: topics.create("fraud-scores"),
    }
    with tempfile.TemporaryDirectory() as directory:
        archiving = Archiving(on.kafka.bootstrap, "bench", Path(directory), names)
        archiver = archiving.archiver("--max-rows", str(waiting.events // 40))
        try:
            # the last rows of a partition wait for their age
            most = int(0.8 * waiting.events)
            found = _timed(archiver.process, lambda: archiver.metric("tenfold_archive_rows_total"), most)
        finally:
            archiver.stop()
    return _row("archive", *found)


def _timed(process: ChildProcess, count: Callable[[], float], until: int) -> tuple[float, float, float]:
    """Return events/s, CPU microseconds an event and peak memory in MB while a process counts up to ``until``.

    Raises:
        RuntimeError: the process ended, or it takes for ever.
    """
    began: tuple[float, float, float] | None = None
    deadline = time.monotonic() + _MOST_S
    while True:
        now, done = time.perf_counter(), count()
        if not process.running or time.monotonic() > deadline:
            raise RuntimeError(f"{done:,.0f} of {until:,} events were done: {process.log.read_text()[-3000:]}")
        if began is None and done:
            began = now, done, cpu_s(process.pid)
        if began is not None and done >= until:
            first, before, cpu = began
            if done == before:
                raise RuntimeError(f"{until:,} events are done before anybody has looked: take more")
            rate = (done - before) / (now - first)
            return rate, 1e6 * (cpu_s(process.pid) - cpu) / (done - before), peak_resident_mb(process.pid)
        time.sleep(_LOOK_S)


@dataclass(frozen=True)
class _Backtest:
    """Scores a whole archive; for a process of its own."""

    def __call__(self, root: str, processes: int) -> int:
        archive = open_archive(root)
        days = sorted({file.day for file in archive.files(TOPICS.transactions)})
        bundle = load_bundle(starter("default"), threads=processes)
        with tempfile.TemporaryDirectory() as out:
            through = Range(days[0], days[-1] + timedelta(days=1))
            scores, now_ms = Path(out) / "scores.parquet", time.time_ns() // 1_000_000
            done = backtest(archive, TOPICS, "fraud-scores", bundle, through, scores, now_ms)
        return done.events


def _on_an_archive(events: int) -> list[Row]:
    processes = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as root:
        put_simulated(open_archive(root), -(-events // round(_PAYMENTS_A_DAY * _DAYS)), _DAYS, _PARTITIONS)
        found = {
            "replay of the archive": training_data.measure(training_data.replay_all, root, processes),
            "archive to training arrays": training_data.measure(training_data.MakeDataset("default"), root, processes),
            "backtest": training_data.measure(_Backtest(), root, processes),
        }
    described = {name: each.described() for name, each in found.items()}
    return [
        _row(name, each["events_per_second"], 1e6 / each["events_per_cpu_second"], each["peak_mb"])
        for name, each in described.items()
    ]


def _row(job: str, rate: float, cpu_us: float, peak_mb: float) -> Row:
    return {"job": job, "events/s": round(rate), "CPU µs an event": round(cpu_us, 2), "peak MB": round(peak_mb)}
