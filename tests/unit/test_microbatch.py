"""A micro-batch over a store in memory: marks, the batch before, and events that the model cannot score."""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pytest

from models.context import Floats32
from models.features import PRESETS
from models.spec import BundleSpec
from models.window import Windows
from stream import microbatch
from stream.answers import Answers, answer
from stream.decode import Reason
from stream.microbatch import MarkMovedError, MicroBatch, Model, ModelFailedError, Scored, fetch, prepare
from stream.window_store import Beside, Load, Loaded, Mark, Save

START = Mark("topic-id", "epoch", 0)


class MemoryStore:
    """Marks and windows by partition; what WindowStore promises, without Redis."""

    def __init__(self, *marks: Mark) -> None:
        self.marks: dict[int, Mark | None] = dict(enumerate(marks))
        self.windows: dict[tuple[int, str, bytes], Windows] = {}

    def load(self, requests: Sequence[Load], beside: Beside | None = None) -> list[Loaded]:  # noqa: ARG002
        return [
            Loaded(
                self.marks[request.partition],
                _stack([self.windows.get((request.partition, request.epoch, user)) for user in request.users]),
            )
            for request in requests
        ]

    def save(self, saves: Sequence[Save]) -> None:
        for save in saves:
            assert self.marks[save.partition] == save.expected
            self.marks[save.partition] = save.mark
            for row, user in enumerate(save.users):
                self.windows[save.partition, save.mark.epoch, user] = save.windows.take(slice(row, row + 1))


def _stack(windows: Sequence[Windows | None]) -> Windows:
    some = [Windows.empty(0), *(Windows.empty(1) if window is None else window for window in windows)]
    return Windows(np.concatenate([w.records for w in some]), np.concatenate([w.lengths for w in some]))


class FragileModel:
    """A LengthModel that fails as a whole where there is an amount of 13, as native code may."""

    def __init__(self, broken: bool = False) -> None:
        self.spec, self.broken = LengthModel.spec, broken

    def score(self, windows: Windows, context: Floats32 | None = None) -> npt.NDArray[np.floating]:  # noqa: ARG002
        if self.broken or (windows.records["amount"] == 13).any():
            raise RuntimeError("non-zero status code returned while running LSTM node")
        return LengthModel().score(windows)


class LengthModel:
    """Says the window's length over ten; for an amount of 13 it has no answer, nor while one is in the window."""

    spec = BundleSpec(
        model_version="v1",
        preset="default",
        features=PRESETS["default"],
        sequence_length=10,
        window_max_age_ms=10**9,
        zone="UTC",
        context=(),
        threshold=0.35,
        trained_from=None,
        trained_to=None,
        label_rule="none",
        label_delay_days=0,
        seed=0,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        libraries={},
    )

    def score(self, windows: Windows, context: Floats32 | None = None) -> npt.NDArray[np.floating]:  # noqa: ARG002
        unlucky = (windows.records["amount"] == 13).any(axis=1)
        return np.where(unlucky, np.nan, windows.lengths / 10)


Event = tuple[int, str, float]  # partition, user, amount


def batch(events: Sequence[Event], starts: dict[int, Mark], first_offset: int = 0) -> MicroBatch:
    offsets = range(first_offset, first_offset + len(events))
    values = [
        json.dumps(
            {
                "transaction_id": f"t{offset}",
                "user_id": user,
                "amount": amount,
                "created_at": "2026-01-01T10:00:00Z",
            }
        ).encode()
        for offset, (_, user, amount) in zip(offsets, events, strict=True)
    ]
    keys: list[bytes | None] = [user.encode() for _, user, _ in events]
    partitions = [partition for partition, _, _ in events]
    now_ms = 1_767_261_600_000
    return MicroBatch("transactions", partitions, list(offsets), [now_ms] * len(events), keys, [*values], starts, None)


def timer(_: str) -> AbstractContextManager[None]:
    return nullcontext()


def score(events: MicroBatch, store: MemoryStore, before: Scored | None = None, model: Model | None = None) -> Scored:
    prepared = prepare(events, timer)
    fetched = fetch(prepared, store, before=None if before is None else prepare(before.batch, timer), timer=timer)
    return microbatch.score(prepared, fetched, model or LengthModel(), before=before, timer=timer)


def answers(scored: Scored) -> Answers:
    return answer(scored, LengthModel.spec, "2026-01-01T10:00:00Z")


def lengths(scored: Scored) -> list[int]:
    assert [json.loads(output.value or b"")["window_length"] for output in answers(scored).scores] == list(
        scored.lengths
    )
    return scored.lengths.tolist()


