"""What the loop takes for an outage, and what for its end; Kafka, Redis and the pipeline only pretend."""

import threading
from collections.abc import Iterator
from concurrent.futures import wait
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from prometheus_client import CollectorRegistry

from stream import assignment, in_touch
from stream.assignment import Assignment
from stream.clients import Contact
from stream.health import Health
from stream.in_touch import InTouch
from stream.lost_client import Watch
from stream.metrics import Metrics
from stream.outage import Outage, OutageError
from stream.pipeline import FencedError, Settled
from stream.pseudonyms import CLEAR
from stream.service import Service
from stream.settings import Settings
from tests.unit.test_assignment import MARK, QuietConsumer, Recovery

_SOON_S = 30.0
_LIMIT_S = 300.0


class QuietKafka(QuietConsumer):
    """A consumer of a topic on which nothing happens, but for ``records`` and what ``consume`` is to raise."""

    def __init__(self) -> None:
        self.records: list[object] = []
        self.error: KafkaException | None = None

    def list_topics(self, *_: object) -> Any:
        topics = (Settings().input_topic, Settings().output_topic, Settings().dlq_topic)
        return SimpleNamespace(
            brokers={1: None}, topics={name: SimpleNamespace(partitions={0: None}, error=None) for name in topics}
        )

    def poll(self, _: float) -> object:
        return self.records.pop() if self.records else None

    def consume(self, *_: object) -> list[object]:
        assert self.error is not None
        raise self.error

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        return partitions

    def offsets_for_times(self, partitions: list[TopicPartition], _: float) -> list[TopicPartition]:
        return partitions

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        return 0, MARK.offset


class Redis:
    answers = True

    def ping(self) -> None:
        if not self.answers:
            raise redis.ConnectionError("connection refused")


class QuietPipeline:
    grounded = False

    def open(self) -> None:
        pass

    def settle(self, _: int = 0) -> Settled:
        return Settled([], [], None)


class Bench:
    def __init__(self) -> None:
        self.now_s, self.stop = 0.0, threading.Event()
        self.recovery, self.kafka, self.redis = Recovery(), QuietKafka(), Redis()
        outage = Outage(_LIMIT_S, lambda: self.now_s)
        self.assignment = Assignment("transactions", self.kafka, self.recovery, outage, self.stop)  # type: ignore[arg-type]
        self.health = Health()
        pipeline, metrics = QuietPipeline(), Metrics(CollectorRegistry())
        touch = InTouch(
            ("transactions",),
            self.kafka,  # type: ignore[arg-type]
            Contact(),
            self.assignment,
            pipeline.open,
            self.redis.ping,
            metrics,
            outage,
            Watch([self.kafka], lambda: True),  # type: ignore[list-item]
        )
        self.service = Service(
            Settings(),
            self.kafka,  # type: ignore[arg-type]
            self.assignment,
            pipeline,  # type: ignore[arg-type]
            CLEAR,
            touch,
            metrics,
            self.health,
            outage,
            self.stop,
        )
        self.assignment.assign(self.kafka, [TopicPartition("transactions", 0)])  # type: ignore[arg-type]

    def turns(self, number: int = 3) -> None:
        """Let the loop come round, each time when the partition's attempt to be taken up has ended."""
        for _ in range(number):
            taking_up = self.assignment._owned[0].taking_up
            if taking_up is not None:
                wait([taking_up], _SOON_S)
            self.service._turn()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(in_touch, "_PROBE_S", 0.0)
    monkeypatch.setattr(assignment, "_LONGEST_BACKOFF_S", 0.0)
    made = Bench()
    made.turns()
    assert made.health.why_not_ready is None
    yield made
    made.stop.set()
    made.assignment.close()


def test_blips_on_a_quiet_topic_are_not_one_outage(bench: Bench) -> None:
    for _ in range(20):
        bench.redis.answers = False
        bench.turns(1)
        assert bench.health.why_not_ready == "Redis does not answer"
        bench.redis.answers = True
        bench.turns()
        assert bench.health.why_not_ready is None
        bench.now_s += 50


def test_a_partition_that_cannot_be_taken_up_is_an_outage_whoever_answers(bench: Bench) -> None:
    bench.redis.answers = False
    bench.turns(1)
    bench.redis.answers, bench.recovery.error = True, redis.ReadOnlyError("read-only")
    with pytest.raises(OutageError, match="read-only"):  # noqa: PT012
        for _ in range(20):
            bench.now_s += 50
            bench.turns(1)


def test_an_error_while_more_is_fetched_loses_no_record(bench: Bench) -> None:
    """The record that was fetched before it is read again: its partition is taken up again."""
    bench.kafka.records, bench.kafka.error = [object()], KafkaException(KafkaError(KafkaError._STATE))
    taken_up = bench.recovery.asked
    bench.turns(1)
    assert bench.assignment.ready == {}
    bench.turns()
    assert bench.assignment.ready == {0: MARK}
    assert bench.recovery.asked == taken_up + 1


def test_a_process_of_the_same_name_that_is_found_while_more_is_fetched_is_named(bench: Bench) -> None:
    bench.kafka.records, bench.kafka.error = [object()], KafkaException(KafkaError(KafkaError.FENCED_INSTANCE_ID))
    with pytest.raises(FencedError, match="TENFOLD_INSTANCE_ID"):
        bench.turns(1)
