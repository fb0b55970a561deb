"""``tenfold reset`` moves a stopped group and its windows together."""

import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime

import pytest

from models.bundle import LoadedBundle
from tests.oracle import read_topic
from tests.scorers import Deployment, verdict_of
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker


def reset(deployment: Deployment, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: PLW1510 -- the exit code is looked at
        [sys.executable, "-m", "stream", "reset", *arguments],
        env=deployment.environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )


def score_all(deployment: Deployment, seed: int, events: int = 2_000) -> None:
    produce(deployment.bootstrap, deployment.input_topic, traffic(events, users=50, seed=seed))
    scorer = deployment.scorer()
    deployment.wait_until_scored([scorer])
    assert scorer.stop() == 0


def test_rebuilt_windows_are_the_ones_there_were(deployment: Deployment, bundle: LoadedBundle) -> None:
    score_all(deployment, seed=1)
    done = reset(deployment, "--rebuild", "--json")
    assert done.returncode == 0, done.stderr
    moved = json.loads(done.stdout)
    assert [each["before"] for each in moved] == [each["after"] for each in moved]
    score_all(deployment, seed=2)
    _, verdict = verdict_of(bundle, deployment)
    assert verdict.right, verdict


def test_history_is_scored_again_with_the_same_scores(deployment: Deployment) -> None:
    score_all(deployment, seed=1)
    assert reset(deployment, "--to-earliest").returncode == 0
    score_all(deployment, seed=2, events=100)
    published: dict[tuple[bytes, bytes], list[float]] = defaultdict(list)
    for record in read_topic(deployment.bootstrap, deployment.output_topic):
        headers = dict(record.headers() or [])
        score = json.loads(record.value() or b"")
        published[headers["source-partition"], headers["source-offset"]].append(score["fraud_probability"])
    twice = [scores for scores in published.values() if len(scores) == 2]
    assert Counter(map(len, published.values())).keys() == {1, 2}
    assert len(twice) > 1_900
    assert all(abs(first - second) <= 1e-5 for first, second in twice)


def test_a_group_goes_to_a_time(deployment: Deployment, bundle: LoadedBundle) -> None:
    score_all(deployment, seed=1)
    between = datetime.now(UTC).isoformat()
    time.sleep(0.01)
    score_all(deployment, seed=2, events=300)
    dry = json.loads(reset(deployment, "--to-datetime", between, "--dry-run", "--json").stdout)
    assert sum(each["before"] - each["after"] for each in dry) >= 300
    assert json.loads(reset(deployment, "--to-datetime", between, "--json").stdout) == dry
    scorer = deployment.scorer()
    deployment.wait_until_scored([scorer])
    scorer.stop()
    expected, verdict = verdict_of(bundle, deployment)
    assert verdict.doubled == len([source for source in expected.scores if source[1] >= dry[source[0]]["after"]])
    assert (verdict.missing, verdict.different, verdict.wrong_windows) == (0, 0, 0)


def test_a_running_group_is_not_moved(deployment: Deployment) -> None:
    scorer = deployment.scorer().wait_until_ready()
    refused = reset(deployment, "--to-earliest")
    assert refused.returncode == 1
    assert "has 1 running scorers: stop them" in refused.stderr
    assert "Traceback" not in refused.stderr
    scorer.stop()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--to-offset", "999999"], 1, "999999 is not among them"),
        (["--to-datetime", "yesterday"], 1, "is not an RFC 3339 time"),
        (["--to-earliest", "--rebuild"], 2, "give one of --rebuild"),
        ([], 2, "give one of --rebuild"),
    ],
)
def test_what_cannot_be_is_one_line(deployment: Deployment, arguments: list[str], code: int, words: str) -> None:
    refused = reset(deployment, *arguments)
    assert refused.returncode == code
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr
