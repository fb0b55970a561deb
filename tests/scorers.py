"""Scorer processes for tests: real ones, started as a user starts them."""

import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition

from models.bundle import LoadedBundle
from tests.oracle import Expected, Verdict, judge, read_topic, replay, wrong_windows
from tests.processes import ChildProcess, free_port, http_get
from tests.topics import Topics

_READY_S = 60.0


@dataclass
class Deployment:
    """Topics and a group of their own, and the scorers that serve them."""

    bootstrap: str
    redis_url: str
    group_id: str
    directory: Path
    input_topic: str
    output_topic: str
    dlq_topic: str
    settings: dict[str, str] = field(default_factory=dict)
    scorers: list["Scorer"] = field(default_factory=list)

    @classmethod
    def create(
        cls, topics: Topics, bootstrap: str, redis_url: str, group_id: str, directory: Path, partitions: int = 3
    ) -> "Deployment":
        """Make the topics."""
        return cls(
            bootstrap,
            redis_url,
            group_id,
            directory,
            topics.create("transactions", partitions),
            topics.create("fraud-scores", partitions),
            topics.create("transactions.dlq", 1, {"max.message.bytes": "2097152"}),
        )

    def environment(self, **settings: str) -> dict[str, str]:
        """Return the environment that a scorer of this deployment runs in."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TENFOLD_")}
        return inherited | {
            "TENFOLD_BOOTSTRAP_SERVERS": self.bootstrap,
            "TENFOLD_REDIS_URL": self.redis_url,
            "TENFOLD_GROUP_ID": self.group_id,
            "TENFOLD_INPUT_TOPIC": self.input_topic,
            "TENFOLD_OUTPUT_TOPIC": self.output_topic,
            "TENFOLD_DLQ_TOPIC": self.dlq_topic,
            "TENFOLD_METRICS_PORT": str(free_port()),
            **self.settings,
            **settings,
        }

    def scorer(self, **settings: str) -> "Scorer":
        """Start one more scorer."""
        started = Scorer(self.environment(**settings), self.directory / f"scorer-{len(self.scorers)}.log")
        self.scorers.append(started)
        return started

    def lag(self) -> int:
        """Return how many records of the input topic the group has not committed."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.group_id})
        try:
            partitions = [
                TopicPartition(self.input_topic, partition)
                for partition in consumer.list_topics(self.input_topic, 10).topics[self.input_topic].partitions
            ]
            ends = [consumer.get_watermark_offsets(partition, timeout=10)[1] for partition in partitions]
            committed = consumer.committed(partitions, 10)
            return sum(end - max(position.offset, 0) for end, position in zip(ends, committed, strict=True))
        finally:
            consumer.close()

    def first_to_score(self, scorers: "list[Scorer]", timeout_s: float = 60.0) -> "list[Scorer]":
        """Return the scorers, the one that has scored first at the front: of a busy machine nobody knows which.

        Raises:
            AssertionError: none did in ``timeout_s``.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            for scorer in scorers:
                if scorer.metric("tenfold_events_total"):
                    return [scorer, *(other for other in scorers if other is not scorer)]
            assert time.monotonic() < deadline, f"nothing was scored in {timeout_s} s:\n{scorers[0].log_text[-3000:]}"
            time.sleep(0.01)

    def wait_until_scored(self, scorers: "list[Scorer]", timeout_s: float = 120.0) -> None:
        """Return once the group has committed everything.

        Raises:
            AssertionError: a scorer ended, or it took longer than ``timeout_s``.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            for scorer in scorers:
                assert scorer.process.running, f"a scorer ended:\n{scorer.log_text[-3000:]}"
            try:
                lag = self.lag()
            except KafkaException:  # offsets of an open transaction are not stable yet
                lag = -1
            if lag == 0:
                return
            assert time.monotonic() < deadline, f"lag {lag} after {timeout_s} s:\n{scorers[0].log_text[-3000:]}"
            time.sleep(0.1)


def verdict_of(bundle: LoadedBundle, deployment: Deployment) -> tuple[Expected, Verdict]:
    """Ask the oracle about a deployment that has scored everything."""
    expected = replay(read_topic(deployment.bootstrap, deployment.input_topic), bundle)
    scores = read_topic(deployment.bootstrap, deployment.output_topic)
    verdict = judge(expected, scores, read_topic(deployment.bootstrap, deployment.dlq_topic))
    verdict.wrong_windows = wrong_windows(expected, deployment.redis_url, deployment.group_id, deployment.input_topic)
    return expected, verdict


class Scorer:
    """One ``tenfold score``."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._log = log
        self.metrics_port = int(environment["TENFOLD_METRICS_PORT"])
        # the environment goes by way of env(1): a child process inherits the tests' own
        assignments = [f"{name}={value}" for name, value in environment.items() if name.startswith("TENFOLD_")]
        self.process = ChildProcess(["env", *assignments, sys.executable, "-m", "stream", "score"], log)

    @property
    def log_text(self) -> str:
        """What it has logged."""
        return self._log.read_text()

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body of an HTTP path; status 0 where nothing answers."""
        return http_get(self.metrics_port, path)

    def metric(self, sample: str) -> float:
        """Return the value of a sample as ``/metrics`` names it, 0 where it is not there yet."""
        for line in self.get("/metrics")[1].splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return 0.0

    def wait_until_ready(self) -> "Scorer":
        """Return once ``/readyz`` says so."""
        self.process.wait_until(lambda: self.get("/readyz")[0] == 200, _READY_S)
        return self

    def stop(self) -> int:
        """Ask it to stop, as an orchestrator does; return its exit code."""
        return self.process.end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.end(signal.SIGKILL)
