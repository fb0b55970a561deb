"""A shell for what pages tell a reader to type: in one folder, with this environment's programs."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.pages import Block
from tests.processes import ChildProcess, http_get
from tests.scorers import Deployment


class Shell:
    """Runs scripts in a folder: some end, some go on as processes."""

    def __init__(self, environment: Mapping[str, str], directory: Path) -> None:
        self.directory, self.processes = directory, list[ChildProcess]()
        self.environment = dict(environment)
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"

    def run(self, script: str, timeout_s: float = 120) -> str:
        """Run a script; it must succeed. Return what it prints."""
        ran = subprocess.run(
            ["bash", "-euc", script],
            env=self.environment,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert ran.returncode == 0, f"{script}\n{ran.stdout[-2000:]}\n{ran.stderr[-3000:]}\n{self.logs()}"
        return ran.stdout

    def start(self, script: str) -> ChildProcess:
        """Run a script whose last line is a command that goes on; return that one's process."""
        *before, last = script.strip().splitlines()
        script = "\n".join([f"cd '{self.directory}'", *before, f"exec {last}"])
        assignments = [f"{name}={value}" for name, value in self.environment.items()]
        log = self.directory / f"process-{len(self.processes)}.log"
        self.processes.append(ChildProcess(["env", *assignments, "bash", "-euc", script], log))
        return self.processes[-1]

    def logs(self) -> str:
        """Return the ends of what goes on has logged."""
        return "\n".join(process.log.read_text()[-2000:] for process in self.processes)


class PageShell(Shell):
    """Types blocks, at the addresses and topics of a deployment in place of the pages' own."""

    def __init__(self, deployment: Deployment, **settings: str) -> None:
        super().__init__(deployment.environment(**settings), deployment.directory)
        self.deployment = deployment
        programs = self.directory / "programs"
        programs.mkdir()
        (programs / "pip").write_text("#!/bin/sh\n")  # what it would install is installed
        (programs / "pip").chmod(0o755)
        self.environment["PATH"] = f"{programs}:{self.environment['PATH']}"
        self.port = int(self.environment["TENFOLD_METRICS_PORT"])

    def script(self, block: Block) -> str:
        """Return what is typed."""
        text = block.script.replace("localhost:9092", self.deployment.bootstrap)
        text = text.replace("redis://localhost:6379/0", self.deployment.redis_url)
        text = text.replace("/srv/", f"{self.directory}/")
        names = {"transactions": self.deployment.input_topic, "transactions.dlq": self.deployment.dlq_topic}
        return re.sub(r"(--topic|--entity-name) ([\w.-]+)", lambda found: f"{found[1]} {names[found[2]]}", text)

    def type(self, *typed: Block) -> str:
        """Run blocks in one shell; they must succeed. Return what they print."""
        return self.run("".join(map(self.script, typed)))

    def serve(self, block: Block, done: Callable[[], bool]) -> None:
        """Run a block whose last command goes on; it is ready, then ``done``, and then stops when it is asked to."""
        process = self.start(self.script(block))
        try:
            process.wait_until(lambda: http_get(self.port, "/readyz")[0] == 200, 60)
            process.wait_until(done, 60)
        finally:
            code = process.end(signal.SIGTERM)
        assert code == 0, process.log.read_text()
