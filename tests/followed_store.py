"""A store that running scorers follow, and a load under which they do."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.store import Store
from tests.bundles import make_bundle, some_reference
from tests.scorers import Deployment, Scorer
from tests.traffic import Record, produce, traffic

RATE = 1_000.0  # events a second
MANY = 500  # events, so that each partition has some
SOON_S = 60.0


def two_models(root: Path) -> Store:
    """Return a store of two models that read other features and have other thresholds; the first is in force."""
    make_bundle(root / "one", "default", some_reference("default"), model_version="one", threshold=0.5)
    make_bundle(root / "two", "baseline", model_version="two", threshold=0.3)
    store = Store(root)
    store.adopt_first("one")
    return store


def following(deployment: Deployment, store: Store) -> Scorer:
    """Start a scorer that looks at the store often."""
    settings = {"TENFOLD_MODEL_STORE": str(store.root), "TENFOLD_MODEL_POLL_S": "0.2"}
    return deployment.scorer(**settings).wait_until_ready()


@contextmanager
def load(deployment: Deployment) -> Iterator[None]:
    """Produce at a steady rate as long as the block runs."""
    stop = threading.Event()

    def records() -> Iterator[Record]:
        for record in traffic(10_000_000, users=300, seed=1):
            if stop.is_set():
                return
            yield record

    arguments = (deployment.bootstrap, deployment.input_topic, records(), RATE)
    producing = threading.Thread(target=produce, args=arguments)
    producing.start()
    try:
        yield
    finally:
        stop.set()
        producing.join()


def wait_for_more(scorer: Scorer) -> None:
    """Return when the scorer has scored many more events than now."""
    before = scorer.metric("tenfold_scores_total")
    scorer.process.wait_until(lambda: scorer.metric("tenfold_scores_total") >= before + MANY, SOON_S)
