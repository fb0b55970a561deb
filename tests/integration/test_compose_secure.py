"""The users and rights of deploy/compose.secure.yml, on a real broker and a real Redis that take nobody else."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient

from deploy.secure import make_secrets, rights
from deploy.secure.make_secrets import ERASURE, OWNERS
from stream.profile_layout import buckets_of
from stream.settings import CONFIG_FILE, load
from stream.topics import create_topics
from tests.brokers import KafkaBroker, find_redis_server
from tests.kafka_jars import PartMissingError
from tests.processes import ChildProcess, accepts_connections, free_port, http_get
from tests.traffic import traffic

pytestmark = pytest.mark.broker

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.secure.yml").read_text())["services"]


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Certificates and passwords, made as the job of the compose file makes them, for parts on this machine."""
    place = tmp_path / "secrets"
    monkeypatch.setattr(make_secrets, "PLACE", place)
    monkeypatch.setenv("KAFKA_PORT", "9092")
    for owner in OWNERS:
        (place / owner).mkdir(parents=True)
    make_secrets.main()
    for file in place.glob("*/tenfold.toml"):  # no volumes here, and Redis is not at the name in its certificate
        file.chmod(0o644)
        here = file.read_text().replace("/secrets/", f"{file.parent}/")
        file.write_text(here.replace("[redis]\n", "[redis]\nssl_check_hostname = false\n"))
    return place


@pytest.fixture
def redis_port(secrets: Path, tmp_path: Path) -> Iterator[int]:
    """Redis as the compose file runs it."""
    try:
        program = find_redis_server()
    except PartMissingError as missing:
        pytest.skip(str(missing))
    port, options = (
        free_port(),
        [part.replace("/secrets", str(secrets / "redis")) for part in SERVICES["redis"]["command"]],
    )
    options[options.index("/data")] = str(tmp_path)
    options[options.index("--tls-port") + 1] = str(port)
    server = ChildProcess([program, *options[1:], "--bind", "127.0.0.1"], tmp_path / "redis.log")
    server.wait_until(lambda: accepts_connections(port), 60)
    yield port
    server.end(signal.SIGTERM)


