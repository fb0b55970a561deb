"""A micro-batch whose model reads profiles, over a store in memory that answers as Redis does."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from models.context import NO_DAY, VALUES, Floats32, ProfileDefinition, day_number
from models.window import Windows
from stream import microbatch
from stream.microbatch import MicroBatch, Scored, fetch, prepare
from stream.profile_layout import (
    PRIOR,
    ProfileIndex,
    ProfileKeys,
    PublishedTable,
    buckets_of,
    pack_profiles,
)
from stream.profiles import ProfileTables
from stream.window_store import Beside, Load, Loaded
from tests.unit.test_microbatch import START, LengthModel, MemoryStore, timer

KEYS = ProfileKeys("transactions", ProfileDefinition("UTC", 7))
DAY = date(2026, 1, 10)
COUNT = VALUES.index("count_30d")


class CountModel:
    """Says how many transactions the user's profile counts, in hundredths; for an amount of 13 it has no answer."""

    spec = LengthModel.spec.model_copy(update={"context": ("log_user_count_30d", "amount_against_user")})

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def score(self, windows: Windows, context: Floats32 | None = None) -> npt.NDArray[np.floating]:
        assert context is not None
        assert context.shape == (len(windows), 2)
        unlucky = (windows.records["amount"] == 13).any(axis=1)
        if self.fails and unlucky.any():
            raise RuntimeError("as native code may")
        return np.where(unlucky, np.nan, np.expm1(context[:, 0]) / 100)


class TablesStore(MemoryStore):
    """Windows, and tables of profiles; ``meanwhile`` is done before each read."""

    def __init__(self) -> None:
        super().__init__(START)
        self.index: bytes | None = None
        self.hashes: dict[bytes, dict[bytes, bytes]] = {}
        self.meanwhile: list[Any] = []
        self.reads = 0

    def publish(self, *days: date, **counts: float) -> None:
        """Put tables of days into the index; a user's count on a later day is larger by one a day."""
        for day in days:
            version = f"{day:%d}"
            values = {PRIOR: 1.0, **{user.encode(): count + (day - DAY).days for user, count in counts.items()}}
            for entity, count in values.items():
                profile = np.zeros((1, len(VALUES)), np.float32)
                profile[0, COUNT] = count
                for key in KEYS.tables(version):
                    self.hashes.setdefault(key, {})[entity] = pack_profiles(profile)[0]
        tables = [PublishedTable(day=day, version=f"{day:%d}", rows=1, published_at=datetime.now(UTC)) for day in days]
        self.index = ProfileIndex(tables=tuple(tables)).model_dump_json().encode()

    def load(self, requests: Sequence[Load], beside: Beside | None = None) -> list[Loaded]:
        self.reads += 1
        if self.meanwhile:
            self.meanwhile.pop(0)()
        if beside is not None:
            beside.take([self.answer(*command) for command in beside.ask()])
        return super().load(requests)

    def answer(self, name: str, key: bytes, *fields: bytes) -> Any:
        if name == "GET":
            assert key == KEYS.index
            return self.index
        return [self.hashes.get(key, {}).get(field) for field in fields]


def batch(*events: tuple[str, float, date]) -> MicroBatch:
    """Return events of users, amounts and days."""
    values: list[bytes | None] = [
        json.dumps(
            {"transaction_id": f"t{number}", "user_id": user, "amount": amount, "created_at": f"{day}T10:00:00Z"}
        ).encode()
        for number, (user, amount, day) in enumerate(events)
    ]
    keys: list[bytes | None] = [user.encode() for user, _, _ in events]
    n = len(events)
    timestamps = [1_800_000_000_000] * n
    return MicroBatch("transactions", [0] * n, list(range(n)), timestamps, keys, values, {0: START}, None)


def score(store: TablesStore, events: MicroBatch, tables: ProfileTables, model: CountModel | None = None) -> Scored:
    prepared = prepare(events, timer)
    fetched = fetch(prepared, store, before=None, timer=timer, tables=tables)
    return microbatch.score(prepared, fetched, model or CountModel(), before=None, timer=timer)


def test_each_event_is_given_its_own_users_profile_of_its_own_day_or_the_latest_before() -> None:
    store = TablesStore()
    store.publish(DAY, DAY + timedelta(days=2), ann=20, bob=40)
    events = batch(
        ("ann", 1, DAY),
        ("bob", 1, DAY + timedelta(days=1)),
        ("ann", 1, DAY + timedelta(days=9)),
        ("eve", 1, DAY),
        ("bob", 1, DAY - timedelta(days=1)),
    )
    scored = score(store, events, ProfileTables(KEYS))
    assert np.round(scored.probabilities * 100).tolist() == [20, 40, 22, 1, 0]
    first = day_number(DAY)
    assert scored.profile_days.tolist() == [first, first, first + 2, first, NO_DAY]
    assert (scored.profiles_missing, scored.profiles_stale) == (1, 2)


def test_events_that_the_model_cannot_score_do_not_shift_the_context_of_the_others() -> None:
    for fails in (False, True):
        store = TablesStore()
        store.publish(DAY, ann=20, bob=40, eve=60)
        events = batch(("ann", 1, DAY), ("bob", 13, DAY), ("eve", 1, DAY), ("bob", 2, DAY))
        scored = score(store, events, ProfileTables(KEYS), CountModel(fails))
        assert scored.rows.tolist() == [0, 2, 3]
        assert np.round(scored.probabilities * 100).tolist() == [20, 60, 40]
        assert scored.profile_days.tolist() == [day_number(DAY)] * 3


def test_a_table_that_is_published_while_a_batch_asks_is_the_one_it_gets() -> None:
    store, tables = TablesStore(), ProfileTables(KEYS)
    store.publish(DAY, ann=20)
    later = DAY + timedelta(days=1)
    score(store, batch(("ann", 1, later)), tables)
    store.reads, store.meanwhile = 0, [lambda: store.publish(DAY, later, ann=20)]
    scored = score(store, batch(("ann", 1, later)), tables)
    assert scored.profile_days.tolist() == [day_number(later)]
    assert np.round(scored.probabilities * 100).tolist() == [21]
    assert store.reads == 2
    score(store, batch(("ann", 1, later)), tables)
    assert store.reads == 3, "one round trip, once the index is known"


def test_a_bucket_that_is_gone_or_damaged_is_missing_for_those_in_it_only() -> None:
    store = TablesStore()
    store.publish(DAY, ann=20, bob=40)
    ann, bob = buckets_of([b"ann", b"bob"]).tolist()
    assert ann != bob
    store.hashes[KEYS.table(f"{DAY:%d}", "user", ann)][b"ann"] = b"short"
    scored = score(store, batch(("ann", 1, DAY), ("bob", 1, DAY)), ProfileTables(KEYS))
    assert scored.profile_days.tolist() == [NO_DAY, day_number(DAY)]
    assert scored.profiles_missing == 1


def test_a_batch_of_dead_letters_asks_for_nothing() -> None:
    store = TablesStore()
    store.publish(DAY, ann=20)
    scored = score(store, batch(("ann", -1, DAY)), ProfileTables(KEYS))
    assert (len(scored.rows), len(scored.dead), scored.profiles_missing) == (0, 1, 0)
