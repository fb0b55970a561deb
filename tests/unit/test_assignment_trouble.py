"""Why partitions wait is kept while they do, and is logged once and not with every attempt."""

import logging
import threading
from typing import cast

import pytest
import redis
from confluent_kafka import Consumer, TopicPartition

from stream.assignment import Assignment
from stream.catch_up import Recoverer
from stream.outage import Outage
from stream.window_store import Mark
from tests.unit.test_taking_up import QuietConsumer

MARK = Mark("topic-id", "epoch", 5)
FULL = redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")


class FullAtFirst:
    """A recoverer whose Redis is full until it was asked for the fifth time."""

    def __init__(self) -> None:
        self.asked = 0

    def take_up(self, *_: object, **__: object) -> Mark:
        self.asked += 1
        if self.asked < 5:
            raise FULL
        return MARK

    def clean_up(self, *_: object) -> None: ...


def test_what_is_in_the_way_is_kept_and_said_once_until_it_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    recoverer, consumer, stop = FullAtFirst(), cast("Consumer", QuietConsumer()), threading.Event()
    outage = Outage(300, lambda: 0.0)
    assignment = Assignment("transactions", consumer, cast("Recoverer", recoverer), outage, stop)
    assignment.assign(consumer, [TopicPartition("transactions", 0)])
    troubles = set[Exception | None]()
    with caplog.at_level(logging.WARNING, "stream.assignment"):
        while assignment.recovering:
            assignment.go_on()
            troubles.add(assignment.trouble)
    stop.set()
    assignment.close()
    assert troubles == {None, FULL}
    assert assignment.trouble is None
    [said] = [record for record in caplog.records if record.message == "taking partitions up again"]
    assert str(FULL) in str(vars(said)["error"])
