"""A rollout as Kubernetes does it with the chart: from the last pod to the first, each gone before its successor."""

import signal
from pathlib import Path

import pytest
import yaml

from models.bundle import LoadedBundle
from tests.scorers import Deployment, Scorer, verdict_of
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker

VALUES = Path(__file__).parents[2] / "deploy" / "chart" / "values.yaml"
PODS = ("tenfold-0", "tenfold-1", "tenfold-2")


def rebalances(scorer: Scorer) -> list[float]:
    return [scorer.metric(f'tenfold_rebalances_total{{kind="{kind}"}}') for kind in ("assigned", "revoked", "lost")]


def test_a_rollout_under_load_fences_nobody_moves_nothing_and_scores_each_payment_once(
    deployment: Deployment, bundle: LoadedBundle
) -> None:
    grace_s = yaml.safe_load(VALUES.read_text())["scorer"]["terminationGracePeriodSeconds"]
    deployment.settings["TENFOLD_KAFKA__session.timeout.ms"] = "60000"  # a slow machine may take its time to come back
    pods = {name: deployment.scorer(TENFOLD_INSTANCE_ID=name) for name in PODS}
    for scorer in pods.values():
        scorer.wait_until_ready()
        scorer.process.wait_until(lambda one=scorer: one.metric("tenfold_partitions") == 1, 60)
    for number, name in enumerate(reversed(PODS)):
        others = [pods[other] for other in PODS if other != name]
        before = [rebalances(other) for other in others]
        produce(deployment.bootstrap, deployment.input_topic, traffic(4_000, users=300, seed=number))
        assert pods[name].process.end(signal.SIGTERM, grace_s) == 0
        pods[name] = deployment.scorer(TENFOLD_INSTANCE_ID=name).wait_until_ready()
        assert [rebalances(other) for other in others] == before
    deployment.wait_until_scored(list(pods.values()))
    for scorer in pods.values():
        assert scorer.stop() == 0
    _, verdict = verdict_of(bundle, deployment)
    assert verdict.right, verdict
    assert not any('"level": "error"' in scorer.log_text for scorer in deployment.scorers)
