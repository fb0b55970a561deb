"""Sums over the last hour or day, by a clock that is handed in."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.recent import Recent

SPAN, BUCKETS = 60.0, 6


@given(st.floats(0, 1000), st.lists(st.floats(0, 50) | st.floats(0, 200), max_size=40))
def test_all_of_the_span_is_in_the_sum_and_at_most_a_bucket_more(begin: float, pauses: list[float]) -> None:
    recent, now, added = Recent(1, SPAN, BUCKETS, begin), begin, []
    for number, pause in enumerate(pauses):
        now += pause
        recent.add(np.array([2.0**number]), now)
        added.append(now)
        there = int(recent.total(now)[0])
        for place, at in enumerate(added):
            if now - at < SPAN:
                assert there >> place & 1, "too early"
            if now - at >= SPAN + SPAN / BUCKETS:
                assert not there >> place & 1, "too late"


def test_it_is_whole_when_its_span_has_passed() -> None:
    recent = Recent(1, SPAN, BUCKETS, 7.0)
    assert not recent.is_whole(7.0 + SPAN - 0.1)
    assert recent.is_whole(7.0 + SPAN)
