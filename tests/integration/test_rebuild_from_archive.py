"""A rebuild whose log no longer reaches back begins with what the archive has."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from models.bundle import LoadedBundle
from stream.pseudonyms import Pseudonyms
from tests.archivers import Archiving
from tests.oracle import Expected, judge, read_topic, replay, wrong_windows
from tests.scorers import Deployment, Scorer
from tests.topics import Topics, grow
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


def scored_from_the_archive(deployment: Deployment, bundle: LoadedBundle) -> Expected:
    """Empty Redis, cut the log short, score on, and return what must be there if the archive has the rest."""
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
    since = read_topic(deployment.bootstrap, deployment.input_topic)
    return replay([*past, *(record for record in since if record.offset() >= ends[record.partition()])], bundle)


def test_windows_hold_what_only_the_archive_remembers(
    deployment: Deployment, archiving: Archiving, bundle: LoadedBundle
) -> None:
    """Redis is empty and the log begins later: without the archive, windows would be short, and scores other ones."""
    produce(deployment.bootstrap, deployment.input_topic, traffic(2_000, users=200, seed=1))
    scored(deployment)
    archiver = archiving.archiver("--max-rows", "200")
    archiving.wait_until_archived([archiver])
    assert archiver.stop() == 0

    expected = scored_from_the_archive(deployment, bundle)
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


def test_an_archive_under_pseudonyms_gives_the_windows_that_one_in_clear_gives(
    deployment: Deployment, archiving: Archiving, bundle: LoadedBundle
) -> None:
    """Keys change, also after an archiver was killed: files in clear and of two generations are one archive."""
    keys = ["0a" * 32, "1b" * 32]
    newest = ",".join(reversed(keys))
    archiving.pseudonyms = Pseudonyms(tuple(map(bytes.fromhex, keys)))
    deployment.settings["TENFOLD_PSEUDONYM_KEYS"] = newest
    logs = []
    for seed, listed, killed in ((1, "", False), (2, keys[0], True), (3, newest, False)):
        if seed < 3:
            produce(deployment.bootstrap, deployment.input_topic, traffic(1_000, users=200, seed=seed))
        if seed == 2:
            scored(deployment)
        archiving.settings["PSEUDONYM_KEYS"] = listed
        archiver = archiving.archiver("--max-rows", "150", ending=("in-place", 2) if killed else None)
        if killed:  # once files are in place that are not committed
            archiver.wait_until_dead()
        else:
            archiving.wait_until_archived([archiver])
            assert archiver.stop() == 0
        logs.append(archiver.log_text)
    assert not any(re.search(r"user-\d|p\d\.\w{20}|0a0a|1b1b", log) for log in logs), "no user's id or name, and no key"
    assert tags_of(archiving) == ["", *archiving.pseudonyms.tags[1:]]

    rotation = [sys.executable, "-m", "stream", "archive", "rotate-pseudonyms", "--json"]
    for rewritten in (True, False):
        done = subprocess.run(
            rotation, env=archiving_environment(deployment, archiving), check=True, capture_output=True
        )
        topics = json.loads(done.stdout)["topics"].values()
        assert any(each["rewritten"] for each in topics) is rewritten
        assert tags_of(archiving) == [archiving.pseudonyms.tag]

    def under_names(expected: Expected) -> Expected:
        named = {(at, archiving.pseudonyms.of([user])[0]): entries for (at, user), entries in expected.windows.items()}
        return replace(expected, windows=named)

    expected = under_names(scored_from_the_archive(deployment, bundle))
    scores, dead = (read_topic(deployment.bootstrap, each) for each in (deployment.output_topic, deployment.dlq_topic))
    verdict = judge(expected, scores, dead)
    at = deployment.redis_url, deployment.group_id, deployment.input_topic
    verdict.wrong_windows = wrong_windows(expected, *at)
    assert verdict.right, verdict

    command = [sys.executable, "-m", "stream", "reset", "--rebuild"]
    subprocess.run(command, env=deployment.environment(), check=True, capture_output=True)
    assert not wrong_windows(expected, *at)

    erased = next(
        user.decode() for _, user in replay(read_topic(deployment.bootstrap, deployment.input_topic), bundle).windows
    )
    report = subprocess.run(
        [sys.executable, "-m", "stream", "erase-user", erased, "--json"],
        env=archiving_environment(deployment, archiving),
        check=True,
        capture_output=True,
    )
    found = json.loads(report.stdout)
    assert found["topics"][deployment.input_topic]["rows"] > 0
    assert found["windows"] == 1
    assert found["complete"]
    its_name = archiving.pseudonyms.of([erased.encode()])[0].decode()
    assert its_name not in {row["user_id"] for kind in archiving.topics for row in archiving.read(kind)}


def test_a_rebuild_under_keys_says_that_archived_users_stay_where_they_were_once_partitions_were_added(
    deployment: Deployment, archiving: Archiving
) -> None:
    """Also where the logs have nothing left of those who moved, or Redis has lost how many partitions there were."""
    key = "0a" * 32
    archiving.pseudonyms = Pseudonyms((bytes.fromhex(key),))
    deployment.settings["TENFOLD_PSEUDONYM_KEYS"] = archiving.settings["PSEUDONYM_KEYS"] = key
    produce(deployment.bootstrap, deployment.input_topic, traffic(600, users=50, seed=1, bad_share=0))
    scored(deployment)
    archiver = archiving.archiver("--max-rows", "100")
    archiving.wait_until_archived([archiver])
    assert archiver.stop() == 0
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap})
    ends = {each.partition(): each.offset() + 1 for each in read_topic(deployment.bootstrap, deployment.input_topic)}
    cut = [TopicPartition(deployment.input_topic, partition, end) for partition, end in ends.items()]
    for deleted in admin.delete_records(cut).values():
        deleted.result(30)

    def warned() -> bool:
        command = [sys.executable, "-m", "stream", "reset", "--rebuild"]
        done = subprocess.run(command, env=deployment.environment(), capture_output=True, text=True, check=True)
        return "is on the partitions where it was archived" in done.stderr

    assert not warned(), "nobody has moved"
    grow(admin, deployment.input_topic, 5)
    assert warned()
    with redis.Redis.from_url(deployment.redis_url) as client:
        client.flushall()
    assert warned()


def tags_of(archiving: Archiving) -> list[str]:
    """Return the keys that the archive's files are under, oldest first."""
    archive, found = archiving.archive, set()
    for name in [each for topic in archiving.topics.values() for each in archive.files(topic)]:
        with archive.open_file(name) as file:
            rows = file.read()
        found |= set(rows["pseudonyms"].to_pylist()) if "pseudonyms" in rows.schema.names else {""}
    return sorted(found)


def archiving_environment(deployment: Deployment, archiving: Archiving) -> dict[str, str]:
    return deployment.environment(TENFOLD_LABELS_TOPIC=archiving.topics[Kind.LABELS])


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
