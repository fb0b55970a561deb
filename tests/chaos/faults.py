"""What chaos tests do to scorers, and what they ask in the end."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from models.bundle import LoadedBundle
from tests.chaos.ledger import held, note
from tests.oracle import Verdict
from tests.processes import ChildProcess
from tests.scorers import Deployment, Scorer, verdict_of


class StoppingScorer(Scorer):
    """A scorer that kills or stops itself at a stage boundary; see :mod:`tests.chaos.stopping_scorer`."""

    def __init__(
        self, deployment: Deployment, at: str, after: int = 1, with_signal: str = "SIGKILL", **settings: str
    ) -> None:
        environment = deployment.environment(**settings)
        self._log = deployment.directory / f"{at}-{time.monotonic_ns()}.log"
        self.metrics_port = int(environment["TENFOLD_METRICS_PORT"])
        assignments = [f"{name}={value}" for name, value in environment.items() if name.startswith("TENFOLD_")]
        command = ["env", *assignments, sys.executable, "-m", "tests.chaos.stopping_scorer"]
        self.process = ChildProcess([*command, "--at", at, "--after", str(after), "--signal", with_signal], self._log)

    def wait_until_stopped(self, timeout_s: float = 60) -> None:
        """Return once it has stopped itself.

        Raises:
            AssertionError: it never came to the point.
        """
        status = Path(f"/proc/{self.process.pid}/stat")

        def has_stopped() -> bool:
            return status.read_text().rpartition(")")[2].split()[0] == "T"

        until(has_stopped, timeout_s, "the scorer never came to the point where it stops", self)
        note("SIGSTOP of a scorer with a batch in its hands")

    def wait_until_dead(self, timeout_s: float = 60) -> None:
        """Return once it has killed itself.

        Raises:
            AssertionError: it came to another end, or never came to the point.
        """
        until(lambda: not self.process.running, timeout_s, "the scorer never came to the point where it stops", self)
        code = self.process.end(signal.SIGTERM)  # collects the exit code, the process is gone
        assert code == -signal.SIGKILL, f"ended with {code}:\n{self.log_text[-3000:]}"
        note("kill -9 of a scorer at a stage boundary")


def until(condition: Callable[[], bool], timeout_s: float, failing: str, scorer: Scorer | None = None) -> None:
    """Return once ``condition`` holds.

    Raises:
        AssertionError: ``failing``, after ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        log = f":\n{scorer.log_text[-3000:]}" if scorer else ""
        assert time.monotonic() < deadline, f"{failing} ({timeout_s:g} s){log}"
        time.sleep(0.05)


def stop_all(scorers: Sequence[Scorer]) -> list[int]:
    """Ask scorers to stop, each once it can be asked; return their exit codes."""
    for scorer in scorers:
        until(lambda s=scorer: s.get("/healthz")[0] == 200, 60, "it does not come up", scorer)
    return [scorer.stop() for scorer in scorers]


@contextmanager
def stopped(scorer: Scorer) -> Iterator[None]:
    """Keep a scorer from running, as a long pause of its machine would."""
    os.kill(scorer.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(scorer.process.pid, signal.SIGCONT)


def judged(bundle: LoadedBundle, deployment: Deployment, events: int) -> Verdict:
    """Hold what was published against the oracle.

    Raises:
        AssertionError: an event is missing, doubled or different, a window is wrong, or the input is not ``events``.
    """
    expected, verdict = verdict_of(bundle, deployment)
    assert len(expected.scores) + len(expected.bad) == events
    return held(verdict)
