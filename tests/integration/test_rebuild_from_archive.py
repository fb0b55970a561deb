"""A rebuild whose log no longer reaches back begins with what the archive has."""

import subprocess
import sys
from pathlib import Path

import pytest
import redis
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from models.bundle import LoadedBundle
from tests.archivers import Archiving
from tests.oracle import judge, read_topic, replay, wrong_windows
from tests.scorers import Deployment, Scorer
from tests.topics import Topics
from tests.traffic import produce, traffic
from training.archive import Kind

pytestmark = pytest.mark.broker


@pytest.fixture
def archiving(deployment: Deployment, topics: Topics, tmp_path: Path) -> Archiving:
    names = {
        Kind.TRANSACTIONS: deployment.input_topic,
        Kind.LABELS: topics.create("fraud-labels", 1),
        Kind.SCORES: deployment.output_topic,
    }
    deployment.settings["TENFOLD_ARCHIVE"] = str(tmp_path / "archive")
    return Archiving(deployment.bootstrap, deployment.group_id, tmp_path, names)


def scored(deployment: Deployment) -> Scorer:
    scorer = deployment.scorer()
    deployment.wait_until_scored([scorer])
    assert scorer.stop() == 0
    return scorer


def test_windows_hold_what_only_the_archive_remembers(
    deployment: Deployment, archiving: Archiving, bundle: LoadedBundle
) -> None:
    """Redis is empty and the log begins later: without the archive, windows would be short, and scores other ones."""
    produce(deployment.bootstrap, deployment.input_topic, traffic(2_000, users=200, seed=1))
    scored(deployment)
    archiver = archiving.archiver("--max-rows", "200")
    archiving.wait_until_archived([archiver])
    assert archiver.stop() == 0

    past = read_topic(deployment.bootstrap, deployment.input_topic)
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap})
    ends = {record.partition(): record.offset() + 1 for record in past}
    starts = [TopicPartition(deployment.input_topic, partition, end - 100) for partition, end in ends.items()]
    for deleted in admin.delete_records(starts).values():
        deleted.result(30)
    with redis.Redis.from_url(deployment.redis_url) as client:
        client.flushall()
    produce(deployment.bootstrap, deployment.input_topic, traffic(1_000, users=200, seed=2))
    again = scored(deployment)

    assert again.log_text.count('"message": "the archive has what came before the log"') == 3
    expected = replay(
        [
            *past,
            *(r for r in read_topic(deployment.bootstrap, deployment.input_topic) if r.offset() >= ends[r.partition()]),
        ],
        bundle,
    )
    verdict = judge(
        expected,
        read_topic(deployment.bootstrap, deployment.output_topic),
        read_topic(deployment.bootstrap, deployment.dlq_topic),
    )
    verdict.wrong_windows = wrong_windows(expected, deployment.redis_url, deployment.group_id, deployment.input_topic)
    assert verdict.right, verdict

    command = [sys.executable, "-m", "stream", "reset", "--rebuild"]
    subprocess.run(command, env=deployment.environment(), check=True, capture_output=True)
    assert not wrong_windows(expected, deployment.redis_url, deployment.group_id, deployment.input_topic)


def test_an_archive_that_cannot_be_read_is_said_and_the_log_is_what_there_is(
    deployment: Deployment, archiving: Archiving, tmp_path: Path
) -> None:
    """A damaged file must not keep payments from being scored."""
    produce(deployment.bootstrap, deployment.input_topic, traffic(600, users=50, seed=1, bad_share=0))
    scored(deployment)
    archiver = archiving.archiver("--max-rows", "100")
    archiving.wait_until_archived([archiver])
    assert archiver.stop() == 0
    for file in (tmp_path / "archive" / deployment.input_topic).rglob("*.parquet"):
        file.write_bytes(b"PAR1 no more PAR1")
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap})
    starts = [TopicPartition(deployment.input_topic, partition, 10) for partition in range(3)]
    for deleted in admin.delete_records(starts).values():
        deleted.result(30)
    with redis.Redis.from_url(deployment.redis_url) as client:
        client.flushall()
    produce(deployment.bootstrap, deployment.input_topic, traffic(300, users=50, seed=2, bad_share=0))
    scorer = deployment.scorer()
    deployment.wait_until_scored([scorer])
    assert scorer.metric("tenfold_history_lost_total") == 3
    assert scorer.stop() == 0
    assert scorer.log_text.count('"message": "the archive cannot be read') == 3
