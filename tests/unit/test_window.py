"""advance() against a list per user."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from models import window
from models.window import RECORD, UnknownWindowFormatError, Windows, advance, pack, unpack
from tests.reference import Entry, ReferenceWindow

MAX_AGE_MS = 50

Arrival = tuple[int, Entry]  # the user's row and the event

entries = st.builds(
    Entry,
    created_at_ms=st.integers(0, 120),  # narrow: equal times, late events and aged records are the rule
    transaction=st.integers(1, 40),  # narrow: duplicates within a window and beyond it
    amount=st.floats(0, 1e12),
    merchant=st.integers(0, 2**32 - 1),
    flags=st.integers(0, 1),
)
in_order = st.builds(
    lambda steps: [
        (user, Entry(sum(gap for _, gap in steps[: i + 1]), i + 1, 1.0, 0, 0)) for i, (user, gap) in enumerate(steps)
    ],
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9)), max_size=60),
)
arrivals = st.lists(st.tuples(st.integers(0, 3), entries), max_size=80) | in_order


def rows(events: list[Entry]) -> np.ndarray:
    return np.array([(e.created_at_ms, e.transaction, e.amount, e.merchant, e.flags) for e in events], RECORD)


def as_entries(windows: Windows) -> list[list[Entry]]:
    return [
        [Entry(*record) for record in records[:length].tolist()]
        for records, length in zip(windows.records, windows.lengths, strict=True)
    ]


def run(stream: list[Arrival], cuts: list[int], length: int) -> tuple[list[list[Entry]], list[list[Entry]]]:
    """Advance a stream cut into micro-batches; return what was scored and what is kept at the end."""
    state, scored = Windows.empty(4, length), []
    bounds = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for begin, end in pairwise(bounds):
        batch = stream[begin:end]
        users = np.array([user for user, _ in batch], np.int64)
        before = as_entries(state)
        advanced = advance(state, users, rows([entry for _, entry in batch]), MAX_AGE_MS)
        assert as_entries(state) == before, "advance must not change what it was given"
        scored += as_entries(advanced.scored)
        state = advanced.state
    return scored, as_entries(state)


@pytest.fixture(params=[0, window._MANY], ids=["all-users-at-once", "user-by-user"])
def many(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Late and repeated events, in both ways that there are."""
    monkeypatch.setattr(window, "_MANY", request.param)


@pytest.mark.usefixtures("many")
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stream=arrivals, cuts=st.lists(st.integers(0, 80), max_size=4), length=st.sampled_from([1, 2, 3, 10]))
@example(stream=[(0, Entry(t, t + 1, 1.0, 0, 0)) for t in range(25)], cuts=[], length=10)
@example(stream=[(0, Entry(9 - t, t + 1, 1.0, 0, 0)) for t in range(10)], cuts=[5], length=3)
@example(stream=[(0, Entry(5, t % 3 + 1, 1.0, 0, 0)) for t in range(12)], cuts=[4], length=2)
def test_a_batch_gives_what_a_list_per_user_gives(stream: list[Arrival], cuts: list[int], length: int) -> None:
    reference = [ReferenceWindow(length, MAX_AGE_MS) for _ in range(4)]
    expected = [reference[user].add(entry) for user, entry in stream]

    scored, kept = run(stream, cuts, length)

    assert scored == expected
    assert kept == [window.entries for window in reference]


def test_an_event_older_than_a_full_window_is_scored_alone_and_does_not_enter() -> None:
    stream = [(0, Entry(100 + t, t + 1, 1.0, 0, 0)) for t in range(10)]
    scored, kept = run([*stream, (0, Entry(99, 77, 1.0, 0, 0))], [], 10)
    assert [e.transaction for e in scored[-1]] == [77]
    assert [e.transaction for e in kept[0]] == list(range(1, 11))


def test_a_repeated_transaction_is_scored_with_its_first_values_and_not_counted_again() -> None:
    first, changed = Entry(10, 7, 5.0, 1, 0), Entry(12, 7, 999.0, 2, 1)
    scored, kept = run([(0, first), (0, Entry(11, 8, 6.0, 1, 0)), (0, changed)], [], 10)
    assert scored[2] == [first]
    assert len(kept[0]) == 2


def test_a_hot_user_with_every_event_late_is_still_exact() -> None:
    stream = [(0, Entry(1000 - t, t + 1, 1.0, 0, 0)) for t in range(300)]
    scored, kept = run(stream, [], 10)
    reference = ReferenceWindow(10, MAX_AGE_MS)
    assert scored == [reference.add(entry) for _, entry in stream]
    assert kept[0] == reference.entries


@given(stream=arrivals)
def test_a_packed_window_comes_back_and_fits_450_bytes(stream: list[Arrival]) -> None:
    state = advance(
        Windows.empty(4), np.array([u for u, _ in stream], np.int64), rows([e for _, e in stream]), MAX_AGE_MS
    ).state
    packed = pack(state)
    assert all(len(value) <= 450 for value in packed)
    assert as_entries(unpack(packed)) == as_entries(state)


def test_a_missing_window_is_empty() -> None:
    assert unpack([None, None]).lengths.tolist() == [0, 0]
    assert len(unpack([])) == 0


@pytest.mark.parametrize("value", [b"", b"\x02" + b"\0" * 29, b"\x01" + b"\0" * 28, b"\x01" + b"\0" * 29 * 11])
def test_a_window_of_another_format_is_refused(value: bytes) -> None:
    with pytest.raises(UnknownWindowFormatError, match="reads version 01"):
        unpack([None, value])
