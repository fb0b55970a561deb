"""How long a publisher is patient, and what it makes of an answer by partition, with clients that only pretend."""

import threading
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream import publisher
from stream.publisher import AtLeastOncePublisher, NotPublishedError, ProducerLostError, TransactionalPublisher
from stream.settings import Settings

#: Two rounds of 20 s, one behind the other, would be more; a last call or two are not.
_ONE_PATIENCE_S = 30


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


class SlowProducer:
    """Answers a call when it has been asked for ``needs_s``, by the clock: a broker that is barely there."""

    def __init__(self, clock: Clock, needs_s: dict[str, float], commit_fails: bool = False) -> None:
        self.clock, self.needs_s, self.commit_fails = clock, dict(needs_s), commit_fails

    def _call(self, name: str, limit_s: float) -> None:
        self.needs_s[name] = self.needs_s.get(name, 0) - limit_s
        if self.needs_s[name] > -limit_s:
            self.clock.now += limit_s
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "slow", False, True, False))

    def init_transactions(self, limit_s: float) -> None:
        self._call("init", limit_s)

    def begin_transaction(self) -> None:
        pass

    def send_offsets_to_transaction(self, *_: object) -> None:
        pass

    def commit_transaction(self, limit_s: float) -> None:
        self._call("commit", limit_s)
        if self.commit_fails:
            raise KafkaException(KafkaError(KafkaError._STATE, "to be aborted", False, False, True))

    def abort_transaction(self, limit_s: float) -> None:
        self._call("abort", limit_s)

    def close(self) -> None:
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(publisher, "time", made)
    return made


def opened(monkeypatch: pytest.MonkeyPatch, *producers: SlowProducer) -> TransactionalPublisher:
    coming = iter(producers)
    monkeypatch.setattr(publisher, "Producer", lambda _: next(coming))
    return TransactionalPublisher(Settings(), "a", lambda: False)


def test_both_producers_begin_within_one_patience(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The consumer is not polled meanwhile, and the group would go on without it."""
    first, second = SlowProducer(clock, {"init": 18}), SlowProducer(clock, {"init": 18})
    with pytest.raises(ProducerLostError):
        opened(monkeypatch, first, second)
    assert clock.now < _ONE_PATIENCE_S


def test_a_publish_and_its_abort_end_within_one_patience(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowProducer(clock, {"commit": 18, "abort": 18}, commit_fails=True)
    publishing = opened(monkeypatch, slow, SlowProducer(clock, {}))
    with pytest.raises(ProducerLostError):
        publishing.publish([], [], {0: 1}, None)
    assert clock.now < _ONE_PATIENCE_S


def test_a_slow_abort_that_ends_in_time_leaves_the_producer(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowProducer(clock, {"commit": 8, "abort": 8}, commit_fails=True)
    publishing = opened(monkeypatch, slow, SlowProducer(clock, {}))
    with pytest.raises(NotPublishedError):
        publishing.publish([], [], {0: 1}, None)


@dataclass
class Answer:
    """What a synchronous commit says of a partition."""

    partition: int
    error: KafkaError | None


@pytest.mark.parametrize("refused", [0, 1])
def test_at_least_once_an_offset_that_is_not_committed_fails_the_batch(refused: int) -> None:
    class Consumer:
        def commit(self, offsets: list[Any], asynchronous: bool) -> list[Answer]:
            assert not asynchronous
            error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
            return [Answer(each.partition, error if each.partition == refused else None) for each in offsets]

    settings = Settings(bootstrap_servers="127.0.0.1:1")  # nothing is sent, so nobody is asked
    publishing = AtLeastOncePublisher(settings, Consumer(), threading.Event().is_set)  # type: ignore[arg-type]
    with pytest.raises(NotPublishedError, match="uthoriz"):
        publishing.publish([], [], {0: 1, 1: 5}, None)
    publishing.publish([], [], {2: 1}, None)
    publishing.close()
