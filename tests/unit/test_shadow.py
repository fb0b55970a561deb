"""A challenger beside the champion, in a pipeline over a store in memory: what it says, and what it cannot spoil."""

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from models.context import Floats32
from models.window import Windows
from stream.agreement import RankAgreement, rank_correlation
from stream.champion import Serving
from stream.contract import FRAUD_SCORE
from stream.microbatch import fetch, prepare, rescore, score
from stream.profiles import ProfileTables
from stream.publisher import NotPublishedError
from stream.shadow import Shadow
from tests.unit.test_microbatch import START, LengthModel, MemoryStore, batch, timer
from tests.unit.test_pipeline import Bench
from tests.unit.test_profiles_microbatch import DAY, KEYS, CountModel, TablesStore
from tests.unit.test_profiles_microbatch import batch as profiled_batch

_SOON_S = 30.0


class Challenger(LengthModel):
    """Says one less the window's length over ten, once it has done what it was made with."""

    spec = LengthModel.spec.model_copy(update={"model_version": "v2", "threshold": 0.75})

    def __init__(self, first: Callable[[], object] = lambda: None) -> None:
        self.first = first

    def score(self, windows: Windows, context: Floats32 | None = None) -> npt.NDArray[np.floating]:
        self.first()
        return 1 - super().score(windows, context)


class ShadowBench(Bench):
    """A Bench with a challenger, whom it gives as long as the slowest machine needs unless told otherwise."""

    def __init__(self, challenger: Challenger, least_s: float = _SOON_S, beside: bool = True) -> None:
        super().__init__(beside=beside)
        self.now = 0.0
        self.shadow = Shadow(challenger, self.metrics, lambda: self.now, least_s)
        self.serving = Serving(self.serving.model, None, self.shadow)

    def through(self, *amounts: float) -> None:
        """Submit a batch, and see it through."""
        self.submit(*amounts)
        assert len(self.pipeline.settle().through) == 1

    def lengths(self) -> list[int]:
        """Return what the champion has published: every batch, whatever the challenger does."""
        scores = [json.loads(value) for value in self.publisher.published]
        assert {score["model_version"] for score in scores} == {"v1"}
        return [score["window_length"] for score in scores]

    def counted(self, name: str) -> dict[str, float]:
        """Return a counter by its label, without the zeros."""
        [family] = getattr(self.metrics, name).collect()
        return {
            "".join(sample.labels.values()): sample.value
            for sample in family.samples
            if sample.name.endswith("_total") and sample.value
        }


@pytest.fixture(params=[True, False], ids=["beside", "here"])
def beside(request: pytest.FixtureRequest) -> Iterator[bool]:
    return request.param


def test_its_scores_are_of_the_same_windows_and_go_where_no_reader_of_scores_looks(beside: bool) -> None:
    bench = ShadowBench(Challenger(), beside=beside)
    bench.through(1, 2)
    bench.through(3)
    live = [FRAUD_SCORE.validate_json(value) for value in bench.publisher.published]
    shadow = [FRAUD_SCORE.validate_json(value) for value in bench.publisher.shadowed]
    assert [(each["model_version"], each["fraud_probability"], each["sequence_anomaly"]) for each in live] == [
        ("v1", 0.1, False),
        ("v1", 0.2, False),
        ("v1", 0.3, False),
    ]
    assert [(each["model_version"], each["fraud_probability"], each["sequence_anomaly"]) for each in shadow] == [
        ("v2", 0.9, True),
        ("v2", 0.8, True),
        ("v2", 0.7, False),
    ]
    for ours, theirs in zip(live, shadow, strict=True):
        assert (ours["transaction_id"], ours["window_length"]) == (theirs["transaction_id"], theirs["window_length"])
    assert bench.counted("shadow_dropped") == {}


def test_agreement_is_counted_of_what_was_published() -> None:
    bench = ShadowBench(Challenger())
    bench.through(
        1, 2, 3, 4
    )  # the champion says .1 .2 .3 .4 and flags above .35; the challenger .9 .8 .7 .6, above .75
    assert bench.counted("shadow_scores") == {"": 4}
    assert bench.counted("shadow_flags") == {"gained": 2, "lost": 1}
    assert bench.counted("shadow_difference")[""] == pytest.approx(0.8 + 0.6 + 0.4 + 0.2)
    assert bench.metrics.shadow_rank_correlation.labels("v2")._value is not None
    assert bench.shadow._agreement.correlation() == pytest.approx(-1)
    bench.publisher.failures.append(NotPublishedError(KafkaError(KafkaError._TIMED_OUT)))
    bench.submit(5)
    assert len(bench.pipeline.settle().failed) == 1
    assert bench.counted("shadow_scores") == {"": 4}


