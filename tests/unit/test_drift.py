"""Bins, shares and the PSI of two distributions; the reference that travels in a bundle."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bundle import STARTER, BundleError, load_bundle
from models.checksums import write_sums
from models.drift import ENOUGH, FEW_VALUES, bin_counts, bin_edges, psi
from models.features import PRESETS, Floats
from tests.bundles import make_bundle, some_reference

MANY = 1_000_000


def edges_of(values: Floats) -> Floats:
    return bin_edges(values, np.ones(len(values)))


def shares(values: Floats, edges: Floats) -> Floats:
    counts = bin_counts(values, np.ones(len(values)), edges)
    return counts / counts.sum()


def drift(reference: Floats, observed: Floats) -> float:
    edges = edges_of(reference)
    return psi(shares(reference, edges), len(reference), shares(observed, edges), len(observed))


def test_psi_is_the_sum_that_its_formula_says() -> None:
    by_hand = (0.6 - 0.5) * np.log(0.6 / 0.5) + (0.4 - 0.5) * np.log(0.4 / 0.5)
    assert psi(np.array([0.5, 0.5]), MANY, np.array([0.6, 0.4]), MANY) == pytest.approx(by_hand, rel=1e-4)


@given(st.lists(st.integers(0, 50), min_size=3, max_size=3), st.lists(st.integers(0, 50), min_size=3, max_size=3))
def test_psi_is_finite_and_never_negative_even_where_bins_are_empty(reference: list[int], observed: list[int]) -> None:
    r, o = (np.array(counts) / max(sum(counts), 1) for counts in (reference, observed))
    assert 0 <= psi(r, MANY, o, MANY) < np.inf
    assert psi(r, MANY, r, MANY) == 0


@pytest.mark.parametrize(("m", "n"), [(ENOUGH - 1, MANY), (MANY, ENOUGH - 1)])
def test_of_few_payments_there_is_no_psi(m: int, n: int) -> None:
    assert np.isnan(psi(np.array([0.5, 0.5]), m, np.array([0.5, 0.5]), n))
    assert np.isfinite(psi(np.array([0.5, 0.5]), ENOUGH, np.array([0.5, 0.5]), ENOUGH))


def test_where_nothing_has_changed_psi_is_what_luck_makes_it() -> None:
    rng, bins, m, n = np.random.default_rng(1), 12, 20_000, ENOUGH
    truth = rng.dirichlet(np.full(bins, 10.0))
    luck = [psi(rng.multinomial(m, truth) / m, m, rng.multinomial(n, truth) / n, n) for _ in range(400)]
    assert np.mean(luck) == pytest.approx((bins - 1) * (1 / n + 1 / m), rel=0.15)


def test_a_column_of_few_values_has_a_bin_for_each_and_two_for_what_was_never_seen() -> None:
    hours = np.repeat(np.arange(FEW_VALUES), 10).astype(np.float32)
    counts = bin_counts(np.array([-1.0, *range(FEW_VALUES), 24.0]), np.ones(FEW_VALUES + 2), edges_of(hours))
    assert counts.tolist() == [1.0] * (FEW_VALUES + 2)


def test_another_column_is_cut_at_its_deciles() -> None:
    amounts = np.random.default_rng(1).lognormal(3, 1, 50_000).astype(np.float32)
    edges = edges_of(amounts)
    assert shares(amounts, edges) == pytest.approx([0, *[0.1] * 10, 0], abs=1e-3)
    assert shares(np.array([amounts.max() * 2]), edges)[-1] == 1


def test_a_value_that_most_payments_share_is_told_from_the_rare_rest() -> None:
    """Deciles alone would put all of it into one bin, and nothing would be seen."""
    rng = np.random.default_rng(1)
    frauds = np.where(rng.random(50_000) < 0.03, rng.random(50_000), 0).astype(np.float32)
    assert drift(frauds, rng.random(50_000).astype(np.float32)) > 0.2
    assert drift(frauds, rng.permutation(frauds)) == 0


def test_a_column_that_never_varied_drifts_with_its_first_other_value() -> None:
    assert drift(np.zeros(5000), np.full(5000, 0.001)) > 0.2
    assert drift(np.zeros(5000), np.zeros(4000)) < 0.001


@pytest.mark.parametrize("values", [np.sin(np.arange(24) * (2 * np.pi / 24)), np.array([0.0, 15.86664])])
def test_another_rounding_moves_no_value_into_another_bin(values: Floats) -> None:
    column = np.repeat(values, 2000).astype(np.float32)
    for towards in (-np.inf, np.inf):
        assert drift(column, np.nextafter(column, np.float32(towards))) == 0


@given(st.integers(1, 40), st.integers(1, 5))
def test_a_weight_is_a_repetition(distinct: int, weight: int) -> None:
    values = np.random.default_rng(distinct).permutation(distinct).astype(np.float64)
    weights = np.where(values % 2, weight, 1).astype(np.float64)
    repeated = np.repeat(values, weights.astype(np.int64))
    edges = bin_edges(values, weights)
    assert edges.tolist() == edges_of(repeated).tolist()
    assert bin_counts(values, weights, edges).tolist() == bin_counts(repeated, np.ones(len(repeated)), edges).tolist()


@pytest.mark.parametrize("network", ["baseline", "context"])
def test_a_bundle_brings_its_reference_along(tmp_path: Path, network: str) -> None:
    reference = some_reference(network)
    loaded = load_bundle(make_bundle(tmp_path / "bundle", network, reference=reference))
    assert loaded.bundle.reference == reference
    spec = loaded.spec
    assert list(reference.columns) == [*spec.features, *(f"context.{name}" for name in spec.context), "score"]
    assert {column.events for column in reference.columns.values()} == {3000}


def test_a_bundle_from_before_there_were_references_loads(tmp_path: Path) -> None:
    assert load_bundle(make_bundle(tmp_path / "bundle")).bundle.reference is None


@pytest.mark.parametrize("preset", PRESETS)
def test_a_starter_says_what_it_learned_from(preset: str) -> None:
    reference = load_bundle(STARTER / preset).bundle.reference
    assert reference is not None
    assert min(column.events for column in reference.columns.values()) > 10 * ENOUGH


def test_a_reference_of_other_columns_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"the reference is of .*'amount'.*, not of \('log_amount'"):
        make_bundle(tmp_path / "bundle", "default", reference=some_reference("baseline"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda told: told["columns"].pop("is_vpn"), "has the columns amount, hour_of_day, is_weekend, score, the mod"),
        (lambda told: told["columns"]["score"]["shares"].pop(), "11 edges make 12 bins, and there are 11"),
        (lambda told: told["columns"]["score"]["edges"].reverse(), "edges do not ascend"),
        (lambda told: told["columns"]["score"].update(shares=[0.5] * 12), "shares add up to 6"),
        (lambda told: told.update(format_version=2), "not a reference of this release"),
    ],
)
def test_a_reference_that_cannot_be_used_is_refused_by_name(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    bundle = make_bundle(tmp_path / "bundle", reference=some_reference())
    reference = json.loads((bundle / "reference.json").read_bytes())
    change(reference)
    (bundle / "reference.json").write_text(json.dumps(reference), encoding="utf-8")
    write_sums(bundle)
    with pytest.raises(BundleError, match=rf"(?s){bundle}/reference.json.*{told}.*train again"):
        load_bundle(bundle)
