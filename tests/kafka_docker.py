"""The same broker in a container, on the image that docker-compose.yml runs."""

import re
import shutil
import subprocess
import time
from pathlib import Path
from string import Template

from confluent_kafka.admin import AdminClient
from testcontainers.core.container import DockerContainer

from tests.kafka_jars import KAFKA, PartMissingError
from tests.processes import StartError, free_port
from tests.topics import has_metadata

COMPOSE_FILE = Path(__file__).parent.parent / "docker-compose.yml"
_DEFAULT_IMAGE = "apache/kafka:4.1.1"
_DAEMON_TIMEOUT_S = 5.0
_PULL_TIMEOUT_S = 300.0
_START_TIMEOUT_S = 90.0


class DockerBroker:
    """What :class:`tests.brokers.KafkaBroker` is, in a container that testcontainers removes when the tests end."""

    def __init__(self, port: int | None = None) -> None:
        """Prepare the container, on ``port`` or any free one; pull its image if need be.

        Raises:
            PartMissingError: no Docker daemon answers, or the image is not to be had.
        """
        self._port = port or free_port()
        self._container = DockerContainer(require_image()).with_envs(**_environment(self._port))
        # with_bind_ports knows no address and would open the port to the network
        self._container.ports[f"{self._port}/tcp"] = ("127.0.0.1", self._port)  # type: ignore[assignment]
        self._created = False

    @property
    def bootstrap(self) -> str:
        """The address, for ``bootstrap.servers``."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the broker and return when it answers."""
        if self._created:
            self._container.get_wrapped_container().start()
        else:
            self._container.start()
            self._created = True
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not has_metadata(admin):
            if not self._runs() or time.monotonic() > deadline:
                log = self._container.get_wrapped_container().logs(tail=30).decode(errors="replace")
                raise StartError(f"the broker's container ended, or is not ready after {_START_TIMEOUT_S:g} s:\n{log}")

    def stop(self) -> None:
        """Shut down in order (SIGTERM); the container and its data stay."""
        self._container.get_wrapped_container().stop(timeout=30)

    def kill(self) -> None:
        """End the broker as a crash would (SIGKILL); the container and its data stay."""
        self._container.get_wrapped_container().kill()

    def restart(self) -> None:
        """Start a stopped or killed broker again; stop it first if it runs."""
        if self._runs():
            self.stop()
        self.start()

    def discard(self) -> None:
        """End the broker and remove its data."""
        self._container.stop()

    def _runs(self) -> bool:
        container = self._container.get_wrapped_container()
        container.reload()
        return bool(container.status == "running")


def require_image() -> str:
    """Return the name of the broker's image, which is then on this machine.

    Raises:
        PartMissingError: no Docker daemon answers, or the image is not to be had.
    """
    if shutil.which("docker") is None or not _docker("version", timeout_s=_DAEMON_TIMEOUT_S):
        raise PartMissingError("no Docker daemon answers")
    compose = COMPOSE_FILE.read_text() if COMPOSE_FILE.exists() else ""
    named = re.search(r"image:\s*[\"']?(apache/kafka:[\w.-]+)", compose)
    image = named[1] if named else _DEFAULT_IMAGE
    if not _docker("image", "inspect", image, timeout_s=_DAEMON_TIMEOUT_S) and not _docker(
        "pull", "--quiet", image, timeout_s=_PULL_TIMEOUT_S
    ):
        raise PartMissingError(f"Docker has no image {image} and could not pull it")
    return image


def _docker(*arguments: str, timeout_s: float) -> bool:
    try:
        return (
            subprocess.run(["docker", *arguments], capture_output=True, timeout=timeout_s, check=False).returncode == 0
        )
    except subprocess.TimeoutExpired:
        return False


def _environment(port: int) -> dict[str, str]:
    """Return ``tests/kafka/server.properties`` as the image takes it: ``a.b=c`` is ``KAFKA_A_B=c``."""
    controller_port = port + 1  # inside the container nothing else listens
    template = Template((KAFKA / "server.properties").read_text())
    text = template.substitute(port=port, controller_port=controller_port, log_dirs="/tmp/kafka-data")  # noqa: S108
    properties = dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))
    properties["listeners"] = f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://127.0.0.1:{controller_port}"
    properties["listener.security.protocol.map"] = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"
    names = {name: f"KAFKA_{name.replace('.', '_').upper()}" for name in properties}
    return {names[name]: value for name, value in properties.items()} | {"KAFKA_HEAP_OPTS": "-Xmx512m"}
