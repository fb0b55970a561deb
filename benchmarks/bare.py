"""The bare model: what an engine would reach that did nothing but compute."""

import time

import numpy as np

from models.bundle import LoadedBundle


def bare_model(bundle: LoadedBundle, events: int) -> float:
    """Return events/s of the runtime alone, on the features of full windows, 4,096 at a time.

    It is the limit: nothing is fetched, decoded, kept or published.
    """
    rng = np.random.default_rng(0)
    spec = bundle.spec
    features = rng.normal(size=(4096, spec.sequence_length, len(spec.features))).astype(np.float32)
    lengths = np.full(4096, spec.sequence_length)
    bundle.runtime.predict(features, lengths)
    begun = time.perf_counter()
    rounds = -(-events // 4096)
    for _ in range(rounds):
        bundle.runtime.predict(features, lengths)
    return rounds * 4096 / (time.perf_counter() - begun)
