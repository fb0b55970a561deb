"""How partitions are taken up, with a consumer and a recovery that only pretend."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import wait

import pytest
from confluent_kafka import TopicPartition

from stream import assignment
from stream.assignment import Assignment
from stream.catch_up import NotTakenUpError, OffsetNotStableError
from stream.outage import Outage, OutageError
from stream.window_store import Mark

_SOON_S = 30.0
_LIMIT_S = 300.0

MARK = Mark("topic-id", "epoch", 7)


class QuietConsumer:
    def assign(self, positions: list[TopicPartition]) -> None:
        pass

    pause = resume = assign


class Recovery:
    """Raises until it is told not to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.asked = error, 0

    def take_up(self, *_: object, **__: object) -> Mark:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return MARK

    def clean_up(self, *_: object) -> None:
        pass


class Bench:
    def __init__(self, recovery: Recovery) -> None:
        self.now_s, self.stop = 0.0, threading.Event()
        self.recovery, self.consumer = recovery, QuietConsumer()
        outage = Outage(_LIMIT_S, lambda: self.now_s)
        self.assignment = Assignment("transactions", self.consumer, recovery, outage, self.stop)  # type: ignore[arg-type]
        self.assignment.assign(self.consumer, [TopicPartition("transactions", 0)])  # type: ignore[arg-type]

    def attempts(self, number: int) -> None:
        """Let attempts to take the partition up end, while the clock goes on."""
        for _ in range(number):
            self.now_s += 0.75
            taking_up = self.assignment._owned[0].taking_up
            if taking_up is not None:
                wait([taking_up], _SOON_S)
            self.assignment.go_on()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Recovery], Bench]]:
    for name in ("_UNSTABLE_S", "_FIRST_BACKOFF_S", "_LONGEST_BACKOFF_S"):
        monkeypatch.setattr(assignment, name, 0.0)
    benches = []

    def make(recovery: Recovery) -> Bench:
        benches.append(Bench(recovery))
        return benches[-1]

    yield make
    for bench in benches:
        bench.stop.set()
        bench.assignment.close()


def test_an_offset_that_is_soon_stable_is_waited_for_without_a_warning(
    made: Callable[[Recovery], Bench], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench = made(Recovery(OffsetNotStableError("a transaction is open")))
    bench.attempts(20)
    bench.recovery.error = None
    bench.attempts(2)
    assert bench.assignment.ready == {0: MARK}
    levels = [record.levelname for record in caplog.records]
    assert levels == ["INFO"] * 3, "that it waits, that it scores, that it scores all"


def test_an_offset_that_never_is_stable_is_warned_of_once_and_ends_the_process_after_the_limit(
    made: Callable[[Recovery], Bench], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench = made(Recovery(OffsetNotStableError("a transaction is open")))
    with pytest.raises(OutageError, match="a transaction is open"):
        bench.attempts(1_000)
    assert _LIMIT_S < bench.now_s < _LIMIT_S + 60
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]


def test_a_partition_is_tried_again_for_as_long_as_the_others_go_on(made: Callable[[Recovery], Bench]) -> None:
    """A thousand times are an hour and a half at the longest pause."""
    bench = made(Recovery(NotTakenUpError("Kafka does not send what is in the log")))
    for _ in range(1_100):
        bench.assignment._outage.over()
        bench.attempts(1)
    assert bench.recovery.asked > 1_000