def test_one_that_raises_spoils_nothing_and_is_counted(beside: bool, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("non-zero status code returned while running LSTM node")

    bench = ShadowBench(Challenger(fail), beside=beside)
    for amount in range(1, 6):
        bench.through(amount)
    assert bench.lengths() == [1, 2, 3, 4, 5]
    assert bench.publisher.shadowed == []
    assert bench.counted("shadow_dropped") == {"failed": 5}
    assert [record.levelno for record in caplog.records] == [logging.WARNING], "said once, and then only counted"


def test_one_without_a_finite_answer_failed() -> None:
    bench = ShadowBench(Challenger())
    bench.serving = Serving(bench.serving.model, None, Shadow(Infinite(), bench.metrics, least_s=_SOON_S))
    bench.through(1)
    assert bench.lengths() == [1]
    assert bench.counted("shadow_dropped") == {"failed": 1}


class Infinite(Challenger):
    def score(self, windows: Windows, context: Floats32 | None = None) -> npt.NDArray[np.floating]:  # noqa: ARG002
        return np.full(len(windows), np.inf)


def test_one_that_hangs_costs_one_wait_and_then_nothing(beside: bool) -> None:
    awake = threading.Event()
    bench = ShadowBench(Challenger(lambda: awake.wait(_SOON_S)), least_s=0.001, beside=beside)
    for amount in range(1, 10):
        bench.through(amount)
    assert bench.lengths() == list(range(1, 10))
    assert bench.publisher.shadowed == []
    dropped = bench.counted("shadow_dropped")
    assert sum(dropped.values()) == 9
    # the first one it hangs in, one that waited behind it; a third may have come before the first was known to be late
    assert dropped["late"] <= 3, "each of the others is dropped without a wait"
    awake.set()


def test_one_that_was_late_rests_three_times_as_long_as_it_took() -> None:
    def take_its_time() -> None:
        bench.now += 100

    def through_and_back(amount: float) -> None:
        before = bench.shadow._rests_until
        bench.through(amount)  # late, so it may go without waiting for it
        deadline = time.monotonic() + _SOON_S
        while bench.shadow._rests_until == before:
            assert time.monotonic() < deadline, "it did not begin"
            time.sleep(0.001)

    bench = ShadowBench(Challenger(take_its_time))
    through_and_back(1)
    bench.now += 299
    bench.through(2)
    assert bench.counted("shadow_dropped")["busy"] == 1
    bench.now += 2
    through_and_back(3)
    assert bench.counted("shadow_dropped")["busy"] == 1


def test_it_misses_no_batch_after_a_pause_and_every_other_one_without() -> None:
    def take_its_time() -> None:
        bench.now += 10

    bench = ShadowBench(Challenger(take_its_time))
    for amount in range(1, 5):
        bench.through(amount)
        bench.now += 10
    assert len(bench.publisher.shadowed) == 4
    for amount in range(5, 9):
        before = len(bench.publisher.shadowed)
        bench.through(amount)
        bench.now += 10 * (len(bench.publisher.shadowed) == before)  # that of the champion alone, for it rests
    assert [json.loads(value)["window_length"] for value in bench.publisher.shadowed] == [1, 2, 3, 4, 5, 7]
    assert bench.counted("shadow_dropped") == {"busy": 2}


def test_a_topic_that_refuses_its_scores_ends_it_and_not_the_champion(beside: bool) -> None:
    bench = ShadowBench(Challenger(), beside=beside)
    refused = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    bench.publisher.failures.append(NotPublishedError(refused, shadow=True))
    bench.submit(1)
    assert len(bench.pipeline.settle().failed) == 1
    bench.mark = START  # the loop takes it up again
    bench.through(1)
    bench.through(2)
    assert bench.lengths() == [1, 2]
    assert bench.publisher.shadowed == []
    assert bench.counted("shadow_dropped") == {"refused": 2}


def test_what_fails_for_another_reason_does_not_end_it() -> None:
    bench = ShadowBench(Challenger())
    bench.publisher.failures.append(NotPublishedError(KafkaError(KafkaError._TIMED_OUT), dead_letter=True))
    bench.submit(1)
    bench.pipeline.settle()
    bench.mark = START
    bench.through(1)
    assert len(bench.publisher.shadowed) == 1


def test_a_batch_under_way_while_the_challenger_leaves_gets_through() -> None:
    bench = ShadowBench(Challenger())
    challenge = bench.shadow.challenge()
    prepared = prepare(batch([(0, "ann", 1)], {0: START}), timer)
    store = MemoryStore(START)
    fetched = fetch(prepared, store, before=None, timer=timer)
    scored = score(prepared, fetched, LengthModel(), before=None, timer=timer)
    bench.shadow.close()
    challenge.begin(prepared, fetched, scored, 0)
    assert challenge.outcome(scored) is None


def test_windows_and_profiles_are_those_of_the_events_that_the_champion_scored() -> None:
    """The second event has no score: what the challenger is given is neither shifted nor mixed up by that."""
    store = TablesStore()
    store.publish(DAY, ann=3, bob=5, cid=7)
    prepared = prepare(profiled_batch(("ann", 1, DAY), ("bob", 13, DAY), ("cid", 1, DAY)), timer)
    fetched = fetch(prepared, store, before=None, timer=timer, tables=ProfileTables(KEYS))
    scored = score(prepared, fetched, CountModel(), before=None, timer=timer)
    again = rescore(prepared, fetched, scored, CountModel())
    assert scored.rows.tolist() == [0, 2]
    assert np.round(again * 100).tolist() == np.round(scored.probabilities * 100).tolist() == [3, 7]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=50))
def test_rank_correlation_is_spearmans(pairs: list[tuple[int, int]]) -> None:
    one, other = np.array(pairs, np.float64).T
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert math.isnan(rank_correlation(one, other))
    else:
        assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)


def test_agreement_looks_back_on_the_last_scores_only() -> None:
    agreement = RankAgreement()
    assert math.isnan(agreement.correlation())
    rising = np.arange(RankAgreement.SIZE, dtype=np.float64)
    agreement.add(rising, -rising)
    assert agreement.correlation() == pytest.approx(-1)
    for part in np.split(rising, 8):
        agreement.add(part, part)
    assert agreement.correlation() == pytest.approx(1)
