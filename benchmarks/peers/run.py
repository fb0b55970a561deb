"""One run: some processes of an engine score the backlog of a topic, and are timed by what the broker notes.

The output topic is stamped by the broker (LogAppendTime), and a rate is taken from those stamps, the first tenth left
out: starting, joining the group and waiting for a last commit are not in it.
"""

import signal
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource

from benchmarks.harness import rate
from benchmarks.used import cpu_s
from tests.oracle import read_topic
from tests.processes import ChildProcess
from tests.topics import Topics

PARTITIONS = 4  # of input and output

_JOIN_DELAY_MS = 3000  # processes that are started together have joined by then
_START_S, _RUN_S, _REQUEST_S = 120.0, 1200.0, 30.0


@dataclass(frozen=True)
class Place:
    """Where an engine reads and writes; names of its own for each run."""

    bootstrap: str
    redis_url: str
    group: str
    input: str
    output: str
    dead_letters: str
    directory: Path


class Command(NamedTuple):
    """How a process is started."""

    arguments: list[str | Path]
    environment: Mapping[str, str]  # beside this process's own


@dataclass(frozen=True)
class Engine:
    """An engine in one of its variants; ``command`` says how its n-th process is started."""

    name: str
    version: str
    variant: str
    processes: int
    command: Callable[[Place, int], Command]
    excerpt: int = 0  # events that it is given, of a few users of the topic; 0 is the topic


@dataclass(frozen=True)
class Timed:
    """What a run took."""

    events: int
    events_per_s: float
    cpu_us_per_event: float  # of the processes together, from the first output on
    least_busy: float  # CPU of the process that used least, against the processes' mean: 1 where all did alike


class UnfitBrokerError(RuntimeError):
    """The broker is set up so that the figures would mean something else; the message says what to change."""


def run(bootstrap: str, redis_url: str, topic: str, engine: Engine) -> tuple[Timed, list[Message]]:
    """Let an engine score all of ``topic``, which nobody writes to any more; return figures and committed output.

    Raises:
        UnfitBrokerError: several processes would join the group one after the other.
        tests.processes.StartError: a process ended, or did not come to an end in 20 minutes.
    """
    if engine.processes > 1:
        _check_join_delay(bootstrap)
    topics, name = Topics(bootstrap), uuid.uuid4().hex[:8]
    stamped = {"message.timestamp.type": "LogAppendTime"}
    output, dead_letters = topics.create("scores", PARTITIONS, stamped), topics.create("dead-letters")
    try:
        with TemporaryDirectory() as directory:
            place = Place(bootstrap, redis_url, f"bench-{name}", topic, output, dead_letters, Path(directory))
            commands = [engine.command(place, number) for number in range(engine.processes)]
            with closing(_Progress(place)) as progress, _started(commands, place.directory) as processes:
                processes[0].wait_until(lambda: progress.written() > 0, _START_S)
                written, before = progress.written(), [cpu_s(process.pid) for process in processes]
                _wait_until_scored(processes, progress)
                used = [cpu_s(process.pid) - start for process, start in zip(processes, before, strict=True)]
        records = read_topic(bootstrap, output)
    finally:
        topics.delete_all()
    timed = Timed(
        len(records),
        rate(np.sort(np.array([record.timestamp()[1] for record in records]))),
        1e6 * sum(used) / (len(records) - written),
        min(used) / fmean(used),
    )
    return timed, records


def _wait_until_scored(processes: list[ChildProcess], progress: "_Progress") -> None:
    def over() -> bool:
        return progress.left() == 0 or not all(process.running for process in processes)

    for process in processes:  # one that has ended says so, with its last lines
        process.wait_until(lambda this=process: this.running and over(), _RUN_S)


@contextmanager
def _started(commands: list[Command], directory: Path) -> Iterator[list[ChildProcess]]:
    processes: list[ChildProcess] = []
    try:
        for number, (arguments, environment) in enumerate(commands):
            settings = [f"{name}={value}" for name, value in environment.items()]
            processes.append(ChildProcess(["env", *settings, *arguments], directory / f"process-{number}.log"))
        yield processes
    finally:
        for process in processes:
            process.end(signal.SIGTERM)


class _Progress:
    """How far a run is, as the broker says: a few small requests, so that asking costs the run next to nothing."""

    def __init__(self, place: Place) -> None:
        # uncommitted: what an open transaction has written counts as written, and its offsets are not waited for
        own = {"group.id": place.group, "isolation.level": "read_uncommitted", "enable.auto.commit": False}
        self._client = Consumer({"bootstrap.servers": place.bootstrap, **own})
        self._output = self._partitions_of(place.output)
        self._ends = {partition: self._end(partition) for partition in self._partitions_of(place.input)}

    def written(self) -> int:
        """Return how many records the output has, the markers of transactions among them."""
        return sum(map(self._end, self._output))

    def left(self) -> int:
        """Return how many records of the input the group has not committed."""
        committed = self._client.committed(list(self._ends), _REQUEST_S)
        return sum(self._ends[partition] - max(partition.offset, 0) for partition in committed)

    def close(self) -> None:
        """Disconnect."""
        self._client.close()

    def _partitions_of(self, topic: str) -> list[TopicPartition]:
        found = self._client.list_topics(topic, _REQUEST_S).topics[topic].partitions
        return [TopicPartition(topic, partition) for partition in found]

    def _end(self, partition: TopicPartition) -> int:
        return self._client.get_watermark_offsets(partition, _REQUEST_S)[1]


def _check_join_delay(bootstrap: str) -> None:
    name = "group.initial.rebalance.delay.ms"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for broker in admin.list_topics(timeout=_REQUEST_S).brokers:
        resource = ConfigResource(ConfigResource.Type.BROKER, str(broker))
        delay_ms = int(admin.describe_configs([resource])[resource].result(_REQUEST_S)[name].value)
        if delay_ms < _JOIN_DELAY_MS:
            raise UnfitBrokerError(
                f"broker {broker} has {name}={delay_ms}, so that processes started together join one after the other "
                f"and the figures would hold a rebalance: set it to {_JOIN_DELAY_MS} at least"
            )
