"""Windows on a real Redis: mark and windows move together or not at all."""

import re

import pytest
import redis

from models.window import RECORD, UnknownWindowFormatError, Windows
from stream.redis_client import open_redis
from stream.redis_url import split_redis_url
from stream.window_store import Load, Mark, Save, UnknownMarkError, WindowStore
from tests.brokers import RedisServer

pytestmark = pytest.mark.broker

START = Mark("topic-id", "epoch", 0)


@pytest.fixture(params=["redis_url", "redis_nodes"])
def store(request: pytest.FixtureRequest, group_id: str) -> WindowStore:
    """On one server, and on a cluster."""
    place = request.getfixturevalue(request.param)
    url = place if isinstance(place, str) else place.url
    return WindowStore(open_redis(split_redis_url(url), {}), group_id, "transactions", 10, ttl_s=1000)


def windows(*amounts: float) -> Windows:
    made = Windows.empty(len(amounts))
    made.lengths[:] = 1
    made.records["amount"][:, 0] = amounts
    return made


def begin(store: WindowStore, partition: int = 0, mark: Mark = START) -> None:
    assert store.save([Save(partition, None, mark, [], windows())]) == [True]


def test_windows_and_mark_come_back_together(store: WindowStore) -> None:
    begin(store)
    behind = START._replace(offset=5)
    assert store.save([Save(0, START, behind, [b"ann", b"b\xc3\xb6b"], windows(1, 2))]) == [True]
    [loaded] = store.load([Load(0, "epoch", [b"b\xc3\xb6b", b"eve", b"ann"])])
    assert loaded.mark == store.mark(0) == behind
    assert loaded.windows.lengths.tolist() == [1, 0, 1]
    assert loaded.windows.records["amount"][:, 0].tolist() == [2, 0, 1]


def test_a_writer_who_starts_from_another_mark_changes_nothing(store: WindowStore) -> None:
    begin(store)
    behind = START._replace(offset=5)
    store.save([Save(0, START, behind, [b"ann"], windows(1))])
    late = Save(0, START, START._replace(offset=9), [b"ann"], windows(99))
    stranger = Save(0, None, Mark("topic-id", "other", 0), [b"ann"], windows(99))
    assert store.save([late, stranger]) == [False, False]
    [loaded] = store.load([Load(0, "epoch", [b"ann"])])
    assert loaded.mark == behind
    assert loaded.windows.records["amount"][0, 0] == 1


def test_saving_again_what_was_saved_is_no_conflict(store: WindowStore) -> None:
    begin(store)
    save = Save(0, START, START._replace(offset=5), [b"ann"], windows(1))
    assert store.save([save]) == store.save([save]) == [True]


def test_one_partitions_conflict_does_not_keep_the_other_from_being_saved(store: WindowStore) -> None:
    begin(store, 0)
    begin(store, 1, START._replace(offset=3))
    saves = [Save(partition, START, START._replace(offset=5), [b"ann"], windows(1)) for partition in (0, 1)]
    assert store.save(saves) == [True, False]
    assert store.mark(1) == START._replace(offset=3)


def test_a_new_epoch_starts_from_nothing_and_the_old_one_can_be_dropped(store: WindowStore) -> None:
    begin(store)
    behind = START._replace(offset=5)
    users = [b"user-%d" % n for n in range(2500)]
    store.save([Save(0, START, behind, users, windows(*range(2500)))])
    new = Mark("topic-id", "new", 0)
    assert store.save([Save(0, behind, new, [], windows())]) == [True]
    assert store.load([Load(0, "new", users[:3])])[0].windows.lengths.tolist() == [0, 0, 0]
    assert store.save([Save(0, new, new._replace(offset=1), [b"ann"], windows(7))]) == [True]
    assert store.drop_epoch(0, "epoch") == 2500
    assert store.load([Load(0, "new", [b"ann"])])[0].windows.lengths.tolist() == [1]


def test_groups_topics_and_partitions_do_not_see_each_other(store: WindowStore) -> None:
    begin(store)
    store.save([Save(0, START, START._replace(offset=5), [b"ann"], windows(1))])
    for other in (
        WindowStore(store.client, store.group_id + "2", "transactions", 10, 1000),
        WindowStore(store.client, store.group_id, "transactions2", 10, 1000),
    ):
        assert other.mark(0) is None
    assert store.mark(1) is None


def test_windows_expire_and_marks_do_not(store: WindowStore) -> None:
    begin(store)
    store.save([Save(0, START, START._replace(offset=5), [b"ann"], windows(1))])
    lives = {key.rpartition(b":")[2]: store.client.ttl(key) for key in store.client.scan_iter(f"*{store.group_id}*")}
    assert lives[b"mark"] == -1
    assert 900 < lives[b"ann"] <= 1000


def test_a_redis_that_restarted_has_no_script_and_is_given_it_again(own_redis: RedisServer, group_id: str) -> None:
    own_redis.start(appendonly=True)
    store = WindowStore(redis.Redis.from_url(own_redis.url), group_id, "transactions", 10, 1000)
    begin(store)
    own_redis.restart()
    assert store.save([Save(0, START, START._replace(offset=5), [b"ann"], windows(1))]) == [True]


def test_a_full_redis_refuses_the_whole_batch(own_redis: RedisServer, group_id: str) -> None:
    own_redis.start()
    store = WindowStore(redis.Redis.from_url(own_redis.url), group_id, "transactions", 10, 1000)
    begin(store)
    store.client.config_set("maxmemory", 1)
    with pytest.raises(redis.OutOfMemoryError) as refused:
        store.save([Save(0, START, START._replace(offset=5), [b"ann", b"bob"], windows(1, 2))])
    assert "ann" not in str(refused.value)  # it is logged, and logs name no users
    store.client.config_set("maxmemory", 0)
    [loaded] = store.load([Load(0, "epoch", [b"ann", b"bob"])])
    assert loaded.mark == START
    assert loaded.windows.lengths.tolist() == [0, 0]


def test_a_window_of_another_release_is_refused_by_name(store: WindowStore) -> None:
    begin(store)
    store.client.set(f"tenfold:{{{store.group_id}:transactions:0}}:epoch:ann", b"\x63" + bytes(RECORD.itemsize))
    with pytest.raises(UnknownWindowFormatError):
        store.load([Load(0, "epoch", [b"ann"])])


def test_a_mark_of_another_release_is_refused_by_name_and_nobody_starts_from_it(store: WindowStore) -> None:
    begin(store)
    key = f"tenfold:{{{store.group_id}:transactions:0}}:mark"
    for other in (b"2 topic-id epoch 5 more", b"\xff", b"topic-id epoch five"):
        store.client.set(key, other)
        with pytest.raises(UnknownMarkError, match=f"partition 0: what stands under {re.escape(key)} is no mark"):
            store.mark(0)
        assert store.load([Load(0, "epoch", [b"ann"])])[0].mark is None
    store.forget(0)
    assert store.mark(0) is None
