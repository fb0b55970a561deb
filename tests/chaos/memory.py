"""Hours of traffic at once: does a scorer hold on to memory, file descriptors or threads?

``python -m tests.chaos.memory --events 7200000`` is two hours at 1,000 events a second, of 200,000 users, as fast as
the scorer takes them. After a twelfth of it everything is warm; from then on resident memory may grow by 5 %, and
descriptors and threads not at all. Prints one line of JSON; exits with 1 if something grew.
"""

import argparse
import itertools
import json
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Producer

from tests.brokers import KafkaBroker, RedisServer
from tests.scorers import Deployment, Scorer
from tests.topics import Topics
from tests.traffic import traffic

USERS = 200_000
_AHEAD = 200_000  # events in the log that are not scored yet
_SAMPLE_S = 2.0
_STANDSTILL_S = 120.0
_MEMORY_GROWTH = 1.05


class Sample(NamedTuple):
    """What a process holds at a moment."""

    events: int
    resident_kb: int
    descriptors: int
    threads: int


class Growth(NamedTuple):
    """What was held once warm, and the most after that."""

    events: int
    seconds: float
    warm: Sample
    most: Sample

    @property
    def steady(self) -> bool:
        """Whether nothing grew."""
        return (
            self.most.resident_kb <= self.warm.resident_kb * _MEMORY_GROWTH
            and self.most.descriptors <= self.warm.descriptors
            and self.most.threads <= self.warm.threads
        )


class _Load:
    """Keeps the log a little ahead of the scorer, in a thread of its own."""

    def __init__(self, deployment: Deployment, events: int) -> None:
        self._deployment, self._events = deployment, events
        self.scored = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "_Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._events = 0
        self._thread.join()

    def _run(self) -> None:
        producer = Producer({"bootstrap.servers": self._deployment.bootstrap, "partitioner": "murmur2_random"})
        for number, record in enumerate(traffic(self._events, users=USERS, seed=8), 1):
            producer.produce(self._deployment.input_topic, key=record.key, value=record.value)
            if number % 1_000 == 0:
                producer.poll(0)
                while number - self.scored > _AHEAD and self._events:
                    time.sleep(0.05)
            if not self._events:
                break
        producer.flush(60)


def watch(scorer: Scorer, events: int, load: _Load) -> Iterator[Sample]:
    """Yield samples until the scorer has taken all events.

    Raises:
        AssertionError: it ended, or stands still.
    """
    since, taken = time.monotonic(), 0
    while taken < events:
        time.sleep(_SAMPLE_S)
        assert scorer.process.running, scorer.log_text[-3000:]
        # first, since to ask for a metric takes a thread and a descriptor of the scorer's
        process = Path(f"/proc/{scorer.process.pid}")
        status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
        resident_kb, threads = int(status["VmRSS"].split()[0]), int(status["Threads"])
        descriptors = len(list((process / "fd").iterdir()))
        before, taken = taken, int(scorer.metric("tenfold_events_total"))
        load.scored = taken
        since = time.monotonic() if taken > before else since
        assert time.monotonic() - since < _STANDSTILL_S, f"stands still at {taken}:\n{scorer.log_text[-3000:]}"
        yield Sample(taken, resident_kb, descriptors, threads)


def run(events: int, directory: Path) -> Growth:
    """Let one scorer take ``events``; return what grew."""
    kafka, redis_server = KafkaBroker(directory, for_long=True), RedisServer(directory)
    redis_server.start()
    try:
        kafka.start()
        name = f"memory-{uuid.uuid4().hex[:8]}"
        deployment = Deployment.create(Topics(kafka.bootstrap), kafka.bootstrap, redis_server.url, name, directory)
        scorer = deployment.scorer().wait_until_ready()
        begun = time.monotonic()
        with _Load(deployment, events) as load:
            samples = []
            for sample in watch(scorer, events, load):
                samples.append(sample)
                if len(samples) % 30 == 0:
                    print(f"{sample}, {sample.events / (time.monotonic() - begun):,.0f} events/s", file=sys.stderr)
        assert scorer.stop() == 0
    finally:
        kafka.discard()
        redis_server.discard()
    warm = list(itertools.dropwhile(lambda sample: sample.events < events // 12, samples))
    return Growth(events, round(time.monotonic() - begun), _most(warm[:3]), _most(warm[3:]))


def _most(samples: list[Sample]) -> Sample:
    return Sample(*map(max, zip(*samples, strict=True)))


def main() -> None:
    """Run, and say what grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=7_200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tenfold-memory-") as directory:
        growth = run(options.events, Path(directory))
    print(json.dumps({**growth._asdict(), "warm": growth.warm._asdict(), "most": growth.most._asdict()}))
    sys.exit(not growth.steady)


if __name__ == "__main__":
    main()
