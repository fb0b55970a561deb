"""Old windows are dropped beside the partitions that are scored, and nobody waits for it."""

import threading
from collections.abc import Callable
from typing import cast

from confluent_kafka import Consumer, TopicPartition

from stream.assignment import Assignment
from stream.catch_up import Recoverer
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
