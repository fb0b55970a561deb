"""The pipeline over a store in memory: stages beside each other, the order kept, and what one failure takes along."""

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import nullcontext

import pytest
from confluent_kafka import KafkaError
from prometheus_client import CollectorRegistry

from models.window import Windows
from stream.champion import Serving
from stream.encode import TRUNCATED_BYTES, Output
from stream.metrics import Metrics
from stream.microbatch import MarkMovedError, ModelFailedError, prepare
from stream.pipeline import Pipeline, SaveConflictError
from stream.publisher import NotPublishedError, Offsets, ProducerLostError
from stream.window_store import Mark, Save
from tests.unit.test_microbatch import START, FragileModel, LengthModel, MemoryStore, batch

_SOON_S = 30.0


class SavingStore(MemoryStore):
    """A MemoryStore that answers as Redis does."""

    def save(self, saves: Iterable[Save]) -> list[bool]:  # type: ignore[override]
        good = [save for save in saves if self.marks[save.partition] == save.expected]
        super().save(good)
        return [save in good for save in saves]


class ListPublisher:
    """Keeps what is published; waits at a gate, and fails as often as it is told to."""

    def __init__(self) -> None:
        self.published: list[bytes] = []
        self.shadowed: list[bytes] = []
        self.offsets: list[Offsets] = []
        self.gate, self.waiting = threading.Event(), threading.Event()
        self.failures: list[Exception] = []
        self.closed = False
        self.gate.set()

    def publish(
        self,
        scores: Iterable[Output],
        dead_letters: Iterable[Output],
        offsets: Offsets,
        group: object,  # noqa: ARG002
        shadow_scores: Iterable[Output] = (),
    ) -> None:
        self.waiting.set()
        assert self.gate.wait(_SOON_S)
        if self.failures:
            raise self.failures.pop(0)
        self.published += [output.value or b"" for output in (*scores, *dead_letters)]
        self.shadowed += [output.value or b"" for output in shadow_scores]
        self.offsets.append(offsets)

    def close(self) -> None:
        self.closed = True


class Bench:
    """A pipeline with all it needs, and batches of one user, one behind the other."""

    def __init__(self, model: LengthModel | FragileModel | None = None, beside: bool = True) -> None:
        self.store, self.publisher = SavingStore(START), ListPublisher()
        self.metrics = Metrics(CollectorRegistry())
        self.serving = Serving(model or LengthModel())
        self.pipeline = Pipeline(
            lambda: self.publisher,
            self.store,  # type: ignore[arg-type]
            lambda: self.serving,
            self.metrics,
            beside=beside,
        )
        self.pipeline.open()
        self.mark = START

    def submit(self, *amounts: float) -> None:
        self.submit_from("ann", *amounts)

    def submit_from(self, user: str, *amounts: float) -> None:
        events = batch([(0, user, amount) for amount in amounts], {0: self.mark}, self.mark.offset)
        self.mark = events.ends[0]
        self.pipeline.submit(prepare(events, lambda _: nullcontext()))

    def kept(self) -> list[float]:
        windows: Windows = self.store.windows[0, "epoch", b"ann"]
        return windows.records["amount"][0].tolist()  # type: ignore[no-any-return]


