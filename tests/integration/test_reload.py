"""A running scorer changes its model under load, on a real broker and a real Redis."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import pytest

from models.bundle import LoadedBundle, load_bundle
from models.checksums import SUMS
from models.store import Store
from tests.bundles import make_bundle
from tests.oracle import Expected, Verdict, judge, read_topic, replay, wrong_windows
from tests.scorers import Deployment, Scorer
from tests.traffic import Record, produce, traffic

pytestmark = pytest.mark.broker

RATE = 1_000.0  # events a second
MANY = 500  # events, so that each partition has some
SOON_S = 60.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store of two models that read other features and have other thresholds; the first is in force."""
    root = tmp_path / "store"
    make_bundle(root / "one", "default", model_version="one", threshold=0.5)
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


def judged(deployment: Deployment, *bundles: LoadedBundle) -> tuple[list[list[str]], Verdict]:
    """Return each partition's models in the order of its events, and the verdict by the model that each score names."""
    records = read_topic(deployment.bootstrap, deployment.input_topic)
    by_version: dict[str, Expected] = {bundle.spec.model_version: replay(records, bundle) for bundle in bundles}
    thresholds = {bundle.spec.model_version: bundle.spec.threshold for bundle in bundles}
    expected = by_version[bundles[0].spec.model_version]
    scores = read_topic(deployment.bootstrap, deployment.output_topic)
    versions: dict[tuple[int, int], str] = {}
    for record in scores:
        headers, score = dict(record.headers() or []), json.loads(record.value() or b"")
        source, version = (int(headers["source-partition"]), int(headers["source-offset"])), score["model_version"]
        versions[source] = version
        expected.scores[source] = by_version[version].scores[source]
        assert score["sequence_anomaly"] == (score["fraud_probability"] > thresholds[version])
    verdict = judge(expected, scores, read_topic(deployment.bootstrap, deployment.dlq_topic))
    verdict.wrong_windows = wrong_windows(expected, deployment.redis_url, deployment.group_id, deployment.input_topic)
    partitions = sorted({partition for partition, _ in versions})
    in_order = [[versions[source] for source in sorted(versions) if source[0] == partition] for partition in partitions]
    return [[version for version, _ in groupby(of_partition)] for of_partition in in_order], verdict


def test_a_promotion_and_a_rollback_under_load_lose_nothing_and_every_score_is_of_the_model_it_names(
    deployment: Deployment, store: Store
) -> None:
    scorer = following(deployment, store)
    with load(deployment):
        wait_for_more(scorer)
        store.promote("two", "better")
        scorer.process.wait_until(lambda: scorer.metric("tenfold_reloads_total") == 1, SOON_S)
        assert 'tenfold_model_info{model_version="two",preset="baseline"' in scorer.get("/metrics")[1]
        wait_for_more(scorer)
        store.rollback("worse")
        scorer.process.wait_until(lambda: scorer.metric("tenfold_reloads_total") == 2, SOON_S)
        wait_for_more(scorer)
    deployment.wait_until_scored([scorer])
    assert scorer.stop() == 0

    models, verdict = judged(deployment, *(load_bundle(store.directory(version)) for version in ("one", "two")))

    assert models == [["one", "two", "one"]] * 3
    assert verdict.right, verdict
    assert verdict.events > 3 * MANY


def test_a_corrupted_bundle_is_refused_once_under_load_and_the_old_model_goes_on(
    deployment: Deployment, store: Store
) -> None:
    model = store.root / "two" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    scorer = following(deployment, store)
    refused, refusing = (
        f'tenfold_{name}{{pointer="champion"}}' for name in ("bundles_refused_total", "refusing_bundle")
    )
    with load(deployment):
        wait_for_more(scorer)
        (store.root / "champion").write_text("two\n", encoding="utf-8")
        scorer.process.wait_until(lambda: scorer.metric(refused) == 1, SOON_S)
        looked = scorer.metric("tenfold_model_store_read_timestamp_seconds")
        scorer.process.wait_until(
            lambda: scorer.metric("tenfold_model_store_read_timestamp_seconds") > looked + 1, SOON_S
        )
        wait_for_more(scorer)
    deployment.wait_until_scored([scorer])
    assert (scorer.metric(refused), scorer.metric(refusing), scorer.metric("tenfold_reloads_total")) == (1, 1, 0)
    assert scorer.get("/readyz")[0] == 200
    assert scorer.stop() == 0
    assert "changed: model.onnx" in scorer.log_text

    models, verdict = judged(deployment, load_bundle(store.directory("one")))

    assert models == [["one"]] * 3
    assert verdict.right, verdict


def test_no_event_waits_for_a_store_that_hangs_while_a_bundle_is_read(deployment: Deployment, store: Store) -> None:
    """The sums of the new bundle are a pipe that this test fills: until it does, whoever reads them hangs."""
    sums = store.root / "two" / SUMS
    content = sums.read_bytes()
    sums.unlink()
    os.mkfifo(sums)
    scorer = following(deployment, store)
    (store.root / "champion").write_text("two\n", encoding="utf-8")
    pipe = -1

    def is_read() -> bool:
        nonlocal pipe
        try:
            pipe = os.open(sums, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads
            return False
        return True

    scorer.process.wait_until(is_read, SOON_S)
    produce(deployment.bootstrap, deployment.input_topic, traffic(MANY, users=50, seed=1))
    deployment.wait_until_scored([scorer])
    assert scorer.metric("tenfold_reloads_total") == 0
    os.write(pipe, content)
    os.close(pipe)
    scorer.process.wait_until(lambda: scorer.metric("tenfold_reloads_total") == 1, SOON_S)
    produce(deployment.bootstrap, deployment.input_topic, traffic(MANY, users=50, seed=2))
    deployment.wait_until_scored([scorer])
    assert scorer.stop() == 0
    sums.unlink()
    sums.write_bytes(content)

    models, verdict = judged(deployment, *(load_bundle(store.directory(version)) for version in ("one", "two")))

    assert models == [["one", "two"]] * 3
    assert verdict.right, verdict