def test_users_of_different_partitions_have_windows_of_their_own() -> None:
    store = MemoryStore(START, START)
    scored = score(batch([(0, "ann", 1), (1, "ann", 1), (0, "ann", 1)], {0: START, 1: START}), store)
    assert lengths(scored) == [1, 1, 2]
    assert {partition: mark.offset for partition, mark in scored.batch.ends.items()} == {0: 3, 1: 2}
    store.save(scored.saves)
    again = score(batch([(1, "ann", 1), (0, "ann", 1)], scored.batch.ends, 3), store)
    assert lengths(again) == [2, 3]


def test_windows_of_the_batch_before_are_taken_from_memory_until_they_are_saved() -> None:
    store = MemoryStore(START)
    store.save(score(batch([(0, "bob", 1)], {0: START}), store).saves)
    saved = START._replace(offset=1)
    first = score(batch([(0, "ann", 1), (0, "bob", 1)], {0: saved}, 1), store)
    second = batch([(0, "ann", 1), (0, "eve", 1), (0, "bob", 1)], first.batch.ends, 3)
    assert lengths(score(second, store, before=first)) == [2, 1, 3]
    store.save(first.saves)
    assert lengths(score(second, store, before=first)) == [2, 1, 3]
    assert lengths(score(second, store)) == [2, 1, 3]


@pytest.mark.parametrize("found", [None, START._replace(offset=7), START._replace(epoch="other")])
def test_nothing_is_scored_on_windows_that_are_elsewhere(found: Mark | None) -> None:
    store = MemoryStore(START, START)
    store.marks[1] = found
    with pytest.raises(MarkMovedError) as moved:
        score(batch([(0, "ann", 1), (1, "bob", 1)], {0: START, 1: START}), store)
    assert moved.value.partitions == [1]


def test_the_mark_behind_the_batch_before_is_no_excuse_without_that_batch() -> None:
    store = MemoryStore(START)
    first = score(batch([(0, "ann", 1)], {0: START}), store)
    with pytest.raises(MarkMovedError):
        score(batch([(0, "ann", 1)], first.batch.ends, 1), store)


def test_a_batch_that_does_not_follow_the_one_before_is_not_scored() -> None:
    store = MemoryStore(START)
    first = score(batch([(0, "ann", 1)], {0: START}), store)
    with pytest.raises(MarkMovedError):
        score(batch([(0, "ann", 1)], {0: START}), store, before=first)


@pytest.mark.parametrize("model", [LengthModel(), FragileModel()])
def test_an_event_that_the_model_cannot_score_is_a_dead_letter_and_leaves_the_window_as_it_was(model: Model) -> None:
    store = MemoryStore(START)
    events = [(0, "ann", 1), (0, "ann", 13), (0, "ann", 2), (0, "bob", 13), (0, "ann", 13), (0, "ann", 3)]
    scored = score(batch(events, {0: START}), store, model=model)
    assert lengths(scored) == [1, 2, 3]
    assert answers(scored).reasons == [Reason.NOT_SCORABLE] * 3
    assert sorted(dict(output.headers)["offset"] for output in answers(scored).dead_letters) == [b"1", b"3", b"4"]
    [state] = scored.states.values()
    kept = {user: state.windows.records["amount"][row].tolist() for user, row in state.rows.items()}
    assert kept == {b"ann": [1, 2, 3] + [0] * 7, b"bob": [0] * 10}


def test_a_model_that_fails_on_everything_is_an_error_and_no_dead_letter() -> None:
    with pytest.raises(ModelFailedError, match="v1 fails on every input"):
        score(batch([(0, "ann", 1), (0, "bob", 1)], {0: START}), MemoryStore(START), model=FragileModel(broken=True))


def test_a_batch_of_dead_letters_still_moves_the_mark() -> None:
    store = MemoryStore(START)
    bad = batch([(0, "ann", -1), (0, "ann", -2)], {0: START})
    scored = score(bad, store)
    assert (len(answers(scored).scores), len(answers(scored).dead_letters)) == (0, 2)
    store.save(scored.saves)
    assert store.marks[0] == START._replace(offset=2)


def test_what_is_counted_is_what_is_published() -> None:
    scored = score(batch([(0, "ann", 1)] * 4, {0: START}), MemoryStore(START))
    assert (answers(scored).anomalies, answers(scored).insufficient) == (1, 4)
    assert (scored.window_hits, scored.window_misses) == (0, 1)
    assert [json.loads(output.value or b"")["sequence_anomaly"] for output in answers(scored).scores] == [False] * 3 + [
        True
    ]
