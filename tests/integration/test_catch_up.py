"""Taking a partition up, on a real Kafka and a real Redis: what is there when the mark is handed over, and after."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import redis
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from prometheus_client import CollectorRegistry

from models.bundle import LoadedBundle
from models.window import Windows
from stream import catch_up
from stream.catch_up import Commit, NotTakenUpError, Recoverer
from stream.metrics import Metrics
from stream.settings import Settings
from stream.topics import topic_id
from stream.window_store import Mark, Save, UnknownMarkError, WindowStore, open_store
from tests.conftest import GivenKafka, OwnKafka
from tests.topics import Topics
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker

OLD = Mark("the-topic-before", "old", 7)
USERS = [b"user-%d" % n for n in range(2500)]

PATIENCE_S = 60


class TooLateError(Exception):
    """An offset was not committed in time."""


@pytest.fixture
def recoverer(
    kafka: OwnKafka | GivenKafka, topics: Topics, redis_url: str, group_id: str, bundle: LoadedBundle
) -> Recoverer:
    """Of a group whose windows are of a topic that is gone."""
    settings = Settings(
        bootstrap_servers=kafka.bootstrap,
        input_topic=topics.create("transactions"),
        group_id=group_id,
        redis_url=redis_url,
    )
    store = open_store(settings)
    windows = Windows.empty(len(USERS))
    windows.lengths[:] = 1
    assert store.save([Save(0, None, OLD, USERS, windows)]) == [True]
    return Recoverer(settings, store, bundle.spec, Metrics(CollectorRegistry()))


def quietly(partition: int, offset: int) -> None:
    pass


def take_up(recoverer: Recoverer, commit: Commit = quietly, *, rebuild: bool = False) -> Mark:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return recoverer.take_up(0, commit, cancelled=lambda: False, rebuild=rebuild)
        except NotTakenUpError:  # a broker that has just started has no coordinator yet
            if time.monotonic() > deadline:
                raise


def keys_of(store: WindowStore) -> Sequence[str]:
    """Return what the partition has in Redis, windows as one entry each epoch."""
    found = [
        key.decode().split(":")[4:]
        for key in store.client.scan_iter(f"tenfold:{{{store.group_id}:{store.topic}:0}}:*", count=1000)
    ]
    return sorted({parts[0] for parts in found})


def windows_of(store: WindowStore, epoch: str) -> int:
    pattern = f"tenfold:{{{store.group_id}:{store.topic}:0}}:{epoch}:*"
    return sum(1 for _ in store.client.scan_iter(pattern, count=1000))


def test_the_mark_is_handed_over_before_redis_is_searched_for_the_old_windows(recoverer: Recoverer) -> None:
    mark = take_up(recoverer)
    assert mark.epoch != OLD.epoch
    assert windows_of(recoverer.store, OLD.epoch) == len(USERS)
    recoverer.clean_up(0, mark, cancelled=lambda: False)
    assert keys_of(recoverer.store) == ["mark"]


def test_old_windows_that_one_owner_does_not_come_to_drop_the_next_one_does(recoverer: Recoverer) -> None:
    mark = take_up(recoverer)
    asked = iter([False, False])
    recoverer.clean_up(0, mark, cancelled=lambda: next(asked, True))
    assert windows_of(recoverer.store, OLD.epoch) > 0, "it ends when it is told to"
    recoverer.clean_up(0, take_up(recoverer), cancelled=lambda: False)
    assert keys_of(recoverer.store) == ["mark"]


def test_windows_are_not_dropped_once_another_epoch_is_in_force(recoverer: Recoverer) -> None:
    """As when Redis fails over and has lost its last writes: what was over is in force again."""
    mark = take_up(recoverer)
    recoverer.store.client.set(f"tenfold:{{{recoverer.store.group_id}:{recoverer.store.topic}:0}}:mark", OLD.to_bytes())
    recoverer.clean_up(0, mark, cancelled=lambda: False)
    assert windows_of(recoverer.store, OLD.epoch) == len(USERS)


def test_old_windows_that_cannot_be_dropped_are_told_and_stay_noted(
    recoverer: Recoverer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mark = take_up(recoverer)

    def refuse(*_: object) -> int:
        raise redis.ConnectionError("Redis is gone")

    with monkeypatch.context() as broken, caplog.at_level(logging.WARNING):
        broken.setattr(WindowStore, "drop_epoch", refuse)
        recoverer.clean_up(0, mark, cancelled=lambda: False)
    assert "windows of an old epoch are left until the partition is taken up again" in caplog.messages
    recoverer.clean_up(0, mark, cancelled=lambda: False)
    assert keys_of(recoverer.store) == ["mark"]


def test_what_was_lost_is_counted_once_and_not_by_each_attempt(recoverer: Recoverer) -> None:
    registry = CollectorRegistry()
    recoverer = replace(recoverer, metrics=Metrics(registry))
    settings, store = recoverer.settings, recoverer.store
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    produce(settings.bootstrap_servers, settings.input_topic, traffic(20, users=3, seed=1))
    admin.delete_records([TopicPartition(settings.input_topic, 0, 15)])[
        TopicPartition(settings.input_topic, 0)
    ].result()
    mark = OLD._replace(topic_id=topic_id(admin, settings.input_topic, 10))
    assert store.save([Save(0, OLD, mark, [], Windows.empty(0))]) == [True]

    def too_late(*_: int) -> None:
        raise TooLateError

    def counted() -> tuple[float | None, float | None]:
        value = registry.get_sample_value
        return value("tenfold_events_lost_total"), value("tenfold_recoveries_total", {"cause": "events-lost"})

    for _ in range(2):
        with pytest.raises(TooLateError):
            take_up(recoverer, too_late)
        assert counted() == (0, None)
    assert take_up(recoverer).offset == 15
    assert counted() == (15 - OLD.offset, 1)


def test_kafka_is_asked_once_for_its_cluster_and_its_topic(
    recoverer: Recoverer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Admin(AdminClient):
        def list_topics(self, *args: Any, **options: Any) -> Any:
            asked.append(args)
            return super().list_topics(*args, **options)

    take_up(recoverer)
    asked: list[object] = []
    monkeypatch.setattr(catch_up, "AdminClient", Admin)
    take_up(recoverer)
    assert len(asked) == 1


def test_windows_under_a_mark_of_another_release_are_rebuilt(recoverer: Recoverer) -> None:
    recoverer.store.client.set(f"tenfold:{{{recoverer.store.group_id}:{recoverer.store.topic}:0}}:mark", b"another's")
    with pytest.raises(UnknownMarkError):
        take_up(recoverer)
    mark = take_up(recoverer, rebuild=True)
    assert mark == recoverer.store.mark(0)
    assert mark.epoch != OLD.epoch
