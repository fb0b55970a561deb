"""A running scorer changes its model under load, on a real broker and a real Redis."""

import json
import os
from itertools import groupby
from pathlib import Path

import pytest

from models.bundle import LoadedBundle, load_bundle
from models.checksums import SUMS
from models.store import Store
from tests.followed_store import MANY, SOON_S, following, load, two_models, wait_for_more
from tests.oracle import Expected, Verdict, judge, read_topic, replay, wrong_windows
from tests.scorers import Deployment
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two models, one and two; one is in force."""
    return two_models(tmp_path / "store")


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
