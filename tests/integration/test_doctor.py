"""``tenfold doctor`` on a real Kafka and a real Redis: in order it warns of nothing, and what is broken it names."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from stream.doctor import examine
from stream.doctor_finding import Finding, Severity
from stream.plurals import count_of
from stream.settings import Settings
from tests.brokers import RedisServer
from tests.bundles import make_bundle
from tests.conftest import GivenKafka, OwnKafka
from tests.kafka_tools import with_kafka_tools
from tests.processes import free_port
from tests.redis_servers import RedisNodes
from tests.scorers import Deployment
from tests.topics import Topics
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker

DAY_MS = 86_400_000
OF_THE_MACHINE = {"redis-slow"}  # true of one that runs many tests at once


@pytest.fixture
def healthy(
    topics: Topics, kafka: OwnKafka | GivenKafka, redis_url: str, group_id: str, tmp_path: Path
) -> Callable[..., Deployment]:
    """Make a deployment as the documentation wants it; what it is given is wrong with it."""

    (tmp_path / "store").mkdir()

    def make(partitions: int = 3, dlq_bytes: int = 2_097_176, **of_input: str) -> Deployment:
        return Deployment(
            kafka.bootstrap,
            redis_url,
            group_id,
            tmp_path,
            topics.create("transactions", partitions, {"retention.ms": "-1", **of_input}),
            topics.create("fraud-scores", partitions),
            topics.create("transactions.dlq", 1, {"max.message.bytes": str(dlq_bytes)}),
            {"TENFOLD_MODEL_STORE": str(tmp_path / "store"), "TENFOLD_ARCHIVE": ""},
        )

    return make


def looked_at(deployment: Deployment, *, write: bool = True, users: int | None = None, **changes: str) -> list[Finding]:
    given = {
        "bootstrap_servers": deployment.bootstrap,
        "redis_url": deployment.redis_url,
        "group_id": deployment.group_id,
        "input_topic": deployment.input_topic,
        "output_topic": deployment.output_topic,
        "dlq_topic": deployment.dlq_topic,
        "model_store": deployment.directory / "store",
        **changes,
    }
    return examine(Settings(**given), users, write=write)  # type: ignore[arg-type]


def bad(findings: list[Finding]) -> list[str]:
    return sorted(
        each.code for each in findings if each.severity >= Severity.WARNING and each.code not in OF_THE_MACHINE
    )


def codes(findings: list[Finding]) -> set[str]:
    return {each.code for each in findings}


def doctor(deployment: Deployment, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: PLW1510 -- the exit code is looked at
        [sys.executable, "-m", "stream", "doctor", *arguments],
        env=deployment.environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )


@contextmanager
def joined(deployment: Deployment, client_id: str) -> Iterator[str]:
    """Have somebody else in the scorers' group, with what is yielded: partitions of the input topic, in words."""
    stranger = Consumer(
        {
            "bootstrap.servers": deployment.bootstrap,
            "group.id": deployment.group_id,
            "client.id": client_id,
            "partition.assignment.strategy": "range",
            "enable.auto.commit": False,
        }
    )
    stranger.subscribe([deployment.input_topic])
    deadline = time.monotonic() + 60
    while not stranger.assignment():
        stranger.poll(0.1)
        assert time.monotonic() < deadline, "the group has given it nothing"
    numbers = sorted(each.partition for each in stranger.assignment())
    yield f"{count_of(len(numbers), 'partition')} ({', '.join(map(str, numbers))})"
    stranger.close()


