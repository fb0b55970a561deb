"""Real parts for the benchmarks, and what scorers on them reach and cost.

Everything runs on this machine at once: Kafka, Redis, the scorers. The backlog and full windows are there before a
scorer starts, so that the scorers alone set the pace, and every event is scored on ten records.
"""

import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from confluent_kafka import Consumer

from benchmarks.used import cpu_s, peak_resident_mb
from benchmarks.windows import fill
from models.window import Ints
from tests.brokers import KafkaBroker, RedisServer
from tests.processes import http_get
from tests.scorers import Deployment, Scorer
from tests.topics import Topics
from tests.traffic import Record, produce, traffic

#: With it a group of several processes begins when all have joined, not once for each that does.
JOIN_TOGETHER = "group.initial.rebalance.delay.ms=3000"

_LOOK_S = 0.25  # the scorer answers a look in a millisecond or two
_READY_S = 120.0
_SLOWEST = 500  # events/s; slower than that, something hangs


class Parts(NamedTuple):
    """A broker and a Redis of the benchmark's own."""

    kafka: KafkaBroker
    redis: RedisServer


class Backlog(NamedTuple):
    """Transactions that wait in a topic; the users are ``user-0`` to ``user-<users - 1>``."""

    topic: str
    partitions: int
    events: int
    users: int


class Run(NamedTuple):
    """What scorers did with a backlog."""

    events_per_s: float
    cpu_us: dict[str, float]  # per event: scorer (all processes), kafka, redis
    stage_us: dict[str, float]  # wall time per event of the scorer's stages, which overlap
    resident_mb: float  # of the largest scorer at its peak
    redis_bytes: float  # of Redis's memory, per user


@contextmanager
def parts(properties: str = "") -> Iterator[Parts]:
    """Start a broker, with further lines for its ``server.properties``, and a Redis."""
    with tempfile.TemporaryDirectory() as kafka_directory, tempfile.TemporaryDirectory() as redis_directory:
        started = Parts(
            KafkaBroker(Path(kafka_directory), properties, for_long=True), RedisServer(Path(redis_directory))
        )
        started.redis.start()
        try:
            started.kafka.start()
            yield started
        finally:
            started.kafka.discard()
            started.redis.discard()


def backlog(
    on: Parts, events: int, users: int, partitions: int = 4, records: Iterator[Record] | None = None
) -> Backlog:
    """Produce transactions into a topic of its own; ``records`` in place of evenly spread ones."""
    topic = Topics(on.kafka.bootstrap).create("transactions", partitions)
    produce(on.kafka.bootstrap, topic, records or traffic(events, users, seed=1, bad_share=0))
    return Backlog(topic, partitions, events, users)


def deployment(on: Parts, of: Backlog, directory: Path, **settings: str) -> Deployment:
    """Return a group that has scored nothing yet, with topics of its own; the times of its scores are the broker's."""
    topics = Topics(on.kafka.bootstrap)
    outputs = topics.create("fraud-scores", of.partitions, {"message.timestamp.type": "LogAppendTime"})
    return Deployment(
        on.kafka.bootstrap,
        on.redis.url,
        f"bench-{uuid.uuid4().hex[:8]}",
        directory,
        of.topic,
        outputs,
        topics.create("dlq"),
        settings={"TENFOLD_LOG_LEVEL": "warning", **settings},
    )


def run(on: Parts, of: Backlog, processes: int = 1, **settings: str) -> Run:
    """Score a backlog with so many processes of a fresh group whose windows are full.

    Raises:
        RuntimeError: a scorer ended, or it takes for ever.
    """
    with tempfile.TemporaryDirectory() as directory:
        group = deployment(on, of, Path(directory), **settings)
        window_bytes = fill(on.redis.url, on.kafka.bootstrap, group.group_id, of.topic, of.users)
        try:
            for _ in range(processes):
                group.scorer()
            began, ended = _watch(on, group.scorers, of.events)
            times_ms = append_times_ms(on.kafka.bootstrap, group.output_topic, of.events)
            resident_mb = max(peak_resident_mb(scorer.process.pid) for scorer in group.scorers)
        finally:
            for scorer in group.scorers:
                scorer.stop()
    scored = max(ended.events - began.events, 1)
    return Run(
        rate(times_ms),
        {part: 1e6 * (ended.cpu_s[part] - began.cpu_s[part]) / scored for part in ended.cpu_s},
        {stage: 1e6 * seconds / ended.events for stage, seconds in ended.stage_s.items()},
        resident_mb,
        window_bytes / of.users,
    )


def rate(times_ms: Ints) -> float:
    """Return events/s from the times of their scores, sorted; the first tenth warms up and is left out."""
    counted = times_ms[len(times_ms) // 10 :]
    return (len(counted) - 1) / (max(int(counted[-1] - counted[0]), 1) / 1000)


def append_times_ms(bootstrap: str, topic: str, events: int) -> Ints:
    """Return when the broker appended each of the first ``events`` scores that can be read, ``int64 [events]``, sorted.

    Raises:
        RuntimeError: there are fewer, and no more come.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"times-{uuid.uuid4().hex}",
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([topic])
    times: list[int] = []
    try:
        while len(times) < events:
            messages = [message for message in consumer.consume(10_000, 1) if message.error() is None]
            if not messages and times:
                raise RuntimeError(f"{topic} has {len(times):,} readable scores of {events:,}")
            times += [message.timestamp()[1] for message in messages]
    finally:
        consumer.close()
    return np.sort(np.array(times[:events], np.int64))


class _Look(NamedTuple):
    events: float
    cpu_s: dict[str, float]
    stage_s: dict[str, float]


def _watch(on: Parts, scorers: Sequence[Scorer], events: int) -> tuple[_Look, _Look]:
    """Return a look at the scorers when each has begun, and one when all is scored."""
    began: _Look | None = None
    deadline = time.monotonic() + _READY_S + events / _SLOWEST
    while True:
        samples = [metrics(scorer.metrics_port) for scorer in scorers]
        done = [each.get("tenfold_events_total", 0.0) for each in samples]
        look = _Look(sum(done), _cpu_s(on, scorers), _stage_s(samples))
        if began is None and (all(done) or look.events >= events):
            began = look
        if began is not None and look.events >= events:
            return began, look
        for scorer in scorers:
            if not scorer.process.running or time.monotonic() > deadline:
                raise RuntimeError(f"{look.events:,.0f} of {events:,} events were scored:\n{scorer.log_text[-3000:]}")
        time.sleep(_LOOK_S if began else 0.02)


def metrics(port: int) -> dict[str, float]:
    """Return what ``/metrics`` says, by sample; nothing where nobody answers yet."""
    lines = http_get(port, "/metrics")[1].splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def _stage_s(samples: Sequence[dict[str, float]]) -> dict[str, float]:
    stages: dict[str, float] = {}
    for name, seconds in (sample for each in samples for sample in each.items()):
        if name.startswith("tenfold_stage_seconds_sum"):
            stage = name.split('"')[1]
            stages[stage] = stages.get(stage, 0.0) + seconds
    return stages


def _cpu_s(on: Parts, scorers: Sequence[Scorer]) -> dict[str, float]:
    return {
        "scorer": sum(cpu_s(scorer.process.pid) for scorer in scorers),
        "kafka": cpu_s(on.kafka.pid),
        "redis": cpu_s(on.redis.pid),
    }
