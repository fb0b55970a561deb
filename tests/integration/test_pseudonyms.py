"""Pseudonyms on a real Redis and a real Kafka: nobody is in clear, scores are what they were, and keys change."""

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import redis

from models.bundle import LoadedBundle
from models.window import Windows
from stream.profile_layout import ProfileKeys
from stream.pseudonyms import CLEAR, Pseudonyms, PseudonymsError
from stream.redis_client import Client, open_redis, round_trip
from stream.redis_cluster import Command
from stream.redis_url import split_redis_url
from stream.window_store import Load, Mark, Save, WindowStore
from tests.integration.test_erase_user import DEFINITION, ERASED, TABLE_DAYS, USERS, Place
from tests.oracle import judge, read_topic, replay, wrong_windows
from tests.scorers import Deployment
from tests.traffic import produce, traffic
from training.profiles_publish import GRACE_S, OLDER_S, publish
from training.profiles_table import read_table

pytestmark = pytest.mark.broker

KEYS = ("0a" * 32, "1b" * 32)  # oldest first
OLD, NEW = Pseudonyms((bytes.fromhex(KEYS[0]),)), Pseudonyms(tuple(map(bytes.fromhex, KEYS)))
MANY = [b"user-%d" % number for number in range(2_500)]
NOW = datetime(2026, 2, 2, tzinfo=UTC)


@pytest.fixture(params=["redis_url", "redis_nodes"])
def clear(request: pytest.FixtureRequest, group_id: str) -> WindowStore:
    """Windows of many users in clear, on one server and on a cluster."""
    place = request.getfixturevalue(request.param)
    url = place if isinstance(place, str) else place.url
    store = WindowStore(open_redis(split_redis_url(url), {}), group_id, "transactions", 10, ttl_s=1000)
    windows = Windows.empty(len(MANY))
    windows.lengths[:] = 1
    windows.records["amount"][:, 0] = np.arange(len(MANY))
    assert store.save([Save(3, None, Mark("topic-id", "0d", 7), MANY, windows)]) == [True]
    return store


def holds_all(store: WindowStore, mark: Mark | None) -> bool:
    """Return whether each user's window is there under the name that the store gives the user."""
    assert mark is not None
    [loaded] = store.load([Load(3, mark.epoch, store.pseudonyms.of(MANY))])
    amounts = loaded.windows.records["amount"][:, 0].tolist()
    return loaded.mark == mark and amounts == list(range(len(MANY)))


def keys_of(client: Client, group_id: str) -> list[bytes]:
    return [key for key in client.scan_iter("tenfold:*", count=1000) if group_id.encode() in key]


def test_windows_are_brought_under_the_newest_key_and_nothing_of_the_older_stays(clear: WindowStore) -> None:
    before = clear.mark(3)
    for named in (OLD, NEW):  # from clear ids, then from one generation to the next
        store = replace(clear, pseudonyms=named)
        assert before is not None
        window = next(key for key in keys_of(clear.client, clear.group_id) if key.count(b":") > 4)
        clear.client.expire(window, 500)
        after = store.carry(3, before)
        assert after is not None
        assert after == store.mark(3) == before._replace(epoch=after.epoch)
        assert after.epoch.endswith(f".{named.tag}")
        assert holds_all(store, after)
        assert store.drop_carried(3, after) == len(MANY), "what a process killed in between leaves to the next"
        assert store.drop_carried(3, after) == 0
        keys = keys_of(clear.client, clear.group_id)
        assert len(keys) == len(MANY) + 1
        assert not [key for key in keys if re.search(rb"user-\d", key)]
        assert min(int(clear.client.ttl(key)) for key in keys if not key.endswith(b":mark")) <= 500, (
            "no window lives on"
        )
        before = after
    [marks_key] = [key for key in keys_of(clear.client, clear.group_id) if key.endswith(b":mark")]
    assert NEW.tag.encode() in (clear.client.get(marks_key) or b"")


def test_windows_that_move_meanwhile_are_left_where_they_are(clear: WindowStore) -> None:
    there = clear.mark(3)
    assert there is not None
    store = replace(clear, pseudonyms=NEW)
    assert store.carry(3, there._replace(offset=there.offset - 1)) is None
    assert store.drop_carried(3, there) == 0, "they are in force"
    assert clear.mark(3) == there
    assert holds_all(clear, there)
    after = store.carry(3, there)
    assert after is not None
    assert holds_all(store, after)
    assert store.drop_carried(3, after) == len(MANY)
    again = replace(clear, pseudonyms=Pseudonyms((*NEW.keys, b"\x03" * 32)))
    last = again.carry(3, after)
    assert last is not None
    assert again.drop_carried(3, last) == 2 * len(MANY), "what the attempt in vain had copied goes with the next key"
    assert len(keys_of(clear.client, clear.group_id)) == len(MANY) + 1


