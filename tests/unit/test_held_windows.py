"""Windows that are rebuilt in memory are those that a rebuild in Redis would have made, whatever fits into memory."""

import numpy as np
import pytest

from models.window import RECORD, Windows, advance
from stream.held_windows import HeldWindows, WindowsMovedError
from stream.recovery import UNFINISHED
from stream.window_store import Load, Mark, WindowStore
from tests.unit.test_pipeline import SavingStore

_AGE_MS = 10_000
BEGUN = Mark("topic-id", "epoch", UNFINISHED)


class Store(SavingStore):
    sequence_length = 10


def held_windows(store: Store, most: int) -> HeldWindows:
    held: WindowStore = store  # type: ignore[assignment]
    return HeldWindows(held, 0, BEGUN, _AGE_MS, most)


@pytest.mark.parametrize("most", [1, 60, 10_000])
def test_windows_are_those_of_one_long_run(most: int) -> None:
    rng = np.random.default_rng(3)
    events = np.zeros(3_000, RECORD)
    events["created_at_ms"] = np.arange(3_000) * 10 + rng.integers(0, 300, 3_000)  # some are late
    events["transaction"] = rng.integers(1, 2_900, 3_000)  # and some come twice
    events["amount"] = rng.random(3_000)
    users = [b"user-%d" % number for number in rng.integers(0, 200, 3_000)]
    names = sorted(set(users))
    numbers = np.array([names.index(user) for user in users])
    expected = advance(Windows.empty(len(names)), numbers, events, _AGE_MS).state

    store = Store(BEGUN)
    held = held_windows(store, most)
    for begin in range(0, 3_000, 170):
        chunk = slice(begin, begin + 170)
        held.advance(users[chunk], events[chunk])
        mark = store.marks[0]
        assert mark is not None
        assert mark.offset <= UNFINISHED, "windows that are not whole are said to be"
    assert held.finish(3_000) == store.marks[0] == Mark("topic-id", "epoch", 3_000)
    [loaded] = store.load([Load(0, "epoch", names)])
    np.testing.assert_array_equal(loaded.windows.records, expected.records)
    np.testing.assert_array_equal(loaded.windows.lengths, expected.lengths)


def test_a_run_without_events_is_whole_too() -> None:
    store = Store(BEGUN)
    held = held_windows(store, 10)
    held.advance([], np.zeros(0, RECORD))
    assert held.finish(7) == Mark("topic-id", "epoch", 7)


def test_somebody_else_at_the_same_windows_is_noticed() -> None:
    store = Store(BEGUN)
    held = held_windows(store, 10)
    held.advance([b"ann"], np.zeros(1, RECORD))
    store.marks[0] = Mark("topic-id", "another epoch", 5)
    with pytest.raises(WindowsMovedError):
        held.finish(1)
    assert store.marks[0] == Mark("topic-id", "another epoch", 5)
