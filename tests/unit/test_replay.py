"""Replay of the archive against the scorer's micro-batches: the same windows, bit for bit."""

import json
from collections import Counter
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pytest

pa = pytest.importorskip("pyarrow", reason="needs the archive extra")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from models.hashing import transaction_hash  # noqa: E402
from models.window import WINDOW_MAX_AGE_MS, Windows  # noqa: E402
from stream.contract import timestamp  # noqa: E402
from stream.decode import decode  # noqa: E402
from stream.microbatch import MicroBatch  # noqa: E402
from stream.window_store import Mark  # noqa: E402
from tests import archives  # noqa: E402
from tests.unit.test_microbatch import LengthModel, MemoryStore, score  # noqa: E402
from training.archive import IMPORT, SCHEMAS, TIME, Archive, Kind, open_archive  # noqa: E402
from training.replay import Replayed, id_hashes, replay_partition  # noqa: E402

NOON_MS = archives.start_ms(archives.DAY) + 12 * 3_600_000
HOUR_MS = 3_600_000
COLUMNS = ("offset", "transaction_id", "user_id", "merchant_id")


class SeeingModel(LengthModel):
    """Remembers the windows that it was asked about."""

    spec = LengthModel.spec.model_copy(update={"window_max_age_ms": 5 * HOUR_MS})

    def __init__(self) -> None:
        self.seen: list[Windows] = []

    def score(self, windows: Windows, context: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.floating]:  # noqa: ARG002
        self.seen.append(windows)
        return np.zeros(len(windows))


events = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.sampled_from(["ann", "bob", "zoë"]),  # few: windows fill and overflow
            "transaction_id": st.integers(0, 60).map("t{}".format),  # repeated within a window and beyond it
            "amount": st.sampled_from([0, 1, 12.5, 1e12, -1]),  # -1 is a dead letter
            "created_at": st.integers(-20, 1).map(lambda hours: timestamp(NOON_MS + hours * HOUR_MS)),
        },
        optional={
            "is_vpn": st.booleans(),
            "merchant_id": st.sampled_from([None, "m-1", "m-2"]),
        },
    ),
    min_size=1,
    max_size=120,
)


@settings(max_examples=100, deadline=None)
@given(events=events, cuts=st.lists(st.integers(0, 120), max_size=4), chunk=st.sampled_from([1, 7, 1000]))
def test_replay_gives_the_windows_of_micro_batches_bit_for_bit(
    events: list[dict[str, object]], cuts: list[int], chunk: int
) -> None:
    values = [json.dumps(event).encode() for event in events]
    keys = [str(event["user_id"]).encode() for event in events]

    model, store, offsets = SeeingModel(), MemoryStore(Mark("T1", "epoch", 0)), []
    for begin, end in pairwise([0, *sorted(cut % len(events) for cut in cuts), len(events)]):
        if begin == end:
            continue
        places = list(range(begin, end))
        batch = MicroBatch(
            "transactions",
            [0] * len(places),
            places,
            [NOON_MS] * len(places),
            [*keys[begin:end]],
            [*values[begin:end]],
            {0: store.marks[0] or Mark("", "", 0)},
            None,
        )
        scored = score(batch, store, model=model)
        store.save(scored.saves)
        offsets += [begin + row for row in scored.rows.tolist()]

    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.replay.CHUNK", chunk)
        archive = open_archive(directory)
        if offsets:
            archives.put(archive, as_archived(keys, values))
        replayed = replay(archive, max_age_ms=5 * HOUR_MS)

    assert [offset for each in replayed for offset in each.rows["offset"].to_pylist()] == offsets
    assert stacked([each.scored for each in replayed]) == stacked(model.seen)


def as_archived(keys: list[bytes], values: list[bytes]) -> pa.Table:
    """Return what an archiver keeps of records: what the scorer's decoder makes of them, without dead letters."""
    decoded = decode([*keys], [*values], [NOON_MS] * len(keys))
    n = len(decoded.rows)
    columns = {
        "topic_id": pa.array(["T1"] * n),
        "partition": pa.array([0] * n, pa.int32()),
        "offset": pa.array(decoded.rows),
        "kafka_timestamp": pa.array([NOON_MS] * n).cast(TIME),
        "key": pa.array([user.decode() for user in decoded.users]),
        "created_at": pa.array(decoded.records["created_at_ms"].copy()).cast(TIME),
        "amount": pa.array(decoded.records["amount"].copy()),
        "is_vpn": pa.array([each.is_vpn for each in decoded.transactions]),
        **{
            name: pa.array([getattr(each, name) for each in decoded.transactions], pa.string())
            for name in ("transaction_id", "user_id", "merchant_id")
        },
    }
    schema = SCHEMAS[Kind.TRANSACTIONS]
    return pa.table([columns[name] for name in schema.names], schema)


def replay(archive: Archive, partition: int = 0, max_age_ms: int = WINDOW_MAX_AGE_MS, **days: date) -> list[Replayed]:
    return list(
        replay_partition(
            archive, "transactions", partition, sequence_length=10, max_age_ms=max_age_ms, columns=COLUMNS, **days
        )
    )


def stacked(windows: list[Windows]) -> tuple[bytes, list[int]]:
    return (
        b"".join(each.records.tobytes() for each in windows),
        [length for each in windows for length in each.lengths.tolist()],
    )


def test_imported_history_warms_the_windows_of_live_events(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    archives.put(archive, archives.transactions(range(3), users=1))
    archives.put(archive, archives.transactions(range(4), archives.DAY - timedelta(days=5), topic_id=IMPORT, users=1))
    imported, live = replay(archive)
    assert imported.rows["offset"].to_pylist() == [0, 1, 2, 3]
    assert live.rows["offset"].to_pylist() == [0, 1, 2]
    assert live.scored.lengths.tolist() == [5, 6, 7]


def test_windows_begin_empty_where_reading_begins_and_a_partition_is_alone(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    for partition in (0, 1):
        for day in range(3):
            offsets = range(4 * day, 4 * day + 4)
            rows = archives.transactions(offsets, archives.DAY + timedelta(days=day), partition, users=1)
            archives.put(archive, rows)
    [replayed] = replay(archive, 1, since=archives.DAY + timedelta(days=1), until=archives.DAY + timedelta(days=2))
    assert replayed.rows["transaction_id"].to_pylist() == [f"T1-1-{offset}" for offset in (4, 5, 6, 7)]
    assert replayed.scored.lengths.tolist() == [1, 2, 3, 4]
    assert replay(archive, 2) == []


def test_users_that_appear_later_have_windows_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.replay.CHUNK", 50)
    archive = open_archive(str(tmp_path))
    rows = archives.transactions(range(600), users=1)
    users = pa.array([f"user-{number}" for number in np.random.default_rng(1).integers(0, 1 + np.arange(600) // 3)])
    rows = rows.set_column(rows.schema.get_field_index("user_id"), rows.schema.field("user_id"), users)
    archives.put(archive, rows)
    seen: Counter[str] = Counter()
    for each in replay(archive):
        for user, length in zip(each.rows["user_id"].to_pylist(), each.scored.lengths.tolist(), strict=True):
            seen[user] += 1
            assert length == min(seen[user], 10)
    assert len(seen) > 100


def test_hashes_of_columns_are_those_of_the_decoder() -> None:
    ids = ["a", "zoë", "x" * 128, "七"]
    sliced = pa.chunked_array([["-", *ids[:2]], ids[2:]]).slice(1)
    assert id_hashes(sliced).tolist() == [transaction_hash(name) for name in ids]
    assert id_hashes(pa.chunked_array([], pa.string())).tolist() == []
