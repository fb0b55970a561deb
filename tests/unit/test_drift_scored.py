"""Drift of what a scorer scores: real bundles on simulated payments, by a clock that is handed in."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from models.bundle import LoadedBundle, load_bundle, starter
from models.drift import ENOUGH
from models.window import VPN, Windows
from stream.champion import Champion
from stream.drift import SAMPLE, Drift
from stream.metrics import Metrics
from stream.microbatch import MicroBatch, Scored
from tests.bundles import make_bundle, some_reference
from tests.integration.test_starter import windows_of
from tests.unit.test_pipeline import Bench
from training.simulator import simulate

DRIFTED = 0.2


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def scored(bundle: LoadedBundle, windows: Windows) -> Scored:
    n = len(windows)
    batch = MicroBatch("transactions", [], [], [], [], [], {}, None)
    rows = np.arange(n)
    return Scored(batch, [], rows, bundle.score(windows), windows, rows, None, [], {}, 0, 0, 0, 0)


def measured(drift: Drift, span: str) -> dict[str, float]:
    return {each.column: each.psi for each in drift.measure() if each.span == span}


def a_day_of(bundle: LoadedBundle, windows: Windows, batch: int = 500) -> Drift:
    """Return the drift of windows that were scored one batch after another, over a day."""
    clock = Clock()
    reference = bundle.bundle.reference
    assert reference is not None
    drift = Drift(bundle.spec, reference, clock)
    batches = range(0, len(windows), batch)
    for begin in batches:
        drift.count(scored(bundle, windows.take(slice(begin, begin + batch))))
        clock.now += 86_400 / len(batches)
    clock.now += 1
    return drift


@pytest.fixture(scope="module", params=["default", "baseline"])
def bundle(request: pytest.FixtureRequest) -> LoadedBundle:
    return load_bundle(starter(request.param))


@pytest.fixture(scope="module")
def windows() -> Windows:
    """Windows of people of whom the starters have not learned."""
    return windows_of(simulate(users=400, days=40, seed=101), 90 * 86_400_000)


def copied(windows: Windows, n: int) -> Windows:
    return windows.take(np.arange(n))


def test_on_payments_like_those_of_the_training_psi_is_near_zero(bundle: LoadedBundle, windows: Windows) -> None:
    day = measured(a_day_of(bundle, windows), "1d")
    assert set(day) == {*bundle.spec.features, "score"} - {"is_weekend"}
    assert max(day.values()) < 0.05


def dearer(windows: Windows) -> None:
    windows.records["amount"] *= 3


def through_vpn(windows: Windows) -> None:
    windows.records["flags"] |= VPN


def eight_hours_later(windows: Windows) -> None:
    windows.records["created_at_ms"] += 8 * 3_600_000


@pytest.mark.parametrize(
    ("shift", "columns"),
    [
        (dearer, {"default": {"log_amount"}, "baseline": {"amount"}}),
        (through_vpn, {"default": {"is_vpn", "score"}, "baseline": {"is_vpn", "score"}}),
        (eight_hours_later, {"default": {"hour_sin", "hour_cos"}, "baseline": {"hour_of_day"}}),
    ],
)
def test_on_shifted_payments_psi_is_high_where_they_shifted(
    bundle: LoadedBundle, windows: Windows, shift: Callable[[Windows], None], columns: dict[str, set[str]]
) -> None:
    shifted = copied(windows, len(windows))
    shift(shifted)
    day = measured(a_day_of(bundle, shifted), "1d")
    found = {column for column, psi in day.items() if psi > DRIFTED}
    assert columns[bundle.spec.preset] <= found
    assert found.isdisjoint({"amount_against_window", "log_seconds_since_previous"}), "these have not changed"


def test_an_hour_says_nothing_of_the_clock_and_a_day_that_is_not_over_nothing_at_all(
    bundle: LoadedBundle, windows: Windows
) -> None:
    clock, reference = Clock(), bundle.bundle.reference
    assert reference is not None
    drift = Drift(bundle.spec, reference, clock)
    drift.count(scored(bundle, windows.take(slice(0, ENOUGH - 1))))
    assert drift.measure() == [], "too few"
    for begin in range(0, len(windows), 1000):
        drift.count(scored(bundle, windows.take(slice(begin, begin + 1000))))
    hour = measured(drift, "1h")
    assert "score" in hour
    assert not set(hour) & {"hour_of_day", "hour_sin", "hour_cos", "is_night", "is_weekend"}
    clock.now += 86_400 - 1
    assert drift.measure() == []
    clock.now += 1
    assert "is_vpn" in measured(drift, "1d")
    assert measured(drift, "1h") == {}, "nothing was scored for hours"


def test_a_large_batch_counts_for_as_many_as_it_has(bundle: LoadedBundle, windows: Windows) -> None:
    """Of these payments one in 17 is odd. Of those that are looked at it is every second one."""
    honest, odd = copied(windows, 16 * SAMPLE), copied(windows, SAMPLE)
    through_vpn(odd)
    reference = bundle.bundle.reference
    assert reference is not None
    drift = Drift(bundle.spec, reference, Clock())
    for _ in range(8):
        drift.count(scored(bundle, honest))
        drift.count(scored(bundle, odd))
    assert measured(drift, "1h")["is_vpn"] < DRIFTED


def counted(registry: CollectorRegistry) -> set[tuple[str, str]]:
    [family] = [family for family in registry.collect() if family.name == "tenfold_drift_psi"]
    return {(sample.labels["feature"], sample.labels["window"]) for sample in family.samples}


def test_another_model_begins_anew_with_its_own_reference(
    tmp_path: Path, windows: Windows, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    registry = CollectorRegistry()
    first = load_bundle(starter("default"))
    champion = Champion(first, "transactions", Metrics(registry), clock=Clock())

    def score_many(model: LoadedBundle) -> None:
        assert champion.serving.drift is not None
        champion.serving.drift.count(scored(model, windows.take(slice(0, SAMPLE))))
        for _ in range(ENOUGH // SAMPLE):
            champion.serving.drift.count(scored(model, windows.take(slice(0, SAMPLE))))

    assert counted(registry) == set()
    score_many(first)
    assert ("log_amount", "1h") in counted(registry)

    second = load_bundle(make_bundle(tmp_path / "second", "baseline", some_reference("baseline")))
    champion.take(second)
    assert counted(registry) == set()
    score_many(second)
    assert counted(registry) == {("amount", "1h"), ("is_vpn", "1h"), ("score", "1h")}
    assert not [record for record in caplog.records if "no drift is measured" in record.message]

    champion.take(load_bundle(make_bundle(tmp_path / "older")))
    assert (champion.serving.drift, counted(registry)) == (None, set())
    assert len([record for record in caplog.records if "no drift is measured" in record.message]) == 1


def test_a_micro_batch_is_counted_when_it_is_published_and_not_before() -> None:
    bundle = load_bundle(starter("default"))
    registry = CollectorRegistry()
    champion, bench = Champion(bundle, "transactions", Metrics(registry), clock=Clock()), Bench()
    bench.serving = champion.serving
    bench.publisher.gate.clear()
    bench.submit(*[10.0] * (2 * ENOUGH))
    assert bench.publisher.waiting.wait(60)
    assert counted(registry) == set()
    bench.publisher.gate.set()
    assert bench.pipeline.settle().error is None
    assert counted(registry) == set(), "a sample of one batch is too few"
    for _ in range(ENOUGH // SAMPLE):
        bench.submit(*[10.0] * (2 * SAMPLE))
    assert bench.pipeline.settle().error is None
    assert ("log_amount", "1h") in counted(registry)
    bench.pipeline.close()
