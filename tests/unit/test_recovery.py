"""The table of recovery, row by row, and what must hold in every row."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.recovery import Cause, Found, Plan, plan
from stream.window_store import Mark


def found(mark: int | None, committed: int | None, log: tuple[int, int] = (0, 100), topic_id: str = "a") -> Found:
    return Found("a", None if mark is None else Mark(topic_id, "e", mark), committed, *log)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (found(None, None), Plan(Cause.FRESH_GROUP, 0, 0, new_epoch=True, commit=0)),
        (found(None, None, log=(40, 100)), Plan(Cause.FRESH_GROUP, 40, 40, new_epoch=True, commit=40)),
        (found(70, 70), Plan(Cause.NONE, 70, 70)),
        (found(50, 70), Plan(Cause.WINDOWS_BEHIND, 70, 50)),
        (found(50, 70, log=(60, 100)), Plan(Cause.WINDOWS_BEHIND, 70, 60, new_epoch=True)),
        (found(None, 70), Plan(Cause.WINDOWS_LOST, 70, 0, new_epoch=True)),
        (found(None, 70, log=(60, 100)), Plan(Cause.WINDOWS_LOST, 70, 60, new_epoch=True)),
        (found(70, None), Plan(Cause.NEVER_COMMITTED, 70, 70, commit=70)),
        (found(70, None, log=(80, 100)), Plan(Cause.EVENTS_LOST, 80, 80, new_epoch=True, commit=80, events_lost=10)),
        (found(70, 50), Plan(Cause.MOVED_BACK, 50, 0, new_epoch=True)),
        (found(50, 50, log=(60, 100)), Plan(Cause.EVENTS_LOST, 60, 60, new_epoch=True, commit=60, events_lost=10)),
        (found(70, 70, topic_id="b"), Plan(Cause.NEW_TOPIC, 0, 0, new_epoch=True, commit=0)),
        (found(None, 101), Plan(Cause.NEW_TOPIC, 0, 0, new_epoch=True, commit=0)),
        (found(101, 50, topic_id="b"), Plan(Cause.NEW_TOPIC, 0, 0, new_epoch=True, commit=0)),
        (found(101, 101), Plan(Cause.LOG_TRUNCATED, 0, 0, new_epoch=True, commit=0)),
        (found(90, 101), Plan(Cause.LOG_TRUNCATED, 0, 0, new_epoch=True, commit=0)),
        (found(101, 50), Plan(Cause.LOG_TRUNCATED, 0, 0, new_epoch=True, commit=0)),
        (found(101, None, log=(40, 100)), Plan(Cause.LOG_TRUNCATED, 40, 40, new_epoch=True, commit=40)),
        (found(100, 100), Plan(Cause.NONE, 100, 100)),
    ],
)
def test_a_row_of_the_table(state: Found, expected: Plan) -> None:
    assert plan(state, "earliest") == expected


def test_windows_of_another_release_are_rebuilt() -> None:
    unreadable = Found("a", Mark("a", "e", 70), 70, 0, 100, readable=False)
    assert plan(unreadable, "earliest") == Plan(Cause.WINDOWS_LOST, 70, 0, new_epoch=True)


def test_a_group_that_starts_at_the_end_begins_with_warm_windows() -> None:
    assert plan(found(None, None), "latest") == Plan(Cause.FRESH_GROUP, 100, 0, new_epoch=True, commit=100)


def test_a_log_that_has_lost_its_end_is_begun_where_the_setting_says() -> None:
    assert plan(found(101, 101), "latest") == Plan(Cause.LOG_TRUNCATED, 100, 0, new_epoch=True, commit=100)


def test_windows_of_a_rebuild_that_did_not_end_are_good_for_nothing() -> None:
    assert plan(found(-1, 70), "earliest") == plan(found(None, 70), "earliest")
    assert plan(found(-7, None), "latest") == plan(found(None, None), "latest")


def test_a_partition_that_was_added_is_read_from_its_beginning() -> None:
    new = Found("a", None, None, 40, 100, added=True)
    assert plan(new, "latest") == Plan(Cause.PARTITION_ADDED, 40, 40, new_epoch=True, commit=40)


offsets = st.integers(0, 12)


@given(
    mark=offsets | st.none(),
    committed=offsets | st.none(),
    log=st.tuples(offsets, offsets).map(lambda ends: (min(ends), max(ends))),
    same_topic=st.booleans(),
    start_from=st.sampled_from(["earliest", "latest"]),
)
def test_windows_never_lead_and_nothing_is_scored_twice(
    mark: int | None,
    committed: int | None,
    log: tuple[int, int],
    same_topic: bool,
    start_from: Literal["earliest", "latest"],
) -> None:
    state = found(mark, committed, log, "a" if same_topic else "b")
    decision = plan(state, start_from)
    assert log[0] <= decision.windows_from <= decision.start <= log[1]
    if not decision.new_epoch:
        assert decision.windows_from == mark, "an epoch that goes on does so exactly where its mark is"
    if committed is not None and decision.cause not in {Cause.NEW_TOPIC, Cause.LOG_TRUNCATED, Cause.EVENTS_LOST}:
        assert decision.start == committed
    if decision.commit is None:
        assert decision.start == committed, "what is not committed again is committed already"