def test_in_order_it_warns_of_nothing_and_leaves_nothing(healthy: Callable[..., Deployment]) -> None:
    deployment = healthy()
    findings = looked_at(deployment)

    assert bad(findings) == [], findings
    assert {"kafka", "redis", "bundle", "may-read", "may-write", "retention", "start-fresh-group"} <= codes(findings)
    assert Counter(each.code for each in findings).most_common(1)[0][1] == 1, "each thing is said once"
    with redis.Redis.from_url(deployment.redis_url) as client:
        assert client.dbsize() == 0
    reader = Consumer(
        {
            "bootstrap.servers": deployment.bootstrap,
            "group.id": deployment.group_id,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    reader.assign(
        [TopicPartition(topic, 0, OFFSET_BEGINNING) for topic in (deployment.output_topic, deployment.dlq_topic)]
    )
    read = [reader.poll(60) for _ in range(2)]
    assert all(message is not None and message.error() is not None for message in read)  # their ends, and no record
    assert [each.offset for each in reader.committed([TopicPartition(deployment.input_topic, 0)], 60)] == [-1001]
    reader.close()


def test_without_writing_the_outputs_stay_untouched(healthy: Callable[..., Deployment]) -> None:
    deployment = healthy()
    findings = looked_at(deployment, write=False)

    assert "may-write" not in codes(findings)
    reader = Consumer({"bootstrap.servers": deployment.bootstrap, "group.id": "looks"})
    assert reader.get_watermark_offsets(TopicPartition(deployment.output_topic, 0), 60) == (0, 0)
    reader.close()


def test_a_redis_that_was_emptied_is_told_before_the_start(healthy: Callable[..., Deployment]) -> None:
    deployment = healthy()
    produce(deployment.bootstrap, deployment.input_topic, traffic(300, users=20, seed=1))
    scorer = deployment.scorer()
    deployment.wait_until_scored([scorer])
    running = looked_at(deployment)
    assert bad(running) == [], running
    assert "1 scorer running" in next(each.what for each in running if each.code == "lag")
    assert scorer.stop() == 0

    assert "start-none" in codes(looked_at(deployment))
    with redis.Redis.from_url(deployment.redis_url) as client:
        client.flushall()
    emptied = looked_at(deployment)
    assert bad(emptied) == ["start-windows-lost"]
    finding = next(each for each in emptied if each.code == "start-windows-lost")
    assert "would rebuild all 3 partitions from the log" in finding.what


def test_a_stranger_that_reads_with_the_scorers_group_is_one_finding(healthy: Callable[..., Deployment]) -> None:
    deployment = healthy()
    deployment.scorer(TENFOLD_INSTANCE_ID="a").wait_until_ready()
    alone = looked_at(deployment)
    assert bad(alone) == [], alone

    with joined(deployment, "reports") as taken:
        beside = looked_at(deployment)
    assert bad(beside) == ["stranger-in-group"]
    [finding] = [each for each in beside if each.code == "stranger-in-group"]
    assert f"reports (127.0.0.1) holds {taken}" in finding.what
    assert "1 scorer running" in next(each.what for each in beside if each.code == "lag")


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"partitions": 1}, "one-partition"),
        ({"retention.ms": str(7 * DAY_MS)}, "retention-short"),
        ({"retention.bytes": "1000000000"}, "retention-bytes"),
        ({"cleanup.policy": "compact"}, "compacted"),
        ({"dlq_bytes": 1_048_588}, "dead-letters-cut"),
    ],
)
def test_a_topic_that_is_wrong_is_one_finding(
    healthy: Callable[..., Deployment], tmp_path: Path, wrong: dict[str, object], code: str
) -> None:
    deployment = healthy(**wrong)
    findings = looked_at(deployment, write=False)
    assert bad(findings) == [code]

    [command] = [each.command for each in findings if each.code == code]
    if not command:
        assert code == "one-partition", "which is not a matter of one command"
        return
    subprocess.run(command, shell=True, env={"PATH": with_kafka_tools(tmp_path)}, check=True)  # noqa: S602 -- as typed
    assert bad(looked_at(deployment, write=False)) == []


def test_topics_that_are_not_there_are_one_finding_and_exit_code_1(healthy: Callable[..., Deployment]) -> None:
    deployment = healthy(partitions=2)
    deployment.output_topic, deployment.dlq_topic = (f"{deployment.group_id}-{name}" for name in ("scores", "dlq"))
    done = doctor(deployment, "--json", "--no-write")

    assert done.returncode == 1
    [wrong] = [each for each in json.loads(done.stdout) if each["severity"] == "error"]
    assert wrong["code"] == "topic-missing"
    assert f"{deployment.output_topic}, {deployment.dlq_topic}" in wrong["what"]
    assert "Traceback" not in done.stderr

    words = wrong["command"].removeprefix("tenfold ").split()
    env = deployment.environment(TENFOLD_LABELS_TOPIC=f"{deployment.group_id}-labels")
    subprocess.run([sys.executable, "-m", "stream", *words], env=env, check=True)
    assert "--partitions 2" in wrong["command"]
    assert bad(looked_at(deployment, write=False)) == []


