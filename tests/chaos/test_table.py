"""Each row of the table of recovery: what a start makes of the offsets, the marks and the log that it finds."""

import subprocess
import sys

import pytest
import redis
from confluent_kafka import ConsumerGroupTopicPartitions, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from models.bundle import LoadedBundle
from tests.chaos.faults import judged, until
from tests.chaos.ledger import held, note
from tests.oracle import Expected, judge, read_topic, replay, wrong_windows
from tests.scorers import Deployment, Scorer, verdict_of
from tests.topics import create_again
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker

_CALL_S = 30.0


@pytest.fixture
def admin(deployment: Deployment) -> AdminClient:
    return AdminClient({"bootstrap.servers": deployment.bootstrap})


def send(deployment: Deployment, events: int, seed: int) -> None:
    produce(deployment.bootstrap, deployment.input_topic, traffic(events, users=200, seed=seed))


def scored(deployment: Deployment) -> Scorer:
    """Return a scorer that has scored everything and was stopped."""
    scorer = deployment.scorer()
    deployment.wait_until_scored([scorer])
    until(lambda: scorer.get("/readyz")[0] == 200, 30, "not ready", scorer)
    scorer.metrics = scorer.get("/metrics")[1]  # type: ignore[attr-defined]
    assert scorer.stop() == 0
    return scorer


def committed(deployment: Deployment, admin: AdminClient) -> dict[int, int]:
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(deployment.group_id)])
    found = asked[deployment.group_id].result(_CALL_S).topic_partitions or []
    return {position.partition: position.offset for position in found}


def move(deployment: Deployment, admin: AdminClient, offsets: dict[int, int]) -> None:
    positions = [TopicPartition(deployment.input_topic, *place) for place in offsets.items()]
    moved = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(deployment.group_id, positions)])
    assert all(position.error is None for position in moved[deployment.group_id].result(_CALL_S).topic_partitions)
    note("offsets moved by hand")


def truncate(deployment: Deployment, admin: AdminClient, starts: dict[int, int]) -> None:
    """Move the log's starts, as retention does."""
    positions = [TopicPartition(deployment.input_topic, *place) for place in starts.items()]
    for deleted in admin.delete_records(positions).values():
        deleted.result(_CALL_S)
    note("the log's start moved")


def inputs(deployment: Deployment) -> list[Message]:
    return read_topic(deployment.bootstrap, deployment.input_topic)


def right(deployment: Deployment, expected: Expected) -> None:
    """Hold what was published against an expectation that is not simply the replay of the topic."""
    scores = read_topic(deployment.bootstrap, deployment.output_topic)
    verdict = judge(expected, scores, read_topic(deployment.bootstrap, deployment.dlq_topic))
    verdict.wrong_windows = wrong_windows(expected, deployment.redis_url, deployment.group_id, deployment.input_topic)
    held(verdict)