@pytest.fixture
def kafka_ports(secrets: Path, tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Kafka with the listeners INTERNAL and ADMIN of the compose file; and one for the test's own looks."""
    internal, admin, controller, plain = free_port(), free_port(), free_port(), "$port"
    environment = SERVICES["kafka"]["environment"]
    settings = {
        name.removeprefix("KAFKA_").replace("___", "-").lower().replace("_", "."): value.replace(
            "/secrets", str(secrets / "kafka")
        )
        for name, value in environment.items()
    }
    listeners = f"PLAINTEXT://127.0.0.1:{plain},INTERNAL://127.0.0.1:{internal},ADMIN://127.0.0.1:{admin}"
    settings |= {
        "listeners": f"{listeners},CONTROLLER://localhost:{controller}",
        "advertised.listeners": listeners,
        "controller.quorum.voters": f"1@localhost:{controller}",
        "listener.security.protocol.map": settings["listener.security.protocol.map"] + ",PLAINTEXT:PLAINTEXT",
        "super.users": settings["super.users"] + ";User:ANONYMOUS",
    }
    try:
        broker = KafkaBroker(tmp_path, "\n".join(f"{name}={value}" for name, value in settings.items()))
    except PartMissingError as missing:
        pytest.skip(str(missing))
    broker.start()
    yield internal, admin
    broker.discard()


def redis_client(secrets: Path, port: int, username: str | None, password: str | None) -> redis.Redis:
    trusted = {"ssl": True, "ssl_ca_certs": str(secrets / "redis" / "ca.pem"), "ssl_check_hostname": False}
    return redis.Redis("127.0.0.1", port, username=username, password=password, **trusted)


def known(secrets: Path, port: int, role: str) -> redis.Redis:
    """Return a client of Redis under a role's name."""
    passwords = json.loads((secrets / "admin" / "passwords.json").read_text())
    return redis_client(secrets, port, role, passwords[role])


def test_redis_lets_each_user_to_its_keys_and_nobody_else(secrets: Path, redis_port: int) -> None:
    def client(username: str | None, password: str | None) -> redis.Redis:
        return redis_client(secrets, redis_port, username, password)

    scorer, profiles, monitor = (known(secrets, redis_port, role) for role in ("scorer", "profiles", "monitor"))
    assert monitor.set("tenfold:{g:monitor:1}:forgotten", "1")
    assert scorer.set("tenfold:{g:t:0}:mark", "1")
    assert profiles.set("tenfold:profiles:t:d", "2")
    assert scorer.get("tenfold:profiles:t:d") == b"2"
    assert scorer.info("memory")["maxmemory_policy"] == "noeviction"
    for denied in (
        lambda: profiles.get("tenfold:{g:t:0}:mark"),
        lambda: scorer.set("tenfold:profiles:t:d", "3"),
        lambda: scorer.set("other", "1"),
        lambda: monitor.get("tenfold:{g:t:0}:mark"),
        scorer.flushall,
        scorer.config_get,
    ):
        with pytest.raises(redis.exceptions.NoPermissionError):
            denied()
    for stranger in (client(None, None), client("scorer", "wrong"), client("default", None)):
        with pytest.raises(redis.exceptions.AuthenticationError):
            stranger.ping()


def test_who_erases_finds_and_removes_and_reads_nothing(secrets: Path, redis_port: int, tmp_path: Path) -> None:
    scorer, profiles, erasure = (known(secrets, redis_port, role) for role in ("scorer", "profiles", ERASURE))
    mark, window = "tenfold:{tenfold:transactions:0}:mark", "tenfold:{tenfold:transactions:0}:e:anna"
    bucket = buckets_of([b"anna"])[0]
    table = f"tenfold:profiles:{{transactions:utc+7d:{bucket}}}:1f:user"
    for key in (mark, window):
        assert scorer.set(key, "1")
    assert profiles.hset(table, mapping={"anna": "1", "otto": "1"}) == 2
    for denied in (
        lambda: erasure.get(window),
        lambda: erasure.hgetall(table),
        lambda: erasure.set(window, "2"),
        lambda: erasure.unlink(mark),
        lambda: erasure.unlink("other"),
    ):
        with pytest.raises(redis.exceptions.NoPermissionError):
            denied()

    (tmp_path / "archive").mkdir()
    environment = {
        "TENFOLD_CONFIG": str(secrets / ERASURE / "tenfold.toml"),
        "TENFOLD_REDIS_URL": f"rediss://127.0.0.1:{redis_port}/0",
        "TENFOLD_ARCHIVE": str(tmp_path / "archive"),
    }
    command = [sys.executable, "-m", "stream", "erase-user", "anna", "--json"]
    ran = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    erased = json.loads(ran.stdout)
    assert (erased["windows"], erased["profiles"], erased["complete"]) == (1, 1, True)
    assert (scorer.get(window), scorer.get(mark), profiles.hkeys(table)) == (None, b"1", [b"otto"])


def test_each_role_does_its_work_and_nothing_else(
    secrets: Path, redis_port: int, kafka_ports: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    internal, admin = (f"127.0.0.1:{port}" for port in kafka_ports)
    monkeypatch.setattr(rights, "_SECRETS", secrets / "admin")

    def settings_of(role: str) -> dict[str, str]:
        return dict(load_as(role).kafka)

    def load_as(role: str) -> Any:
        monkeypatch.setenv(CONFIG_FILE, str(secrets / role / "tenfold.toml"))
        return load(
            bootstrap_servers=admin if role == "admin" else internal, redis_url=f"rediss://127.0.0.1:{redis_port}/0"
        )

    create_topics(load_as("admin"), 2, 1)
    with monkeypatch.context() as job:
        job.setenv("TENFOLD_BOOTSTRAP_SERVERS", admin)
        rights.main()

    def refused_for(role: str, topic: str) -> str:
        producer = Producer({"bootstrap.servers": internal, "message.timeout.ms": 60_000, **settings_of(role)})
        told: list[str] = []
        producer.produce(topic, b"{}", on_delivery=lambda error, _: told.append(error.name() if error else ""))
        producer.flush(90)
        [answer] = told
        return answer

    assert refused_for("simulator", "fraud-labels") == ""
    assert refused_for("simulator", "fraud-scores") == "TOPIC_AUTHORIZATION_FAILED"
    assert refused_for("profiles", "transactions") == "TOPIC_AUTHORIZATION_FAILED"
    trust = {"security.protocol": "ssl", "ssl.ca.location": str(secrets / "client" / "ca.pem")}
    for stranger in ({}, trust, settings_of("scorer") | {"sasl.password": "wrong"}):
        for address in (internal, admin):
            with pytest.raises(KafkaException):
                AdminClient({"bootstrap.servers": address, "log_level": 0, **stranger}).list_topics(timeout=5)

    producer = Producer({"bootstrap.servers": internal, "partitioner": "murmur2_random", **settings_of("simulator")})
    for record in traffic(40, users=5, seed=1, bad_share=0):
        producer.produce("transactions", key=record.key, value=record.value)
    assert producer.flush(60) == 0
    started: list[ChildProcess] = []
    commands = {
        "scorer": ["score"],
        "archiver": ["archive", "run", "--max-age", "1"],
        "monitor": ["monitor", "--to", str(tmp_path / "quality")],
    }
    places = {role: free_port() for role in commands}
    for role, arguments in commands.items():
        environment = {
            "TENFOLD_CONFIG": str(secrets / role / "tenfold.toml"),
            "TENFOLD_BOOTSTRAP_SERVERS": internal,
            "TENFOLD_REDIS_URL": f"rediss://127.0.0.1:{redis_port}/0",
            "TENFOLD_ARCHIVE": str(tmp_path / "archive") if role == "archiver" else "",
            "TENFOLD_METRICS_PORT": str(places[role]),
        }
        command = ["env", *(f"{name}={value}" for name, value in environment.items()), sys.executable, "-m", "stream"]
        started.append(ChildProcess([*command, *arguments], tmp_path / f"{role}.log"))

    def has(role: str, sample: str) -> Callable[[], bool]:
        return lambda: sample in http_get(places[role], "/metrics")[1].splitlines()

    try:
        started[0].wait_until(has("scorer", "tenfold_scores_total 40.0"), 120)
        started[1].wait_until(has("archiver", 'tenfold_archive_rows_total{topic="fraud-scores"} 40.0'), 120)
        started[2].wait_until(has("monitor", 'tenfold_monitor_records_total{topic="fraud-scores"} 40.0'), 120)
    finally:
        for process in started:
            process.end(signal.SIGTERM)
