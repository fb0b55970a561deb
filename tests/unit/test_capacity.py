"""The arithmetic of docs/capacity.md."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.capacity import LOADS, Assumptions, Costs, Load, busiest_partition, measured, needs, plan

PAGE = Path(__file__).parents[2] / "docs" / "capacity.md"

COSTS = Costs(
    scorer_us=50,
    kafka_us=25,
    redis_us=5,
    process_rate=20_000,
    user_rate=2_000,
    payment_bytes=200,
    score_bytes=400,
    user_bytes=500,
)
GIVEN = Assumptions()


def test_the_page_has_the_tables_that_the_model_prints() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert measured(Costs()) in page
    assert needs(Costs(), Assumptions()) in page


def test_a_plan_by_hand() -> None:
    planned = plan(Load(100_000, 10_000_000), COSTS, GIVEN)

    assert planned.scorer_processes == 10  # each at half of 20,000
    assert planned.scorer_cores == 10  # 100,000 * 50 µs are 5, and half idles
    assert planned.cells == 1  # Redis: 100,000 * 5 µs are half a core, and 10 GB with what is free
    assert planned.partitions == 40
    assert planned.redis_memory_gb == 20
    assert planned.kafka_cores == 20  # 2.5 for the scorer, as much for who sends and reads, and for each follower
    assert planned.kafka_network_mb_s == 240  # out: 600 bytes to two followers and two readers
    assert planned.kafka_disk_tb == pytest.approx(72.58, abs=0.01)  # 33,333 * 600 bytes * 7 days * 3 copies, half full


@pytest.mark.parametrize("load", LOADS)
def test_what_costs_more_never_needs_less(load: Load) -> None:
    dearer = replace(COSTS, scorer_us=100, kafka_us=50, redis_us=10, process_rate=10_000, user_bytes=1_000)
    before, after = plan(load, COSTS, GIVEN), plan(load, dearer, GIVEN)
    assert after != before
    assert all(vars(after)[name] >= needed for name, needed in vars(before).items())


@pytest.mark.parametrize("load", LOADS)
def test_nothing_is_planned_fuller_than_the_headroom_allows(load: Load) -> None:
    planned, used = plan(load, COSTS, GIVEN), 1 - GIVEN.headroom
    assert load.events_per_s <= planned.scorer_processes * COSTS.process_rate * used
    assert load.events_per_s * COSTS.redis_us / 1e6 <= planned.cells * used
    assert planned.partitions % planned.cells == 0
    assert planned.partitions >= planned.scorer_processes


def test_the_busiest_partition_is_as_busy_as_in_a_simulation() -> None:
    users, partitions, spread = 200_000, 100, 1.5
    rng = np.random.default_rng(1)
    busiest = []
    for _ in range(20):
        rates = rng.lognormal(0, spread, users)
        load = np.bincount(rng.integers(0, partitions, users), rates, partitions)
        busiest.append(load.max() / load.mean())
    assert busiest_partition(users, partitions, spread) - 1 == pytest.approx(np.mean(busiest) - 1, rel=0.25)
