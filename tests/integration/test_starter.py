"""The bundles that ship load, prove themselves, and find frauds of people they have never seen."""

import numpy as np
import numpy.typing as npt
import pytest

from models.bundle import LoadedBundle, load_bundle, starter
from models.features import PRESETS, step_features
from models.window import RECORD, VPN, Windows, advance
from training.simulator import Simulated, simulate

pytest.importorskip("sklearn", reason="needs the training extra")
from sklearn.metrics import average_precision_score, roc_auc_score

from training.metrics import shuffle_steps

SEEDS = (101, 102, 103)  # the starter was trained on another


def windows_of(simulated: Simulated, max_age_ms: int) -> Windows:
    events = simulated.events
    records = np.zeros(len(events), RECORD)
    records["created_at_ms"] = events["created_at_ms"]
    records["transaction"] = np.arange(1, len(events) + 1)
    records["amount"] = events["amount"]
    records["flags"] = np.where(events["is_vpn"], VPN, 0)
    users = events["user"].astype(np.int64)
    return advance(Windows.empty(users.max() + 1), users, records, max_age_ms).scored


def auc_and_ap(is_fraud: npt.NDArray[np.bool_], p: npt.NDArray[np.float32]) -> tuple[float, float]:
    return float(roc_auc_score(is_fraud, p)), float(average_precision_score(is_fraud, p))


@pytest.fixture(scope="module")
def default() -> LoadedBundle:
    return load_bundle(starter("default"))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_starter_ships_for_every_preset_verifies_and_is_small(preset: str) -> None:
    bundle = load_bundle(starter(preset))  # raises where sums or golden probabilities differ
    assert bundle.spec.preset == preset
    assert bundle.spec.features == PRESETS[preset]
    assert bundle.spec.zone == "UTC"
    assert bundle.spec.window_max_age_ms == 90 * 24 * 3600 * 1000
    assert sum(path.stat().st_size for path in starter(preset).iterdir()) < 2.5e6


@pytest.mark.parametrize("seed", SEEDS)
def test_the_default_starter_finds_frauds_among_people_it_has_never_seen(default: LoadedBundle, seed: int) -> None:
    simulated = simulate(users=800, days=45, seed=seed)
    windows = windows_of(simulated, default.spec.window_max_age_ms)
    features = step_features(windows, default.spec.features, default.spec.zone)
    rng = np.random.default_rng(seed)

    p = default.score(windows)
    auc, ap = auc_and_ap(simulated.is_fraud, p)
    history_shuffled = shuffle_steps(features, windows.lengths, rng, keep_last=True)
    no_history_order, ap_without = auc_and_ap(
        simulated.is_fraud, default.runtime.predict(history_shuffled, windows.lengths)
    )
    shuffled = shuffle_steps(features, windows.lengths, rng, keep_last=False)
    no_order, ap_none = auc_and_ap(simulated.is_fraud, default.runtime.predict(shuffled, windows.lengths))
    flagged = p > default.spec.threshold
    print(
        f"seed {seed}: AUC {auc:.3f} AP {ap:.3f}; before the last shuffled {no_history_order:.3f} {ap_without:.3f}; "
        f"all {no_order:.3f} {ap_none:.3f}; flagged {flagged.mean():.2%} with precision "
        f"{simulated.is_fraud[flagged].mean():.2f}"
    )

    assert auc > 0.85
    assert no_order < auc - 0.1, "the order of the steps must matter"
    assert ap_none < ap / 2
    assert ap_without < ap, "also the order of those before the scored one"
    assert 0.004 < flagged.mean() < 0.03, "about the alert budget"
    assert simulated.is_fraud[flagged].mean() > 0.25
