"""Compose files as a project of their own: no volume and no port is anybody else's."""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.processes import free_port

ROOT = Path(__file__).parents[2]

_COMMAND_S = 600.0  # some build an image
_QUESTION_S = 30.0
_HEALTHY_S = 300  # on a slow machine; on a laptop it takes half a minute

PATIENCE_S = 180.0  # for a step; on a quiet machine each takes seconds

PAYMENT = {"transaction_id": "t-1", "user_id": "anna", "amount": 19.9, "created_at": "2026-03-01T18:21:07Z"}


def docker(*arguments: str, stdin: str | None = None) -> str:
    """Run ``docker`` and return its output.

    Raises:
        AssertionError: it failed; the message is what it said.
    """
    ran = subprocess.run(
        ["docker", *arguments],
        input=stdin,
        cwd=ROOT,
        env=os.environ | {"DOCKER_BUILDKIT": "0"},  # the classic builder is in every engine
        capture_output=True,
        text=True,
        timeout=_COMMAND_S,
        check=False,
    )
    assert ran.returncode == 0, f"docker {' '.join(arguments)} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def why_no_engine() -> str | None:
    """Return why no container can be run here; ``None`` if one can."""
    for question in (["docker", "version"], ["docker", "compose", "version"]):
        try:
            asked = subprocess.run(question, capture_output=True, text=True, timeout=_QUESTION_S, check=False)
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            return str(error)
        if asked.returncode != 0:
            return f"`{' '.join(question)}` says: {(asked.stderr or asked.stdout).strip()}"
    return None


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Return once ``holds()``; ``what`` that is, the error says."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.5)


class Stack:
    """A project of Docker Compose."""

    def __init__(self, directory: Path, *over: str, **settings: str) -> None:
        """Prepare the project.

        Args:
            directory: where its ``.env`` is written.
            over: the compose files that go over ``docker-compose.yml``.
            settings: what the ``.env`` says beside the ports.
        """
        self._files = [part for file in ("docker-compose.yml", *over) for part in ("--file", file)]
        self.kafka_port, self.prometheus_port, self.grafana_port = free_port(), free_port(), free_port()
        ports = {"KAFKA_PORT": self.kafka_port, "PROMETHEUS_PORT": self.prometheus_port}
        values = ports | {"GRAFANA_PORT": self.grafana_port} | settings
        self.project = f"tenfold-test-{uuid.uuid4().hex[:8]}"
        self._env_file = directory / ".env"
        self._env_file.write_text("".join(f"{name}={value}\n" for name, value in values.items()))

    @property
    def bootstrap(self) -> str:
        """The broker's address on this machine."""
        return f"127.0.0.1:{self.kafka_port}"

    def compose(self, *arguments: str, stdin: str | None = None) -> str:
        """Run ``docker compose`` in this project."""
        project = ["--project-name", self.project, "--env-file", str(self._env_file)]
        return docker("compose", *self._files, *project, *arguments, stdin=stdin)

    def send_payment(self, *options: str, directory: str = "/") -> None:
        """Send ``PAYMENT`` with the console producer in the broker's container; its files are in ``directory``."""
        producer = ["/opt/kafka/bin/kafka-console-producer.sh", "--bootstrap-server", "kafka:29092", *options]
        keyed = ["--property", "parse.key=true", "--property", "key.separator=|"]
        record = f"{PAYMENT['user_id']}|{json.dumps(PAYMENT)}\n"
        where = ["exec", "-T", "--workdir", directory, "kafka"]
        self.compose(*where, *producer, "--topic", "transactions", *keyed, stdin=record)

    def up(self, *options: str) -> None:
        """Start what is not running, and return once all of it is healthy."""
        try:
            self.compose("up", "--detach", "--wait", "--wait-timeout", str(_HEALTHY_S), *options)
        except AssertionError as error:
            logs = self.compose("logs", "--no-color", "--tail", "30")
            raise AssertionError(f"{error}\n{self.compose('ps', '--all')}\n{logs}") from None

    def down(self) -> None:
        """Remove the project with its volumes."""
        self.compose("down", "--volumes", "--timeout", "20")

    def containers(self, *services: str) -> list[dict[str, Any]]:
        """Return what compose says of the containers of some services, or of all; stopped ones too."""
        return [json.loads(line) for line in self.compose("ps", "--all", "--format", "json", *services).splitlines()]

    def services(self) -> set[str]:
        """Return what the compose files start."""
        return set(self.compose("config", "--services").split())

    def volumes(self) -> set[str]:
        """Return the volumes that the compose files name."""
        return set(self.compose("config", "--volumes").split())

    def left(self) -> tuple[list[str], list[str], list[str]]:
        """Return the containers, networks and volumes that there are of the project."""
        ours = ["--filter", f"label=com.docker.compose.project={self.project}", "--quiet"]
        listed = (docker(*what, *ours) for what in (("ps", "--all"), ("network", "ls"), ("volume", "ls")))
        containers, networks, volumes = (lines.split() for lines in listed)
        return containers, networks, volumes

    def ports(self) -> set[str]:
        """Return the addresses of this machine at which the project listens."""
        return {place["URL"] for each in self.containers() for place in each["Publishers"] if place["PublishedPort"]}
