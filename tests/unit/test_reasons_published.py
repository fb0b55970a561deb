"""Reasons on their way into the scores: of whom, how many, and what a model that fails costs."""

import json
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from models.bundle import LoadedBundle, load_bundle, starter
from models.context import Floats32
from models.reasons import explain, explainer_of
from models.runtime import RuntimeName
from models.window import VPN, Ints, Windows
from stream.answers import answer
from stream.champion import Champion, Serving
from stream.contract import FRAUD_SCORE, FraudScore, timestamp
from stream.metrics import Metrics
from stream.microbatch import MicroBatch, Scored, fetch, prepare, score
from stream.profiles import ProfileTables
from stream.reasons import Reasons
from tests.bundles import make_bundle
from tests.crafted import burst, honest, vpn_at_night
from tests.unit.test_microbatch import START, MemoryStore
from tests.unit.test_pipeline import Bench
from tests.unit.test_profiles_microbatch import DAY, KEYS, TablesStore
from tests.unit.test_profiles_microbatch import batch as profiled_batch

USERS = 30


def batch_of(windows: Windows, first: int, last: int, prefix: str = "user") -> MicroBatch:
    """Return the payments of windows, a user each, in order of their steps; of these the ones from ``first`` on."""
    users = [f"{prefix}-{row}" for row in range(len(windows))]
    rows = [(step, row) for step in range(10) for row in range(len(windows))][first:last]
    values: list[bytes | None] = []
    for step, row in rows:
        record = windows.records[row, step]
        payment = {
            "transaction_id": f"{prefix}-{row}-{step}",
            "user_id": users[row],
            "amount": float(record["amount"]),
            "created_at": timestamp(int(record["created_at_ms"])),
            "is_vpn": bool(record["flags"] & VPN),
            "merchant_id": f"m-{row}",
        }
        values.append(json.dumps(payment).encode())
    keys: list[bytes | None] = [users[row].encode() for _, row in rows]
    times = [int(windows.records[row, step]["created_at_ms"]) for step, row in rows]
    n = len(rows)
    starts = {0: START._replace(offset=first)}
    return MicroBatch("transactions", [0] * n, list(range(first, last)), times, keys, values, starts, None)


