"""A challenger in the shadow of the champion, on a real broker and a real Redis."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from models.bundle import load_bundle
from models.store import Store
from tests.followed_store import MANY, SOON_S, following, load, two_models, wait_for_more
from tests.oracle import Verdict, judge, read_topic, replay
from tests.processes import ChildProcess
from tests.scorers import Deployment, Scorer, verdict_of
from tests.topics import Topics
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two models, one and two; one is in force."""
    return two_models(tmp_path / "store")


@pytest.fixture
def shadow_topic(deployment: Deployment, topics: Topics) -> str:
    """The topic of the challenger's scores."""
    name = topics.create("fraud-scores.shadow", 3)
    deployment.settings["TENFOLD_SHADOW_TOPIC"] = name
    return name


class MisledScorer(Scorer):
    """A scorer whose challenger misbehaves."""

    def __init__(self, deployment: Deployment, store: Store, how: str) -> None:
        environment = deployment.environment(TENFOLD_MODEL_STORE=str(store.root), TENFOLD_MODEL_POLL_S="0.2")
        self._log = deployment.directory / f"misled-{how}.log"
        self.metrics_port = int(environment["TENFOLD_METRICS_PORT"])
        assignments = [f"{name}={value}" for name, value in environment.items() if name.startswith("TENFOLD_")]
        command = ["env", *assignments, sys.executable, "-m", "tests.integration.misbehaving_challenger", how]
        self.process = ChildProcess(command, self._log)
        deployment.scorers.append(self)


def sources(records: Sequence[Message]) -> list[tuple[int, int]]:
    """Return partition and offset of the events that scores are of."""
    headers = [dict(record.headers() or []) for record in records]
    return [(int(each["source-partition"]), int(each["source-offset"])) for each in headers]


def judged_shadow(deployment: Deployment, challenger: Path, scores: Sequence[Message]) -> Verdict:
    """Judge shadow scores by what a scorer with the challenger as its champion would have published."""
    expected = replay(read_topic(deployment.bootstrap, deployment.input_topic), load_bundle(challenger))
    published = set(sources(scores))
    expected.scores = {source: score for source, score in expected.scores.items() if source in published}
    expected.bad.clear()
    return judge(expected, scores, [])


def test_a_challenger_scores_the_same_windows_and_never_into_the_live_topic(
    deployment: Deployment, store: Store, shadow_topic: str
) -> None:
    scorer = following(deployment, store)
    with load(deployment):
        wait_for_more(scorer)
        assert scorer.metric("tenfold_shadow_scores_total") == 0
        store.shadow("two")
        scorer.process.wait_until(lambda: scorer.metric("tenfold_shadow_scores_total") >= MANY, 2 * SOON_S)
        assert 'tenfold_shadow_rank_correlation{model_version="two"}' in scorer.get("/metrics")[1]
        store.shadow(None)
        scorer.process.wait_until(lambda: "tenfold_shadow_rank_correlation{" not in scorer.get("/metrics")[1], SOON_S)
        wait_for_more(scorer)
    deployment.wait_until_scored([scorer])
    # one batch may have begun before the challenger was taken away, and have been counted since
    published = scorer.metric("tenfold_shadow_scores_total")
    assert scorer.stop() == 0

    _, verdict = verdict_of(load_bundle(store.directory("one")), deployment)
    assert verdict.right, verdict
    live = read_topic(deployment.bootstrap, deployment.output_topic)
    assert {json.loads(record.value() or b"")["model_version"] for record in live} == {"one"}

    shadow = read_topic(deployment.bootstrap, shadow_topic)
    assert {json.loads(record.value() or b"")["model_version"] for record in shadow} == {"two"}
    verdict = judged_shadow(deployment, store.directory("two"), shadow)
    assert verdict.right, verdict
    assert len(shadow) == published < len(live)


@pytest.mark.parametrize(("how", "reasons"), [("raise", {"failed"}), ("sleep", {"late", "busy"})])
def test_a_challenger_that_raises_or_sleeps_leaves_every_score_right_and_is_counted(
    deployment: Deployment, store: Store, shadow_topic: str, how: str, reasons: set[str]
) -> None:
    store.shadow("two")
    scorer = MisledScorer(deployment, store, how).wait_until_ready()

    def dropped(reason: str) -> float:
        return scorer.metric(f'tenfold_shadow_dropped_total{{reason="{reason}"}}')

    with load(deployment):
        scorer.process.wait_until(lambda: all(dropped(reason) for reason in reasons), SOON_S)
        wait_for_more(scorer)
    deployment.wait_until_scored([scorer])
    assert {reason for reason in ("failed", "late", "busy", "refused") if dropped(reason)} == reasons
    assert scorer.stop() == 0, "one that hangs keeps no process alive"

    _, verdict = verdict_of(load_bundle(store.directory("one")), deployment)
    assert verdict.right, verdict
    assert read_topic(deployment.bootstrap, shadow_topic) == []


def test_without_a_topic_for_its_scores_a_challenger_is_refused(deployment: Deployment, store: Store) -> None:
    deployment.settings["TENFOLD_SHADOW_TOPIC"] = f"{deployment.output_topic}.nowhere"
    store.shadow("two")
    scorer = following(deployment, store)
    scorer.process.wait_until(lambda: scorer.metric('tenfold_refusing_bundle{pointer="challenger"}') == 1, SOON_S)
    assert "tenfold topics create" in scorer.log_text
    produce(deployment.bootstrap, deployment.input_topic, traffic(1_000, users=50, seed=1))
    deployment.wait_until_scored([scorer])
    assert scorer.stop() == 0

    _, verdict = verdict_of(load_bundle(store.directory("one")), deployment)
    assert verdict.right, verdict


def test_a_topic_of_shadow_scores_that_goes_away_ends_the_challenger_and_holds_nobody_up_for_long(
    deployment: Deployment, store: Store
) -> None:
    admin, name = AdminClient({"bootstrap.servers": deployment.bootstrap}), f"{deployment.output_topic}.shadow"
    admin.create_topics([NewTopic(name, 3, 1)])[name].result(SOON_S)
    store.shadow("two")
    scorer = following(deployment, store)
    with load(deployment):
        scorer.process.wait_until(lambda: scorer.metric("tenfold_shadow_scores_total") > 0, SOON_S)
        admin.delete_topics([name])[name].result(SOON_S)
        refused = 'tenfold_shadow_dropped_total{reason="refused"}'
        scorer.process.wait_until(lambda: scorer.metric(refused) > 0, 2 * SOON_S)
        wait_for_more(scorer)
    deployment.wait_until_scored([scorer])
    assert "Kafka does not take the challenger's scores" in scorer.log_text
    assert scorer.stop() == 0

    _, verdict = verdict_of(load_bundle(store.directory("one")), deployment)
    assert verdict.right, verdict
