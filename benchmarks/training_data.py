"""How fast, and in how much memory, an archive becomes what the network learns from.

    python -m benchmarks.training_data --events 10_000_000

An archive of simulated payments and their labels is made first, unless ``--archive`` names one that an earlier run
made. Then, each in processes of its own: the bare replay, every event with the window that it is scored on; and all
that ``tenfold train --archive`` does before TensorFlow is asked: labels, replay, samples, features, profiles. Memory is
what all processes hold together (PSS) at its peak, and of it what is not pages of mapped files, which the kernel drops
when it needs room; Linux says it, and is asked five times a second. On a machine that has other work, events per CPU
second say more than events per second.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import psutil

from models.context import PRESET_CONTEXT
from models.features import PRESETS
from models.window import SEQUENCE_LENGTH, WINDOW_MAX_AGE_MS
from tests.simulated_archive import TOPICS, put_simulated
from training.archive import open_archive, partitions
from training.archive_dataset import Wanted, dataset_of
from training.replay import replay_partition

_PARTITIONS, _DAYS, _SEED = 8, 60, 1
_PAYMENTS_A_DAY = 1.5  # of a user
_LOOK_EVERY_S = 0.2


class Held(NamedTuple):
    """Memory in MiB."""

    resident: int  # proportional: what processes share is counted once
    anonymous: int  # of it, what the kernel cannot drop; the rest are pages of mapped files


class Measured(NamedTuple):
    """What a step took."""

    events: int
    seconds: float
    cpu_seconds: float  # of all processes
    looks: list[Held]  # of all processes together

    def described(self) -> dict[str, float]:
        return {
            "events": self.events,
            "seconds": round(self.seconds, 1),
            "events_per_second": round(self.events / self.seconds),
            "events_per_cpu_second": round(self.events / self.cpu_seconds),
            "peak_mb": max(held.resident for held in self.looks),
            "peak_anonymous_mb": max(held.anonymous for held in self.looks),
        }


def replay_all(root: str, processes: int) -> int:
    """Replay every partition, so many at once; return how many events there were."""
    numbers = partitions(open_archive(root).files(TOPICS.transactions))
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        return sum(pool.map(_replay_one, [root] * len(numbers), numbers))


def _replay_one(root: str, partition: int) -> int:
    replayed = replay_partition(
        open_archive(root),
        TOPICS.transactions,
        partition,
        sequence_length=SEQUENCE_LENGTH,
        max_age_ms=WINDOW_MAX_AGE_MS,
    )
    return sum(len(chunk.scored) for chunk in replayed)


@dataclass(frozen=True)
class MakeDataset:
    """Everything up to the arrays that a preset's network learns from; returns how many events were looked at."""

    preset: str

    def __call__(self, root: str, processes: int) -> int:
        wanted = Wanted(
            features=PRESETS[self.preset],
            context=PRESET_CONTEXT[self.preset],
            sequence_length=SEQUENCE_LENGTH,
            max_age_ms=WINDOW_MAX_AGE_MS,
            zone="UTC",
            first=None,
            until=None,
            label_delay_days=7,
            validation_days=7,
            test_days=7,
            split="time",
            honest_per_fraud=50,
            seed=_SEED,
            now_ms=time.time_ns() // 1_000_000,
        )
        with tempfile.TemporaryDirectory() as columns:
            made = dataset_of(open_archive(root), TOPICS, "fraud-scores", wanted, Path(columns), processes=processes)
            return made.summary.transactions


def measure(step: Callable[[str, int], int], root: str, processes: int) -> Measured:
    """Run a step in a process of its own."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(step, root, processes, sender))
    process.start()
    with _watching(process.pid or 0) as looks:
        sender.close()  # the process has its own: should it end without an answer, so does this wait
        answer = receiver.recv()
    process.join()
    return Measured(*answer, looks)


def _run(step: Callable[[str, int], int], root: str, processes: int, answer: Connection) -> None:
    begun = time.perf_counter()
    events = step(root, processes)
    seconds = time.perf_counter() - begun
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    answer.send((events, seconds, sum(each.ru_utime + each.ru_stime for each in used)))


@contextmanager
def _watching(pid: int) -> Iterator[list[Held]]:
    """Look at what a process and its children hold while the block runs; the list gets every look."""
    looks, done = [Held(0, 0)], threading.Event()

    def look() -> None:
        while not done.wait(_LOOK_EVERY_S):
            held = [_held_by(process.pid) for process in _family(pid)]
            looks.append(Held(*(sum(column) for column in zip(*held, strict=True))) if held else Held(0, 0))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield looks
    finally:
        done.set()
        thread.join()


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _held_by(pid: int) -> Held:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return Held(0, 0)
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
    return Held(kilobytes.get("Pss", 0) // 1024, kilobytes.get("Anonymous", 0) // 1024)


def main() -> None:
    """Measure, and print a line of JSON for each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000_000, help="at least so many, of 60 days")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--preset", choices=sorted(PRESETS), default="default")
    parser.add_argument("--archive", type=Path, help="kept, and used again where it is there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = str(arguments.archive or Path(scratch) / "archive")
        archive = open_archive(root)
        if not archive.files(TOPICS.transactions):
            put_simulated(archive, -(-arguments.events // round(_PAYMENTS_A_DAY * _DAYS)), _DAYS, _PARTITIONS, _SEED)
        steps: dict[str, Callable[[str, int], int]] = {
            "replay": replay_all,
            f"dataset of {arguments.preset}": MakeDataset(arguments.preset),
        }
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}", file=sys.stderr)
        for name, step in steps.items():
            measured = measure(step, root, arguments.processes).described()
            print(json.dumps({"step": name, "processes": arguments.processes, **measured}), flush=True)


if __name__ == "__main__":
    main()
