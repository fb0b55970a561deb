"""Redis as it is run where one server is not enough: a cluster, and a primary that Sentinel watches over."""

import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import redis
from redis.cluster import ClusterNode
from redis.sentinel import Sentinel

from tests.brokers import RedisServer, find_redis_server
from tests.processes import ChildProcess, accepts_connections, free_port

SLOTS = 16_384
MASTER = "fraud"
#: Sentinel promotes no replica that has had no contact for ten times as long.
DOWN_AFTER_MS = 5_000
_PATIENCE_S = 120.0
_NODE_TIMEOUT_MS = {False: 60_000, True: 3_000}  # without replicas nobody is to be taken for dead on a slow machine
_BUS = 10_000  # a node listens to the other nodes so far above its port
_KEYS_AT_ONCE = 1_000


class RedisNodes:
    """A Redis Cluster of three primaries; with ``replicas``, each has one."""

    def __init__(self, directory: Path, *, replicas: bool = False) -> None:
        """Prepare the nodes; their data will lie in ``directory``.

        Raises:
            PartMissingError: no ``redis-server`` on this machine.
        """
        self._timeout_ms = _NODE_TIMEOUT_MS[replicas]
        self.nodes: list[RedisServer] = []
        for number in range(6 if replicas else 3):
            home = directory / f"node-{number}"
            home.mkdir()
            node = RedisServer(home)
            node.port = port_beside_a_bus()
            self.nodes.append(node)

    @property
    def url(self) -> str:
        """For ``TENFOLD_REDIS_URL``; two of the nodes."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])

    def start(self) -> None:
        """Start the nodes, give the primaries the slots and return once all of them say that they are a cluster."""
        for node in self.nodes:
            timeout = ("--cluster-node-timeout", str(self._timeout_ms))
            # a replica may follow at once: how long it has had no contact is not to keep it from an election
            node.start("--cluster-enabled", "yes", *timeout, "--cluster-replica-validity-factor", "0")
        for number, node in enumerate(self.nodes):
            self.client(number).execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            self.client(0).execute_command("CLUSTER MEET", "127.0.0.1", node.port)
        for number in range(3):
            slots = range(SLOTS * number // 3, SLOTS * (number + 1) // 3)
            self.client(number).execute_command("CLUSTER ADDSLOTS", *slots)
        everybody = range(len(self.nodes))
        until(lambda: all(self._knows(number) == len(self.nodes) for number in everybody), "the nodes do not meet")
        for number in everybody[3:]:
            self.client(number).execute_command("CLUSTER REPLICATE", self.id(number - 3))
        self.wait_until_in_order()

    def wait_until_in_order(self) -> None:
        """Return once every node says that all is well."""
        everybody = range(len(self.nodes))
        until(lambda: all(self._is_in_order(number) for number in everybody), "the nodes are no cluster")

    def client(self, number: int) -> redis.Redis:
        """Return a client of one node."""
        return redis.Redis(port=self.nodes[number].port, socket_timeout=30)

    def id(self, number: int) -> str:
        """Return the name by which the nodes know a node."""
        return self.client(number).execute_command("CLUSTER MYID").decode()

    def of_slot(self, slot: int) -> int:
        """Return the number of the primary that has a slot."""
        for node in range(3):
            for first, last, primary, *_ in self.client(node).execute_command("CLUSTER SLOTS"):
                if first <= slot <= last:
                    return [each.port for each in self.nodes].index(primary[1])
        raise AssertionError(f"nobody has slot {slot}")

    def migrate(self, slot: int, to: int) -> None:
        """Move a slot and its keys to another primary while the cluster serves, as ``redis-cli --cluster`` does."""
        source = self.of_slot(slot)
        self.open(slot, source, to)
        while self.move_keys(slot, source, to, _KEYS_AT_ONCE):
            pass
        for number in (to, source, *({0, 1, 2} - {to, source})):
            self.client(number).execute_command("CLUSTER SETSLOT", slot, "NODE", self.id(to))

    def open(self, slot: int, source: int, to: int) -> None:
        """Say that a slot is on its way."""
        self.client(to).execute_command("CLUSTER SETSLOT", slot, "IMPORTING", self.id(source))
        self.client(source).execute_command("CLUSTER SETSLOT", slot, "MIGRATING", self.id(to))

    def move_keys(self, slot: int, source: int, to: int, count: int) -> int:
        """Move at most so many keys of a slot; return how many that were."""
        keys = self.client(source).execute_command("CLUSTER GETKEYSINSLOT", slot, count)
        if keys:
            migrating = ("MIGRATE", "127.0.0.1", self.nodes[to].port, "", 0, 60_000, "REPLACE", "KEYS", *keys)
            self.client(source).execute_command(*migrating)
        return len(keys)

    def discard(self) -> None:
        """End all nodes and remove their data."""
        for node in self.nodes:
            node.discard()

    def _knows(self, number: int) -> int:
        return int(self.client(number).execute_command("CLUSTER INFO")["cluster_known_nodes"])

    def _is_in_order(self, number: int) -> bool:
        state = self.client(number).execute_command("CLUSTER INFO")["cluster_state"]
        return state == "ok" and (number < 3 or self.client(number).info("replication")["master_link_status"] == "up")


class WatchedRedis:
    """A primary, its replica, and a Sentinel with a password of its own that puts the one in the other's place."""

    PASSWORD = "of-the-watch"  # noqa: S105

    def __init__(self, directory: Path) -> None:
        """Prepare the servers; their data will lie in ``directory``.

        Raises:
            PartMissingError: no ``redis-server`` on this machine.
        """
        self._directory = directory
        self.primary, self.replica = (RedisServer(directory), RedisServer(directory / "replica"))
        (directory / "replica").mkdir()
        self.sentinel_port = free_port()
        self._sentinel: ChildProcess | None = None

    @property
    def url(self) -> str:
        """For ``TENFOLD_REDIS_URL``; at the first address nobody is at home."""
        return f"redis+sentinel://127.0.0.1:1,127.0.0.1:{self.sentinel_port}/{MASTER}/0"

    def start(self) -> None:
        """Start all three and return once a failover would succeed."""
        self.primary.start()
        self.replica.start("--replicaof", "127.0.0.1", str(self.primary.port))
        config = self._directory / "sentinel.conf"
        config.write_text(
            f"bind 127.0.0.1\nport {self.sentinel_port}\nrequirepass {self.PASSWORD}\n"
            f"sentinel monitor {MASTER} 127.0.0.1 {self.primary.port} 1\n"
            f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}\nsentinel failover-timeout {MASTER} 20000\n"
        )
        command = [find_redis_server(), config, "--sentinel"]
        self._sentinel = ChildProcess(command, self._directory / "sentinel.log")
        self._sentinel.wait_until(lambda: accepts_connections(self.sentinel_port), _PATIENCE_S)
        watch = redis.Redis(port=self.sentinel_port, password=self.PASSWORD)
        until(lambda: int(watch.sentinel_master(MASTER)["num-slaves"]) == 1, "Sentinel does not find the replica")
        until(self._follows, "the replica does not follow")

    def discard(self) -> None:
        """End all three and remove their data."""
        if self._sentinel is not None:
            self._sentinel.end(signal.SIGKILL)
        self.primary.discard()
        self.replica.discard()

    def _follows(self) -> bool:
        with redis.Redis(port=self.replica.port) as client:
            return bool(client.info("replication")["master_link_status"] == "up")


def client_of(url: str) -> redis.Redis | redis.RedisCluster:
    """Return a client of Redis at a URL that a scorer of a test was given."""
    scheme, _, rest = url.partition("://")
    if "+" not in scheme:
        return redis.Redis.from_url(url)
    addresses = [(host, int(port)) for host, port in (each.split(":") for each in rest.split("/")[0].split(","))]
    if scheme == "redis+cluster":
        return redis.RedisCluster(startup_nodes=[ClusterNode(*address) for address in addresses])
    own = {"password": WatchedRedis.PASSWORD}
    client: redis.Redis = Sentinel(addresses, sentinel_kwargs=own).master_for(MASTER)
    return client


def until(condition: Callable[[], bool], failing: str) -> None:
    """Return once ``condition`` holds.

    Raises:
        AssertionError: ``failing``.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{failing} ({_PATIENCE_S:g} s)"
        time.sleep(0.05)


def port_beside_a_bus() -> int:
    """Return a free port whose bus is free, too, and below the ports of clients."""
    while True:
        port = free_port()
        if port + _BUS < 32_000:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port + _BUS)):
                    return port