@pytest.fixture(params=[True, False], ids=["beside", "here"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(beside=request.param)
    yield made
    made.publisher.gate.set()
    made.pipeline.close()


def test_batches_get_through_in_order_with_the_windows_of_the_one_before(bench: Bench) -> None:
    for amount in range(1, 6):
        bench.submit(amount)
    settled = bench.pipeline.settle()
    assert ([len(each) for each in settled.through], settled.failed, settled.error) == ([1] * 5, [], None)
    assert bench.publisher.offsets == [{0: offset} for offset in range(1, 6)]
    assert [b'"window_length":%d,' % length in value for length, value in enumerate(bench.publisher.published, 1)] == [
        True
    ] * 5
    assert bench.kept()[:5] == [1, 2, 3, 4, 5]


def test_the_next_batch_is_scored_while_one_is_published_and_nothing_overtakes() -> None:
    bench = Bench()
    bench.publisher.gate.clear()
    bench.submit(1)
    assert bench.publisher.waiting.wait(_SOON_S)
    bench.submit(2)
    bench.submit(3)
    [first, second, third] = bench.pipeline._underway
    assert second.scored.result(_SOON_S).lengths.tolist() == [2]
    assert bench.store.marks[0] == START, "saved before it is published"
    assert not third.scored.done(), "scored although the windows of the first batch are not saved yet"
    bench.publisher.gate.set()
    assert len(bench.pipeline.settle().through) == 3
    assert first.finished.done()
    bench.pipeline.close()


def test_room_is_what_may_stay_under_way() -> None:
    bench = Bench()
    bench.publisher.gate.clear()
    bench.submit(1)
    bench.submit(2)
    assert bench.pipeline.settle(room=2) == ([], [], None)
    bench.publisher.gate.set()
    assert len(bench.pipeline.settle(room=1).through) >= 1
    bench.pipeline.settle()
    bench.pipeline.close()


@pytest.mark.parametrize(
    "error", [NotPublishedError(KafkaError(KafkaError._TIMED_OUT)), ProducerLostError(KafkaError(KafkaError._FENCED))]
)
def test_what_is_not_published_takes_along_all_that_is_behind_it(bench: Bench, error: Exception) -> None:
    bench.submit(1)
    bench.pipeline.settle()
    bench.publisher.failures.append(error)
    bench.submit(2)
    bench.submit(3)
    bench.submit(4)
    settled = bench.pipeline.settle(room=2)
    assert ([each.offsets for each in settled.failed], settled.error) == ([[1], [2], [3]], error)
    assert bench.publisher.offsets == [{0: 1}]
    assert bench.kept()[:2] == [1, 0]
    assert bench.pipeline.grounded == isinstance(error, ProducerLostError) == bench.publisher.closed


def test_once_a_dead_letter_was_refused_as_too_large_all_are_cut_whatever_gets_through_meanwhile(bench: Bench) -> None:
    too_large = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    bench.publisher.failures.append(NotPublishedError(too_large, dead_letter=True))
    bench.submit(1)
    bench.pipeline.settle()
    assert bench.pipeline.grounded, "the producer whose record was refused has a gap in its sequence"
    assert bench.publisher.closed
    bench.pipeline.open()
    bench.mark = START
    bench.submit(1)  # what another partition has to publish, before the letter is tried again
    bench.pipeline.settle()
    bench.submit_from("u" * 2 * TRUNCATED_BYTES, 2)
    assert len(bench.pipeline.settle().through) == 1
    assert len(bench.publisher.published[-1]) == TRUNCATED_BYTES


def test_of_a_score_that_was_refused_as_too_large_no_dead_letter_is_cut(bench: Bench) -> None:
    bench.publisher.failures.append(NotPublishedError(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), shadow=True))
    bench.submit(1)
    bench.pipeline.settle()
    bench.mark = START
    bench.submit_from("u" * 2 * TRUNCATED_BYTES, 2)
    assert len(bench.pipeline.settle().through) == 1
    assert len(bench.publisher.published[-1]) > 2 * TRUNCATED_BYTES


def test_a_mark_that_has_moved_is_found_before_and_after_publishing(bench: Bench) -> None:
    bench.submit(1)
    bench.pipeline.settle()
    bench.store.marks[0] = START
    bench.submit(2)
    settled = bench.pipeline.settle()
    assert isinstance(settled.error, MarkMovedError)
    assert bench.publisher.offsets == [{0: 1}]


def test_windows_that_somebody_else_has_moved_meanwhile_are_a_conflict() -> None:
    bench = Bench()
    bench.publisher.gate.clear()
    bench.submit(1)
    assert bench.publisher.waiting.wait(_SOON_S)
    bench.store.marks[0] = Mark("topic-id", "another epoch", 0)
    bench.publisher.gate.set()
    assert isinstance(bench.pipeline.settle().error, SaveConflictError)
    bench.pipeline.close()


def test_a_model_that_fails_on_everything_ends_it() -> None:
    bench = Bench(FragileModel(broken=True))
    bench.submit(1)
    with pytest.raises(ModelFailedError):
        bench.pipeline.settle()
    bench.pipeline.close()


def test_a_batch_has_one_model_from_its_windows_to_its_score() -> None:
    bench = Bench()
    bench.publisher.gate.clear()
    bench.submit(1)
    assert bench.publisher.waiting.wait(_SOON_S)
    bench.submit(2)
    [_, second] = bench.pipeline._underway
    second.scored.result(_SOON_S)
    other = LengthModel()
    other.spec = LengthModel.spec.model_copy(update={"model_version": "v2", "threshold": 0.15})
    bench.serving = Serving(other)
    bench.submit(3)
    bench.publisher.gate.set()
    assert len(bench.pipeline.settle().through) == 3
    scores = [json.loads(value) for value in bench.publisher.published]
    assert [(score["model_version"], score["window_length"], score["sequence_anomaly"]) for score in scores] == [
        ("v1", 1, False),
        ("v1", 2, False),  # scored by v1, encoded after the change: above the other one's threshold
        ("v2", 3, True),
    ]
    bench.pipeline.close()