def saved(store: WindowStore, mark: Mark, amount: float) -> Mark:
    """Score an event of the first user: the mark moves on."""
    window = Windows.empty(1)
    window.lengths[:] = 1
    window.records["amount"][0, 0] = amount
    after = mark._replace(offset=mark.offset + 1)
    assert store.save([Save(3, mark, after, store.pseudonyms.of(MANY[:1]), window)]) == [True]
    return after


@pytest.mark.parametrize("calls", range(4))
def test_cut_short_anywhere_all_is_as_it_was_and_the_old_scorer_goes_on(
    clear: WindowStore, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, store, left = clear.mark(3), replace(clear, pseudonyms=NEW), calls
    assert there is not None

    def cut(client: Client, commands: Sequence[Command]) -> list[Any]:
        nonlocal left
        left -= 1
        if left < 0:
            raise redis.ConnectionError("cut")
        return round_trip(client, commands)

    with monkeypatch.context() as patched:
        patched.setattr("stream.window_store.round_trip", cut)
        with pytest.raises(redis.ConnectionError, match="cut"):
            store.carry(3, there)
    assert clear.mark(3) == there
    assert holds_all(clear, there)
    saved(clear, saved(clear, there, 99.0), 0.0)  # the window of the first user changes, and back
    moved = clear.mark(3)
    assert moved is not None
    after = store.carry(3, moved)
    assert after is not None
    assert holds_all(store, after)
    store.drop_carried(3, after)
    assert not [key for key in keys_of(clear.client, clear.group_id) if re.search(rb"user-\d", key)]


def test_one_that_has_lost_the_partition_spoils_nothing_that_its_new_owner_has_saved(
    clear: WindowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, stale, owner = clear.mark(3), replace(clear, pseudonyms=NEW), replace(clear, pseudonyms=NEW)
    assert there is not None
    now: list[Mark] = []

    def meanwhile(client: Client, commands: Sequence[Command]) -> list[Any]:
        monkeypatch.undo()
        taken = owner.carry(3, there)
        assert taken is not None
        now.append(saved(owner, taken, 99.0))
        return round_trip(client, commands)

    monkeypatch.setattr("stream.window_store.round_trip", meanwhile)
    assert stale.carry(3, there) is None
    [mark] = now
    [loaded] = owner.load([Load(3, mark.epoch, NEW.of(MANY))])
    assert loaded.mark == mark
    assert loaded.windows.records["amount"][:, 0].tolist() == [99.0, *range(1, len(MANY))]


def test_an_older_list_of_keys_is_refused_and_changes_nothing(clear: WindowStore) -> None:
    there = clear.mark(3)
    assert there is not None
    after = replace(clear, pseudonyms=NEW).carry(3, there)
    assert after is not None
    for named in (CLEAR, OLD, Pseudonyms((b"\x01" * 32, b"\x02" * 32))):
        with pytest.raises(PseudonymsError):
            replace(clear, pseudonyms=named).carry(3, after)
    assert holds_all(replace(clear, pseudonyms=NEW), after)


def right(deployment: Deployment, bundle: LoadedBundle, named: Pseudonyms) -> int:
    """Ask the oracle, look for ids where none may be, and return how many scores there are.

    Raises:
        AssertionError: something is not right.
    """
    expected = replay(read_topic(deployment.bootstrap, deployment.input_topic), bundle)
    scores, dead = (read_topic(deployment.bootstrap, each) for each in (deployment.output_topic, deployment.dlq_topic))
    verdict = judge(expected, scores, dead)
    windows = {(at, named.of([user])[0]): entries for (at, user), entries in expected.windows.items()}
    at = deployment.redis_url, deployment.group_id, deployment.input_topic
    verdict.wrong_windows = wrong_windows(replace(expected, windows=windows), *at)
    assert verdict.right, verdict
    with redis.Redis.from_url(deployment.redis_url) as client:
        keys = keys_of(client, deployment.group_id)
    of_windows = [key for key in keys if key.count(b":") > 4]
    assert len(of_windows) >= len(windows)
    assert all(f".{named.tag}:".encode() in key for key in of_windows), "nothing of older keys stays"
    assert not [key for key in keys if re.search(rb"user-\d", key)]
    assert not any(re.search(r"user-\d|[01][abAB]{8}", scorer.log_text) for scorer in deployment.scorers)
    return len(expected.scores)


def test_scores_stay_right_while_pseudonyms_come_and_keys_change(deployment: Deployment, bundle: LoadedBundle) -> None:
    """In clear; under a first key; a second one, scorers of both running; an old one by mistake; rebuilt; lost."""

    def send(seed: int) -> None:
        produce(deployment.bootstrap, deployment.input_topic, traffic(900, users=60, seed=seed))

    def under(*keys: str) -> dict[str, str]:
        return {"TENFOLD_PSEUDONYM_KEYS": ",".join(reversed(keys))}

    send(1)
    in_clear = deployment.scorer()
    deployment.wait_until_scored([in_clear])
    assert in_clear.stop() == 0

    send(2)
    first = deployment.scorer(**under(KEYS[0]))
    deployment.wait_until_scored([first])
    assert "the windows lie under the newest pseudonym key now" in first.log_text
    assert "windows-lost" not in first.log_text, "they were taken over, not built again"

    send(3)
    second = deployment.scorer(**under(*KEYS)).wait_until_ready()
    deployment.wait_until_scored([first, second])
    assert first.stop() == 0
    send(4)
    deployment.wait_until_scored([second])

    late = deployment.scorer(**under(KEYS[0]))
    late.process.wait_until(lambda: not late.process.running, 120)
    assert f"the windows lie under pseudonym keys {NEW.tag}, and TENFOLD_PSEUDONYM_KEYS has {OLD.tag}" in late.log_text
    send(5)
    deployment.wait_until_scored([second])
    assert second.stop() == 0
    scored = right(deployment, bundle, NEW)

    done = subprocess.run(
        [sys.executable, "-m", "stream", "reset", "--rebuild"],
        env=deployment.environment(**under(*KEYS)),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert not re.search(r"user-\d", done.stdout + done.stderr)
    assert right(deployment, bundle, NEW) == scored

    with redis.Redis.from_url(deployment.redis_url) as client:  # lost: built again out of the log
        client.delete(*keys_of(client, deployment.group_id))
    send(6)
    last = deployment.scorer(**under(*KEYS))
    deployment.wait_until_scored([last])
    assert last.stop() == 0
    assert right(deployment, bundle, NEW) > scored > 4_000


@pytest.fixture
def place(redis_url: str, group_id: str, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(redis_url, group_id, tmp_path_factory.mktemp("place"))


def test_tables_under_older_keys_end_a_day_after_the_first_under_newer_ones(place: Place) -> None:
    clear, new = (ProfileKeys(place.input, DEFINITION, named) for named in (CLEAR, NEW))
    table = read_table(place.tables, DEFINITION, TABLE_DAYS[-1])
    older = [clear.index, *clear.tables(table.version)]
    assert {place.client.ttl(key) for key in older} == {-1}

    publish(place.client, new, table, NOW)
    assert all(GRACE_S < int(place.client.ttl(key)) <= OLDER_S for key in older)
    assert {place.client.ttl(key) for key in [new.index, *new.tables(table.version)]} == {-1}
    fields = {field for key in new.tables(table.version) for field in place.client.hkeys(key)}
    assert set(NEW.of([user.encode() for user in USERS])) <= fields
    assert not {user.encode() for user in USERS} & fields

    for key in older:
        place.client.expire(key, 77)
    publish(place.client, new, table, NOW)
    assert all(int(place.client.ttl(key)) <= 77 for key in older), "not again with every publication"


def test_erasing_a_user_finds_every_name_that_the_user_has_had(place: Place) -> None:
    publish(
        place.client,
        ProfileKeys(place.input, DEFINITION, OLD),
        read_table(place.tables, DEFINITION, TABLE_DAYS[0]),
        NOW,
    )
    window = Windows.empty(len(USERS))
    window.lengths[:] = 1
    for partition, named in ((20, OLD), (21, NEW)):
        store = WindowStore(place.client, place.group_id, place.input, 10, 1000, named)
        names = named.of([user.encode() for user in USERS])
        assert store.save([Save(partition, None, Mark("id", store.new_epoch(), 5), names, window)]) == [True]
    place.environment["TENFOLD_PSEUDONYM_KEYS"] = ",".join(reversed(KEYS))
    before = place.in_redis()
    told = place.run(ERASED)

    assert told.returncode == 0, told.stderr
    assert "Redis: 3 profiles and 6 windows removed" in told.stdout, "of clear ids, too: a rotation was interrupted"
    assert "a second look found nothing" in told.stdout
    after = place.in_redis()
    names = NEW.every(ERASED.encode())
    assert len(before) - len(after) == 6
    assert not [key for key in after if key.endswith(tuple(b"}:0d:" + name for name in names))]
    held = {field for value in after.values() if isinstance(value, dict) for field in value}
    assert not held & set(names)
    others = [user.encode() for user in USERS if user != ERASED]
    assert set(OLD.of(others)) <= held, "all others are still there"
    assert not any(name.decode() in told.stdout + told.stderr for name in names)
