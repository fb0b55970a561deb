"""Compose files as a project of their own: no volume and no port is anybody else's."""

import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.pages import ROOT
from tests.processes import ChildProcess, free_port

_COMMAND_S = 600.0  # some build an image
_QUESTION_S = 30.0
_HEALTHY_S = 300  # on a slow machine; on a laptop it takes half a minute

PATIENCE_S = 180.0  # for a step; on a quiet machine each takes seconds

PAYMENT = {"transaction_id": "t-1", "user_id": "anna", "amount": 19.9, "created_at": "2026-03-01T18:21:07Z"}
RECORD = f"{PAYMENT['user_id']}:{json.dumps(PAYMENT)}\n"  # with its key, as the console producer reads it


def run(*words: str | Path, stdin: str | None = None, directory: Path = ROOT, **settings: str) -> str:
    """Run a command, with some variables of its own, and return its output.

    Raises:
        AssertionError: it failed; the message is what it said.
    """
    ran = subprocess.run(
        words,
        input=stdin or "",
        cwd=directory,
        env=os.environ | {"DOCKER_BUILDKIT": "0"} | settings,  # the classic builder is in every engine
        capture_output=True,
        text=True,
        timeout=_COMMAND_S,
        check=False,
    )
    assert ran.returncode == 0, f"{' '.join(map(str, words))} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def docker(*arguments: str, stdin: str | None = None, **settings: str) -> str:
    """Run ``docker`` as :func:`run` does."""
    return run("docker", *arguments, stdin=stdin, **settings)


def shell(script: str, stdin: str | None = None, directory: Path = ROOT, **settings: str) -> str:
    """Run what a page has one type, as :func:`run` does; each of its commands must succeed."""
    return run("bash", "-euo", "pipefail", "-c", script, stdin=stdin, directory=directory, **settings)


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


def wait_until(holds: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Return once ``holds()``; ``what`` that is, the error says."""
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {patience_s:g} s: {what}"
        time.sleep(0.5)


class Stack:
    """A project of Docker Compose: what a page has one type is typed as it stands, the environment says where."""

    def __init__(self, directory: Path, *over: str, **settings: str) -> None:
        """Prepare the project.

        Args:
            directory: where its ``.env`` is written, and what goes on when it is typed leaves its words.
            over: the compose files that go over ``docker-compose.yml``.
            settings: what the ``.env`` says beside the ports.
        """
        self.kafka_port, self.prometheus_port, self.grafana_port = free_port(), free_port(), free_port()
        ports = {"KAFKA_PORT": self.kafka_port, "PROMETHEUS_PORT": self.prometheus_port}
        values = ports | {"GRAFANA_PORT": self.grafana_port} | settings
        self.project = f"tenfold-test-{uuid.uuid4().hex[:8]}"
        self.directory, self._started = directory, list[ChildProcess]()
        env_file = directory / ".env"
        env_file.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
        self.environment = {
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_FILE": ":".join(("docker-compose.yml", *over)),
            "COMPOSE_ENV_FILES": str(env_file),
        }

    @property
    def bootstrap(self) -> str:
        """The broker's address on this machine."""
        return f"127.0.0.1:{self.kafka_port}"

    def compose(self, *arguments: str, stdin: str | None = None) -> str:
        """Run ``docker compose`` in this project."""
        return docker("compose", *arguments, stdin=stdin, **self.environment)

    def types(self, script: str, stdin: str | None = None, directory: Path = ROOT, **settings: str) -> str:
        """Run what a page has one type; it must succeed. Return what it prints."""
        return shell(script, stdin, directory, **self.environment, **settings)

    def starts(self, script: str, directory: Path = ROOT, **settings: str) -> ChildProcess:
        """Run what a page has one type, and which goes on; it is ended with the project."""
        assignments = [f"{name}={value}" for name, value in (self.environment | settings).items()]
        log = self.directory / f"started-{len(self._started)}.log"
        started = ChildProcess(["env", "-C", directory, *assignments, "bash", "-euc", f"exec {script}"], log)
        self._started.append(started)
        return started

    def send_payment(self) -> None:
        """Send ``PAYMENT`` with the console producer in the broker's container."""
        producer = ["/opt/kafka/bin/kafka-console-producer.sh", "--bootstrap-server", "kafka:29092"]
        keyed = ["--property", "parse.key=true", "--property", "key.separator=:"]
        self.compose("exec", "-T", "kafka", *producer, "--topic", "transactions", *keyed, stdin=RECORD)

    def up(self, script: str) -> None:
        """Type what brings all of it up, and goes on; return once all of it is healthy, and each job has done its work.

        Raises:
            AssertionError: it is not; the message has what the containers said.
        """
        typed = self.starts(script)
        try:
            wait_until(lambda: self._healthy() or not typed.running, f"all is healthy after `{script}`", _HEALTHY_S)
            assert typed.running, f"`{script}` has ended:\n{typed.log.read_text()[-3000:]}"
        except AssertionError as error:
            logs = self.compose("logs", "--no-color", "--tail", "30")
            raise AssertionError(f"{error}\n{self.compose('ps', '--all')}\n{logs}") from None

    def _healthy(self) -> bool:
        well = {each["Service"] for each in self.containers() if each["Health"] == "healthy" or has_done(each)}
        return well == self.services()

    def down(self) -> None:
        """Remove the project with its volumes."""
        self.compose("down", "--volumes", "--timeout", "20")
        for started in self._started:
            started.end(signal.SIGTERM)

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


def has_done(container: dict[str, Any]) -> bool:
    """Say whether a job's container has ended well."""
    return (container["State"], container["ExitCode"]) == ("exited", 0)
