"""What goes on beside the loop: old windows are dropped, and partitions that are taken up have offsets committed."""

import threading
from collections.abc import Callable
from typing import cast

import pytest
from confluent_kafka import Consumer, TopicPartition

from stream import assignment as assignment_module
from stream.assignment import Assignment
from stream.catch_up import Commit, Recoverer
from stream.outage import Outage
from stream.window_store import Mark

MARK = Mark("topic-id", "new", 5)
PATIENCE_S = 20


class SlowToDrop:
    """A recoverer whose clean-up goes on until it is not wanted any more; it keeps how many went on at once."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.at_once = self.most_at_once = 0

    def take_up(self, *_: object, **__: object) -> Mark:
        return MARK

    def clean_up(self, partition: int, mark: Mark, cancelled: Callable[[], bool]) -> None:  # noqa: ARG002
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.begun.release()
        while not cancelled():
            threading.Event().wait(0.001)
        self.at_once -= 1


class QuietConsumer:
    def __init__(self) -> None:
        self.committed: list[int] = []

    def commit(self, offsets: list[TopicPartition], *, asynchronous: bool) -> None:  # noqa: ARG002
        self.committed += [position.offset for position in offsets]

    def assign(self, positions: list[TopicPartition]) -> None: ...

    def resume(self, positions: list[TopicPartition]) -> None: ...


def test_partitions_are_scored_while_old_windows_are_dropped_one_partition_after_the_other() -> None:
    recoverer, consumer, stop = SlowToDrop(), cast("Consumer", QuietConsumer()), threading.Event()
    outage = Outage(300, lambda: 0.0)
    assignment = Assignment("transactions", consumer, cast("Recoverer", recoverer), outage, stop)
    assignment.assign(consumer, [TopicPartition("transactions", partition) for partition in range(3)])
    while assignment.recovering:
        assignment.go_on()
    assert assignment.ready == dict.fromkeys(range(3), MARK)
    assert recoverer.begun.acquire(timeout=PATIENCE_S)
    assert recoverer.most_at_once == 1

    assignment.let_go()  # revoked: what is left is for the next owner
    assert all(recoverer.begun.acquire(timeout=PATIENCE_S) for _ in range(2))
    stop.set()
    assignment.close()
    assert recoverer.most_at_once == 1


class Committing:
    """A recoverer that has one offset after another committed."""

    def __init__(self) -> None:
        self.failed = threading.Semaphore(0)
        self.offset = 0

    def take_up(self, partition: int, commit: Commit, *_: object, **__: object) -> Mark:
        self.offset += 1
        try:
            commit(partition, self.offset)
        except Exception:
            self.failed.release()
            raise
        return MARK

    def clean_up(self, *_: object) -> None: ...


def test_an_offset_that_nobody_waits_for_any_longer_is_not_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next attempt would find it, and not know that it is its own: what was lost before it would not be counted."""
    recoverer, quiet, stop = Committing(), QuietConsumer(), threading.Event()
    consumer = cast("Consumer", quiet)
    assignment = Assignment("t", consumer, cast("Recoverer", recoverer), Outage(300, lambda: 0.0), stop)
    with monkeypatch.context() as impatient:
        impatient.setattr(assignment_module, "_COMMIT_S", 0.001)
        assignment.assign(consumer, [TopicPartition("t", 0)])
        assert recoverer.failed.acquire(timeout=PATIENCE_S)  # while the loop does something else
    while assignment.recovering:
        assignment.go_on()
    assert quiet.committed == [2]
    stop.set()
    assignment.close()
