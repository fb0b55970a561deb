"""``tenfold reset`` moves a stopped group and its windows together."""

import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import redis
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient

from models.bundle import LoadedBundle
from stream.partitioner import partitions_of
from tests.oracle import Expected, judge, read_topic, replay, wrong_windows
from tests.scorers import Deployment, verdict_of
from tests.topics import grow
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


def test_a_group_that_nobody_has_scored_for_begins_where_it_is_told(deployment: Deployment) -> None:
    produce(deployment.bootstrap, deployment.input_topic, traffic(300, users=9, seed=1))
    for arguments in (["--to-offset", "1", "--dry-run"], ["--to-offset", "1"]):
        done = reset(deployment, *arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[:3] == [f"partition {number}: no offset -> 1" for number in range(3)]
    scorer = deployment.scorer()
    deployment.wait_until_scored([scorer])
    assert scorer.stop() == 0
    answers = [
        len(read_topic(deployment.bootstrap, topic)) for topic in (deployment.output_topic, deployment.dlq_topic)
    ]
    assert sum(answers) == 300 - 3, "one for each record but the first of each partition"


def test_users_who_moved_to_added_partitions_have_their_history_again(
    deployment: Deployment, bundle: LoadedBundle
) -> None:
    """Scored in three parts: before partitions are added, on short windows after that, and after the rebuild.

    Without each event on the partition where its user is now, users who moved would go on without what they did before;
    without an order over all logs, windows would hold the wrong ten.
    """
    admin, topic = AdminClient({"bootstrap.servers": deployment.bootstrap}), deployment.input_topic
    score_all(deployment, seed=1)
    grow(admin, topic, 5)
    score_all(deployment, seed=2, events=700)
    produce(deployment.bootstrap, topic, traffic(300, users=50, seed=3))  # nobody has scored these
    done = reset(deployment, "--rebuild", "--json")
    assert done.returncode == 0, done.stderr
    rebuilt = {each["partition"]: each for each in json.loads(done.stdout)}
    assert len(rebuilt) == 5
    assert sum(each["waiting_elsewhere"] for each in rebuilt.values()) == 0
    score_all(deployment, seed=4, events=1_000)

    records = read_topic(deployment.bootstrap, topic)
    by_partition, by_user = replay(records, bundle), replay(in_time(records), bundle, home=home_among(5))
    scored_before = {source for source in by_partition.scores if source[1] < rebuilt[source[0]]["after"]}
    of_scored = [r for r in records if (r.partition(), r.offset()) in scored_before]
    assert sum(each["events"] for each in rebuilt.values()) == len(scored_before)
    assert (
        sum(each["from_others"] for each in rebuilt.values())
        == sum(home_among(5)(r) != r.partition() for r in of_scored)
        > 500
    )
    expected = Expected(
        by_user.scores | {source: by_partition.scores[source] for source in scored_before},
        by_user.bad,
        by_user.windows,
        by_partition.ends,
    )
    assert expected.scores != by_user.scores, "nobody moved, and the test shows nothing"
    judged_as(expected, deployment)


def test_partitions_can_be_added_so_that_no_score_differs(deployment: Deployment, bundle: LoadedBundle) -> None:
    """Nobody runs while they are added, and windows move before anything is scored on the new ones."""
    admin, topic = AdminClient({"bootstrap.servers": deployment.bootstrap}), deployment.input_topic
    score_all(deployment, seed=1)
    grow(admin, topic, 4)
    produce(deployment.bootstrap, topic, traffic(300, users=50, seed=2))
    assert reset(deployment, "--rebuild").returncode == 0
    score_all(deployment, seed=3, events=500)
    records = in_time(read_topic(deployment.bootstrap, topic))
    expected = replay(records, bundle, home=home_among(4))
    expected.ends = replay(records, bundle).ends
    judged_as(expected, deployment)


@pytest.mark.parametrize("meanwhile", ["killed", "a scorer is started"])
def test_a_rebuild_that_does_not_end_leaves_what_a_scorer_can_rebuild(
    deployment: Deployment, bundle: LoadedBundle, meanwhile: str
) -> None:
    """Without marks that say that windows are not whole, a scorer would go on with windows that lack events."""
    score_all(deployment, seed=1)
    process = subprocess.Popen(
        [sys.executable, "-c", HALF_REBUILT, "reset", "--rebuild"],
        env=deployment.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        if meanwhile == "killed":
            process.kill()
        scorer = deployment.scorer().wait_until_ready()
        if meanwhile != "killed":
            _, error = process.communicate("go on\n")
            assert process.returncode == 1
            assert "stop all scorers and run it again" in error
            assert "Traceback" not in error
    assert scorer.log_text.count('"cause": "windows-lost"') == 3
    assert scorer.stop() == 0
    score_all(deployment, seed=2, events=500)
    expected, verdict = verdict_of(bundle, deployment)
    assert verdict.right, verdict
    windows = f"tenfold:{{{deployment.group_id}:{deployment.input_topic}:*"
    with redis.Redis.from_url(deployment.redis_url) as client:  # a scorer drops what is left, beside its scoring
        scorer = deployment.scorer().wait_until_ready()
        scorer.process.wait_until(lambda: len(client.keys(windows)) == 3 + len(expected.windows), 60)
    assert scorer.stop() == 0


#: ``tenfold``, which says so and waits for a line when it has saved some of the windows of a rebuild.
HALF_REBUILT = """
import sys
from stream import cli, held_windows

def move_one(self, mark, users, windows):
    move(self, mark, users, windows)
    if users and not said:
        said.append(print("half", flush=True))
        sys.stdin.readline()

held_windows._SLICE = 20
move, held_windows.HeldWindows._move, said = held_windows.HeldWindows._move, move_one, []
cli.main()
"""


def home_among(partitions: int) -> Callable[[Message], int]:
    return lambda record: int(partitions_of([record.key()], partitions, "murmur2")[0])


def in_time(records: list[Message]) -> list[Message]:
    return sorted(records, key=lambda record: record.timestamp()[1])


def judged_as(expected: Expected, deployment: Deployment) -> None:
    scores = read_topic(deployment.bootstrap, deployment.output_topic)
    verdict = judge(expected, scores, read_topic(deployment.bootstrap, deployment.dlq_topic))
    verdict.wrong_windows = wrong_windows(expected, deployment.redis_url, deployment.group_id, deployment.input_topic)
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
    assert "has 1 running scorer: stop what runs" in refused.stderr
    assert "Traceback" not in refused.stderr
    scorer.stop()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--to-offset", "999999"], 1, "999999 is not among them"),
        (["--to-datetime", "yesterday"], 2, "is not an RFC 3339 time"),
        (["--to-earliest", "--rebuild"], 2, "give one of --rebuild"),
        ([], 2, "give one of --rebuild"),
    ],
)
def test_what_cannot_be_is_one_line(deployment: Deployment, arguments: list[str], code: int, words: str) -> None:
    refused = reset(deployment, *arguments)
    assert refused.returncode == code
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr
