"""Bundles for tests, of the small networks in ``tests/data/keras``; no TensorFlow needed."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle import write_bundle
from models.context import CONTEXT
from models.features import PRESETS
from models.golden import read_golden
from models.reference import Reference, column_names, reference_of
from models.spec import BundleSpec
from models.window import WINDOW_MAX_AGE_MS
from tests.keras_files import KERAS_FILES, NETWORKS


def bundle_spec(network: str = "baseline", **changes: Any) -> BundleSpec:
    preset, context_width = NETWORKS[network]
    fields = {
        "model_version": f"test-{network}",
        "preset": preset,
        "features": PRESETS[preset],
        "sequence_length": 10,
        "window_max_age_ms": WINDOW_MAX_AGE_MS,
        "zone": "UTC",
        "context": tuple(CONTEXT)[:context_width],
        "threshold": 0.5,
        "trained_from": datetime(2026, 1, 1, tzinfo=UTC),
        "trained_to": datetime(2026, 3, 1, tzinfo=UTC),
        "label_rule": "the label of the window's last event, as landed at the cut-off",
        "label_delay_days": 7,
        "seed": 1,
        "created_at": datetime(2026, 3, 9, tzinfo=UTC),
        "libraries": {"keras": "3"},
    }
    return BundleSpec.model_validate(fields | changes)


def some_reference(network: str = "baseline", payments: int = 3000) -> Reference:
    """Return a reference for a bundle of one of :data:`NETWORKS`, of payments that there never were."""
    names, rng = column_names(bundle_spec(network)), np.random.default_rng(1)
    columns, weights = rng.random((payments, len(names) - 1), np.float32), np.ones(payments)
    return reference_of(names, columns, weights, rng.random(payments), weights)


def make_bundle(directory: Path, network: str = "baseline", reference: Reference | None = None, **changes: Any) -> Path:
    """Write a bundle of one of :data:`NETWORKS` to ``directory``; ``changes`` are fields of its spec."""
    golden = read_golden(KERAS_FILES / f"{network}.npz")
    write_bundle(
        directory,
        keras_path=KERAS_FILES / f"{network}.keras",
        h5_path=KERAS_FILES / f"{network}.h5",
        spec=bundle_spec(network, **changes),
        metrics={"auc": 0.5},
        golden_windows=golden.windows,
        golden_probabilities=golden.probabilities,
        golden_context=golden.context,
        card="# A model for tests\n",
        reference=reference,
    )
    return directory