def crafted() -> Windows:
    rng = np.random.default_rng(3)
    parts = [burst(rng, USERS // 3), honest(rng, USERS // 3), vpn_at_night(rng, USERS // 3)]
    return Windows(np.concatenate([part.records for part in parts]), np.concatenate([part.lengths for part in parts]))


def scored_of(bundle: LoadedBundle, store: MemoryStore, events: MicroBatch) -> Scored:
    prepared = prepare(events, lambda _: nullcontext())
    fetched = fetch(prepared, store, before=None, timer=lambda _: nullcontext())
    scored = score(prepared, fetched, bundle, before=None, timer=lambda _: nullcontext())
    store.save(scored.saves)
    return scored


class Engine:
    """The bundle's own, that counts how often it is asked, and can fail."""

    name: RuntimeName = "onnxruntime"
    tolerance = 1e-5

    def __init__(self, bundle: LoadedBundle, *, fails: bool = False) -> None:
        self._engine, self._fails, self.asked = bundle.runtime, fails, 0

    def predict(self, sequence: Floats32, lengths: Ints, context: Floats32 | None = None) -> Floats32:
        self.asked += 1
        if self._fails:
            raise RuntimeError("non-zero status code returned while running LSTM node")
        return self._engine.predict(sequence, lengths, context)


class Explained:
    """What a bundle publishes of the crafted payments."""

    def __init__(self, bundle: LoadedBundle, limit: int = 64, batches: int = 1, engine: Engine | None = None) -> None:
        self.registry = CollectorRegistry()
        asked = bundle if engine is None else replace(bundle, runtime=engine)
        reasons, windows, store = Reasons(asked, limit, Metrics(self.registry)), crafted(), MemoryStore(START)
        self.scores: list[dict[str, Any]] = []
        ends = np.linspace(0, 10 * USERS, batches + 1).astype(int).tolist()
        for first, last in pairwise(ends):
            scored = scored_of(bundle, store, batch_of(windows, first, last))
            values = answer(scored, bundle.spec, "2026-03-01T00:00:00Z", reasons.of(scored)).scores
            self.scores += [json.loads(output.value or b"") for output in values]
            for output in values:
                FRAUD_SCORE.validate_json(output.value or b"", strict=True)

    @property
    def flagged(self) -> list[dict[str, Any]]:
        return [score for score in self.scores if score["sequence_anomaly"]]

    def counted(self, outcome: str) -> float | None:
        return self.registry.get_sample_value("tenfold_flags_explained_total", {"outcome": outcome})


@pytest.fixture(scope="module")
def bundle() -> LoadedBundle:
    return load_bundle(starter("default"))


def test_flags_and_only_flags_say_why(bundle: LoadedBundle) -> None:
    told = Explained(bundle)
    assert 5 < len(told.flagged) <= 64
    for its in told.scores:
        assert ("reasons" in its) == its["sequence_anomaly"]
    assert {tuple(reason) for score in told.flagged for reason in score["reasons"]} == {("name", "sentence", "effect")}
    assert all(1 <= len(score["reasons"]) <= 3 for score in told.flagged)
    assert (told.counted("given"), told.counted("over-limit"), told.counted("failed")) == (len(told.flagged), 0, 0)


def test_a_batch_done_again_with_other_cuts_says_the_same(bundle: LoadedBundle) -> None:
    once, again = Explained(bundle), Explained(bundle, batches=7)
    assert len(once.flagged) == len(again.flagged)
    for one, other in zip(once.flagged, again.flagged, strict=True):
        assert [reason["sentence"] for reason in one["reasons"]] == [reason["sentence"] for reason in other["reasons"]]
        for first, second in zip(one["reasons"], other["reasons"], strict=True):
            assert first["effect"] == pytest.approx(second["effect"], abs=2e-4)


def test_above_the_limit_the_most_probable_have_reasons(bundle: LoadedBundle) -> None:
    told = Explained(bundle, limit=4)
    most = sorted(told.flagged, key=lambda score: -score["fraud_probability"])
    assert ["reasons" in score for score in most] == [True] * 4 + [False] * (len(most) - 4)
    assert (told.counted("given"), told.counted("over-limit")) == (4, len(most) - 4)


def test_a_model_that_fails_when_it_is_asked_for_reasons_costs_no_score(bundle: LoadedBundle) -> None:
    right, failing = Explained(bundle), Explained(bundle, batches=3, engine=Engine(bundle, fails=True))
    assert [score["fraud_probability"] for score in failing.scores] == pytest.approx(
        [score["fraud_probability"] for score in right.scores], abs=1e-5
    )
    assert not any("reasons" in score for score in failing.scores)
    assert (failing.counted("failed"), failing.counted("given")) == (len(right.flagged), 0)


def test_a_batch_without_a_flag_asks_the_model_nothing(bundle: LoadedBundle) -> None:
    engine = Engine(bundle)
    registry = CollectorRegistry()
    reasons = Reasons(replace(bundle, runtime=engine), 64, Metrics(registry))
    scored = scored_of(bundle, MemoryStore(START), batch_of(crafted(), 0, USERS))
    assert (reasons.of(scored), engine.asked) == ({}, 0)
    assert registry.get_sample_value("tenfold_stage_seconds_count", {"stage": "reasons"}) is None


def test_the_pipeline_publishes_them_with_the_scores(bundle: LoadedBundle) -> None:
    bench = Bench()
    bench.serving = Serving(bundle, reasons=Reasons(bundle, 64, bench.metrics))
    bench.pipeline.submit(prepare(batch_of(crafted(), 0, 10 * USERS), lambda _: nullcontext()))
    assert bench.pipeline.settle().error is None
    scores: list[FraudScore] = [FRAUD_SCORE.validate_json(value) for value in bench.publisher.published]
    assert [score["transaction_id"] for score in scores if "reasons" in score] == [
        score["transaction_id"] for score in scores if score["sequence_anomaly"]
    ]
    assert any("reasons" in score for score in scores)
    bench.pipeline.close()


def test_they_change_with_the_champion_and_can_be_switched_off(bundle: LoadedBundle) -> None:
    def champion(limit: int) -> Champion:
        return Champion(bundle, "transactions", Metrics(CollectorRegistry()), limit)

    assert champion(0).serving.reasons is None
    followed = champion(64)
    before = followed.serving.reasons
    followed.take(load_bundle(starter("baseline")))
    assert before is not None
    assert followed.serving.reasons not in (None, before)


def test_a_model_that_reads_profiles_is_asked_with_each_events_own(tmp_path: Path) -> None:
    names = ("log_user_count_30d", "amount", "amount_against_user", "log_merchant_count_1d", "user_fraud_rate_7d")
    reading = load_bundle(make_bundle(tmp_path / "reading", "deep_context", context=names, threshold=1e-6))
    store = TablesStore()
    store.publish(DAY, ann=2, bob=9, eve=30)
    events = profiled_batch(("ann", 2, DAY), ("bob", 3, DAY), ("eve", 1, DAY), ("bob", 4, DAY))
    prepared = prepare(events, lambda _: nullcontext())
    tables = ProfileTables(KEYS)
    fetched = fetch(prepared, store, before=None, timer=lambda _: nullcontext(), tables=tables)
    scored = score(prepared, fetched, reading, before=None, timer=lambda _: nullcontext())
    found = Reasons(reading, 3, Metrics(CollectorRegistry())).of(scored)

    assert sorted(found) == sorted(np.argsort(-scored.probabilities)[:3].tolist())
    for place, its in found.items():
        amount, count = ((2, 2), (3, 9), (1, 30), (4, 9))[place]
        context = np.array([[np.log1p(count), amount, 0, 0, 0]], np.float32)
        only = slice(place, place + 1)
        [alone] = explain(explainer_of(reading), scored.windows.take(only), scored.probabilities[only], context)
        assert [(reason.name, reason.sentence) for reason in its] == [(each.name, each.sentence) for each in alone]
        assert [reason.effect for reason in its] == pytest.approx([each.effect for each in alone], abs=2e-4)
    assert all(found.values()), "each has reasons, or nothing was compared"
