"""Sentinel and a cluster over TLS, as the role scorer and with passwords that are not each other's."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from deploy.secure.make_secrets import REDIS_RIGHTS, Authority, redis_users
from models.window import Windows
from stream.redis_client import connect
from stream.redis_cluster import Cluster
from stream.settings import Settings
from stream.window_store import Load, Mark, Save, open_store
from tests.brokers import find_redis_server
from tests.kafka_jars import PartMissingError
from tests.processes import ChildProcess, accepts_connections, free_port
from tests.redis_servers import MASTER, SLOTS, port_beside_a_bus, until

pytestmark = pytest.mark.broker

PASSWORDS = {role: f"of-the-{role}" for role in (*REDIS_RIGHTS, "watch")}
START = Mark("topic-id", "epoch", 0)


class Servers:
    """One server of Redis, alone or a cluster of one, and perhaps a Sentinel; all of it over TLS and nothing else."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._started = directory, list[ChildProcess]()
        authority = Authority(directory)
        authority.issue("redis", "IP:127.0.0.1")
        # the test's own user may do everything; Sentinel is one, too
        everything = f"user watch on >{PASSWORDS['watch']} ~* &* +@all\n"
        in_a_cluster = redis_users(PASSWORDS).replace("+info", "+info +cluster|slots")
        (directory / "users.acl").write_text(in_a_cluster + everything)
        self.port, self.sentinel_port = port_beside_a_bus(), free_port()  # one test makes a cluster of it

    def options(self, port: int) -> list[str]:
        """Return what makes a server listen to TLS only."""
        files = [f"--tls-{what}-file" for what in ("cert", "key", "ca-cert")]
        paths = [str(self._directory / name) for name in ("redis.pem", "redis.key", "ca.pem")]
        pairs = [part for pair in zip(files, paths, strict=True) for part in pair]
        return ["--port", "0", "--tls-port", str(port), *pairs, "--tls-auth-clients", "no", "--tls-replication", "yes"]

    def start(self, *options: str) -> redis.Redis:
        """Start Redis; return a client that may do everything."""
        own = ["--dir", str(self._directory), "--aclfile", str(self._directory / "users.acl"), "--save", ""]
        self._launch(self.port, [find_redis_server(), *own, *options])
        return redis.Redis(
            "127.0.0.1", self.port, username="watch", password=PASSWORDS["watch"], ssl=True, ssl_ca_certs=self.authority
        )

    def watch(self) -> None:
        """Start Sentinel."""
        config = self._directory / "sentinel.conf"
        config.write_text(
            f"requirepass of-sentinel\nsentinel monitor {MASTER} 127.0.0.1 {self.port} 1\n"
            f"sentinel auth-user {MASTER} watch\nsentinel auth-pass {MASTER} {PASSWORDS['watch']}\n"
        )
        self._launch(self.sentinel_port, [find_redis_server(), str(config), "--sentinel"])

    @property
    def authority(self) -> str:
        """Whom to trust."""
        return str(self._directory / "ca.pem")

    def stop(self) -> None:
        """End all."""
        for process in self._started:
            process.end(signal.SIGKILL)

    def _launch(self, port: int, command: list[str]) -> None:
        process = ChildProcess([*command, "--bind", "127.0.0.1", *self.options(port)], self._directory / "redis.log")
        self._started.append(process)
        process.wait_until(lambda: accepts_connections(port), 60)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    try:
        find_redis_server()
    except PartMissingError as missing:
        pytest.skip(str(missing))
    servers = Servers(tmp_path)
    yield servers
    servers.stop()


def settings(url: str, **options: str) -> Settings:
    return Settings(redis_url=url, redis={"username": "scorer", "password": PASSWORDS["scorer"], **options})  # type: ignore[arg-type]


def does_its_work(reached: Settings) -> None:
    store = open_store(reached)
    windows = Windows.empty(2)
    windows.lengths[:] = 1
    behind = START._replace(offset=5)
    store.ping()
    assert store.save([Save(0, None, START, [], Windows.empty(0)), Save(1, None, START, [], Windows.empty(0))])
    assert store.save([Save(each, START, behind, [b"ann", b"bob"], windows) for each in (0, 1)]) == [True, True]
    for loaded in store.load([Load(each, "epoch", [b"ann", b"eve"]) for each in (0, 1)]):
        assert loaded.mark == behind
        assert loaded.windows.lengths.tolist() == [1, 0]
    assert store.drop_epoch(0, "epoch") == 2
    store.client.close()


def test_a_cluster(servers: Servers) -> None:
    admin = servers.start("--cluster-enabled", "yes", "--tls-cluster", "yes")
    admin.execute_command("CLUSTER ADDSLOTSRANGE", 0, SLOTS - 1)
    until(lambda: admin.execute_command("CLUSTER INFO")["cluster_state"] == "ok", "the slots are not taken")
    url = f"rediss+cluster://127.0.0.1:{servers.port}"
    does_its_work(settings(url, ssl_ca_certs=servers.authority))
    with connect(settings(url, ssl_ca_certs=servers.authority)) as client:
        assert isinstance(client, Cluster)


def test_sentinel(servers: Servers) -> None:
    servers.start()
    servers.watch()
    url = f"rediss+sentinel://127.0.0.1:{servers.sentinel_port}/{MASTER}"
    trusted = {"ssl_ca_certs": servers.authority}
    does_its_work(settings(url, **trusted, sentinel_password="of-sentinel"))  # noqa: S106
    for refused in (trusted, {**trusted, "sentinel_password": "wrong"}, {"sentinel_password": "of-sentinel"}):
        with connect(settings(url, **refused)) as client, pytest.raises(redis.ConnectionError) as told:
            client.ping()
        assert not any(secret in str(told.value) for secret in ("wrong", "of-sentinel", *PASSWORDS.values()))
