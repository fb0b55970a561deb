"""Parts of made-up windows, for what judges a model."""

import numpy as np

from models.window import Windows
from training.dataset import Part

DAY_MS = 86_400_000


def part_of(
    n: int, seed: int, *, steps: int = 3, begin: int = 0, days: int = 7, fraud_rate: float = 0.1, width: int = 2
) -> Part:
    """Return windows of one to ``steps`` steps and their padding, over ``days`` from day ``begin`` on, in no order.

    Two features a step and ``width`` columns of context, all of them noise; whether a window is a fraud shows in none.
    """
    rng, begin_ms = np.random.default_rng(seed), begin * DAY_MS
    windows = Windows.empty(n, steps)
    windows.lengths[:] = rng.integers(1, steps + 1, n)
    windows.records["created_at_ms"][np.arange(n), windows.lengths - 1] = begin_ms + rng.integers(0, days * DAY_MS, n)
    features = rng.normal(size=(n, steps, 2)).astype(np.float32)
    features[np.arange(steps) >= windows.lengths[:, None]] = 0
    is_fraud = (rng.random(n) < fraud_rate).astype(np.float32)
    context = rng.normal(size=(n, width)).astype(np.float32)
    users = rng.integers(0, n // 4, n).astype(np.uint64)
    return Part(windows, features, context, users, is_fraud, begin_ms, begin_ms + days * DAY_MS)