def test_offsets_moved_back(deployment: Deployment, admin: AdminClient, bundle: LoadedBundle) -> None:
    """What is behind the offsets is scored once more, with the same scores; the windows count it once.

    Without a new epoch, the windows would already hold the events that are scored again, and those behind them.
    """
    send(deployment, 3_000, seed=1)
    scored(deployment)
    back = {partition: offset // 2 for partition, offset in committed(deployment, admin).items()}
    move(deployment, admin, back)
    send(deployment, 500, seed=2)
    again = scored(deployment)
    assert again.log_text.count('"cause": "moved-back"') == 3

    first_run = 3_000
    expected, verdict = verdict_of(bundle, deployment)
    twice = {source for source in expected.scores if source[1] >= back[source[0]]}
    dead_twice = {source for source in expected.bad if source[1] >= back[source[0]]}
    new = len(expected.scores) + len(expected.bad) - first_run
    assert (verdict.missing, verdict.different, verdict.wrong_windows, verdict.dead_missing) == (0, 0, 0, 0), verdict
    assert verdict.doubled + verdict.dead_doubled == len(twice) + len(dead_twice) - new


def test_offsets_moved_forward(deployment: Deployment, admin: AdminClient, bundle: LoadedBundle) -> None:
    """What is skipped has no score, and is in the windows all the same.

    Without reading from the mark to the offset, the users' next scores would not know what happened in between.
    """
    send(deployment, 2_000, seed=1)
    scored(deployment)
    before = committed(deployment, admin)
    send(deployment, 1_500, seed=2)
    forward = {partition: offset + 200 for partition, offset in before.items()}
    move(deployment, admin, forward)
    again = scored(deployment)
    assert again.log_text.count('"cause": "windows-behind"') == 3

    expected = replay(inputs(deployment), bundle)

    def skipped(source: tuple[int, int]) -> bool:
        return before[source[0]] <= source[1] < forward[source[0]]

    expected.scores = {source: score for source, score in expected.scores.items() if not skipped(source)}
    expected.bad = {source for source in expected.bad if not skipped(source)}
    right(deployment, expected)


def test_offsets_deleted(deployment: Deployment, admin: AdminClient, bundle: LoadedBundle) -> None:
    """As when they expire. The mark says where to go on; without that, everything would be scored again, or skipped."""
    send(deployment, 2_000, seed=1)
    scored(deployment)
    admin.delete_consumer_groups([deployment.group_id])[deployment.group_id].result(_CALL_S)
    note("offsets deleted")
    send(deployment, 1_000, seed=2)
    again = scored(deployment)
    assert again.log_text.count('"cause": "never-committed"') == 3
    judged(bundle, deployment, 3_000)


@pytest.mark.long
def test_redis_emptied_while_nobody_runs(deployment: Deployment, bundle: LoadedBundle) -> None:
    """Without the rebuild from the log, every user would begin anew."""
    send(deployment, 2_000, seed=1)
    scored(deployment)
    with redis.Redis.from_url(deployment.redis_url) as client:
        client.flushall()
    note("FLUSHALL")
    send(deployment, 1_000, seed=2)
    again = scored(deployment)
    assert again.log_text.count('"cause": "windows-lost"') == 3
    judged(bundle, deployment, 3_000)


def test_the_log_begins_behind_the_offsets(deployment: Deployment, admin: AdminClient, bundle: LoadedBundle) -> None:
    """Retention took events before they were scored: they are counted, and windows begin where the log does.

    Without a new epoch, windows would skip the lost events as if nothing had happened; without the count, nobody
    would know; without ``auto.offset.reset=error``, the consumer would have moved on by itself.
    """
    send(deployment, 2_000, seed=1)
    scored(deployment)
    ends = committed(deployment, admin)
    first = replay(inputs(deployment), bundle)
    send(deployment, 1_500, seed=2)
    starts = {partition: offset + 150 for partition, offset in ends.items()}
    truncate(deployment, admin, starts)
    again = scored(deployment)
    assert again.log_text.count('"cause": "events-lost"') == 3
    assert "tenfold_events_lost_total 450.0" in again.metrics  # type: ignore[attr-defined]

    expected = replay(inputs(deployment), bundle)
    expected.scores |= first.scores
    expected.bad |= first.bad
    right(deployment, expected)


def test_a_rebuild_from_a_log_that_does_not_reach_back(
    deployment: Deployment, admin: AdminClient, bundle: LoadedBundle
) -> None:
    """What the log does not have, no window has; it is said, and the scores tell their short ``window_length``."""
    send(deployment, 2_000, seed=1)
    scored(deployment)
    first = replay(inputs(deployment), bundle)
    truncate(deployment, admin, {p: offset - 100 for p, offset in committed(deployment, admin).items()})
    with redis.Redis.from_url(deployment.redis_url) as client:
        client.flushall()
    note("FLUSHALL")
    send(deployment, 1_000, seed=2)
    again = scored(deployment)
    assert again.log_text.count('"cause": "windows-lost"') == 3
    assert "tenfold_history_lost_total 3.0" in again.metrics  # type: ignore[attr-defined]

    expected = replay(inputs(deployment), bundle)
    expected.scores |= first.scores  # those that were there before were scored with all of their past
    expected.bad |= first.bad
    right(deployment, expected)


@pytest.mark.parametrize(
    ("events", "running"),
    [
        pytest.param(600, False, marks=pytest.mark.long, id="shorter-stopped"),
        pytest.param(600, True, id="shorter-running"),
        pytest.param(4_000, False, id="longer-stopped"),
        pytest.param(4_000, True, marks=pytest.mark.long, id="longer-running"),
    ],
)
def test_the_topic_is_deleted_and_created_again(
    deployment: Deployment, admin: AdminClient, bundle: LoadedBundle, running: bool, events: int
) -> None:
    """A topic of the same name is another log: all of it is scored, on windows that begin with it.

    Without the topic's id in the mark, a new topic that has grown past the old offsets would be taken for the old one,
    its first events would be skipped, and old windows would go on.
    """
    send(deployment, 2_000, seed=1)
    scorer = deployment.scorer()
    deployment.wait_until_scored([scorer])
    if not running:
        assert scorer.stop() == 0
    outputs = [deployment.output_topic, deployment.dlq_topic]
    old = {topic: {(m.partition(), m.offset()) for m in read_topic(deployment.bootstrap, topic)} for topic in outputs}
    admin.delete_topics([deployment.input_topic])[deployment.input_topic].result(_CALL_S)
    create_again(admin, deployment.input_topic, 3)
    note("the input topic deleted and made again")
    send(deployment, events, seed=2)
    if not running:
        scorer = deployment.scorer()
    deployment.wait_until_scored([scorer])
    until(lambda: scorer.get("/readyz")[0] == 200, 60, "not ready", scorer)
    dropped = '"dropped the windows of the old epoch"'
    until(lambda: scorer.log_text.count(dropped) == 3, 60, "old windows are still there", scorer)
    assert scorer.stop() == 0

    expected = replay(inputs(deployment), bundle)
    new = {
        topic: [m for m in read_topic(deployment.bootstrap, topic) if (m.partition(), m.offset()) not in old[topic]]
        for topic in outputs
    }
    verdict = judge(expected, *new.values())
    verdict.wrong_windows = wrong_windows(expected, deployment.redis_url, deployment.group_id, deployment.input_topic)
    held(verdict)
    with redis.Redis.from_url(deployment.redis_url) as client:
        kept = [
            key
            for key in client.keys(f"tenfold:{{{deployment.group_id}:*")
            if not key.endswith((b":partitions", b":kafka"))
        ]
    assert len(kept) == 3 + len(expected.windows), "the old topic's windows are still there"


def test_windows_of_another_kafka(deployment: Deployment, admin: AdminClient, bundle: LoadedBundle) -> None:
    """As a test stage finds them that was given production's Redis: it leaves them alone, until it is told otherwise.

    Taken for those of a topic that was made again, they would be thrown away, and each of the two clusters would score
    all that it has anew whenever it found the other's.
    """
    key = f"tenfold:{{{deployment.group_id}:{deployment.input_topic}}}:kafka"
    send(deployment, 1_000, seed=1)
    with redis.Redis.from_url(deployment.redis_url) as client:
        client.set(key, "another-cluster")
        note("windows of another Kafka")
        refused = deployment.scorer()
        assert refused.process.wait() == 1
        assert "on another Kafka (cluster another-cluster" in refused.log_text.splitlines()[-1]
        assert committed(deployment, admin) == {}
        assert client.keys(f"tenfold:{{{deployment.group_id}:*") == [key.encode()]
    command = [sys.executable, "-m", "stream", "reset", "--to-earliest"]
    subprocess.run(command, env=deployment.environment(), check=True, stdout=subprocess.DEVNULL)
    scored(deployment)
    judged(bundle, deployment, 1_000)