def test_warnings_fail_only_if_strict(healthy: Callable[..., Deployment]) -> None:
    deployment = healthy(partitions=1)

    lenient = doctor(deployment, "--no-write")
    assert lenient.returncode == 0, lenient.stdout + lenient.stderr
    assert lenient.stdout.splitlines()[-1].startswith("0 errors, 1 warning, ")
    assert doctor(deployment, "--no-write", "--strict").returncode == 1


def test_an_evicting_redis_is_one_finding(healthy: Callable[..., Deployment], own_redis: RedisServer) -> None:
    own_redis.start("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")

    assert bad(looked_at(healthy(), write=False, redis_url=own_redis.url)) == ["redis-evicts"]


def test_a_redis_without_room_for_the_users_is_one_finding(
    healthy: Callable[..., Deployment], own_redis: RedisServer
) -> None:
    deployment = healthy()
    own_redis.start("--maxmemory", "64mb")

    assert bad(looked_at(deployment, write=False, redis_url=own_redis.url, users=1_000_000)) == ["redis-too-small"]
    assert bad(looked_at(deployment, write=False, redis_url=own_redis.url, users=10_000)) == []


def test_windows_of_another_kafka_are_one_finding(healthy: Callable[..., Deployment], redis_url: str) -> None:
    deployment = healthy()
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"tenfold:{{{deployment.group_id}:{deployment.input_topic}}}:kafka", "another-cluster")

    assert bad(looked_at(deployment, write=False)) == ["other-kafka"]


def test_every_primary_of_a_cluster_is_looked_at(healthy: Callable[..., Deployment], redis_nodes: RedisNodes) -> None:
    findings = looked_at(healthy(), redis_url=redis_nodes.url)

    assert bad(findings) == []
    assert [each.code for each in findings].count("redis-memory") == len(redis_nodes.nodes) == 3


def test_a_challenger_without_a_topic_is_one_finding(healthy: Callable[..., Deployment], tmp_path: Path) -> None:
    make_bundle(tmp_path / "store" / "test-baseline")
    (tmp_path / "store" / "challenger").write_text("test-baseline")
    findings = looked_at(healthy(), write=False, shadow_topic="never-made")

    assert [each.code for each in findings if each.severity is Severity.ERROR] == ["topic-missing"]


def test_a_changed_bundle_is_one_finding(healthy: Callable[..., Deployment], tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "changed")
    file = bundle / "model.onnx"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes() + b"x")

    assert bad(looked_at(healthy(), write=False, model=str(bundle))) == ["bundle-refused"]


def test_a_store_that_is_named_and_not_there_is_one_finding(healthy: Callable[..., Deployment]) -> None:
    deployment = healthy()

    assert "starter-in-force" in [each.code for each in looked_at(deployment, write=False)]
    assert bad(looked_at(deployment, write=False, model_store="nowhere")) == ["bundle-refused"]


def test_what_is_away_is_one_finding_each(healthy: Callable[..., Deployment]) -> None:
    deployment, nobody = healthy(), f"127.0.0.1:{free_port()}"

    assert bad(looked_at(deployment, redis_url=f"redis://{nobody}/0", write=False)) == ["redis-away"]
    assert bad(looked_at(deployment, bootstrap_servers=nobody)) == ["kafka-away"]


def test_a_record_of_the_future_is_one_finding(healthy: Callable[..., Deployment]) -> None:
    deployment = healthy()
    producer = Producer({"bootstrap.servers": deployment.bootstrap})
    producer.produce(deployment.input_topic, b"{}", b"user", timestamp=int(time.time() * 1000) + 1_800_000)
    assert producer.flush(60) == 0

    assert bad(looked_at(deployment, write=False)) == ["records-of-the-future"]
