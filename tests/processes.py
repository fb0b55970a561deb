"""Child processes that end with the tests, however the tests end, and ports for them."""

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_POLL_INTERVAL_S = 0.02
_PORTS = (15_000, 32_000)  # below the range that clients are given ports from
_given: set[int] = set()


class StartError(RuntimeError):
    """A process ended or stayed silent instead of coming up; the message ends with what it last logged."""


def free_port(first: int | None = None) -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on: ``first`` if that is one.

    Any other lies below the range that clients are given ports from. A client that retries a stopped server inside
    that range can be handed the very port and connect to itself, and the restarted server then cannot bind.
    No port is given twice, by this process or by two of pytest-xdist's workers: a server that is yet to start, or
    stopped for a while, finds its port free.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = range(_PORTS[0] + worker, _PORTS[1], int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    for port in ([] if first is None else [first]) + random.sample(own, 200):
        if port in _given and port != first:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no obstacle
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.add(port)
            return port
    raise StartError("no free TCP port on 127.0.0.1 among 200 tried between 15000 and 32000")


def accepts_connections(port: int) -> bool:
    """Say whether something listens on that port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def http_get(port: int, path: str) -> tuple[int, str]:
    """Return status and body of an HTTP path on that port of 127.0.0.1; status 0 where nothing answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


class ChildProcess:
    """A process that the kernel kills when this one ends, ``kill -9`` included (on Linux)."""

    def __init__(self, command: Sequence[str | Path], log: Path) -> None:
        """Start ``command``; its output is appended to ``log``.

        Raises:
            RuntimeError: not called from the main thread. The kernel ends the child with the thread that started it.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(f"start {command[0]} from the main thread: it would be killed when this thread ends")
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests, which then stop their parts in order
                preexec_fn=_die_with_parent(os.getpid()),  # noqa: PLW1509 - tests fork from their main thread
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Return once ``ready()`` holds.

        Raises:
            StartError: the process ended, or was not ready after ``timeout_s`` seconds.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.running:
                raise StartError(f"process {self.pid} ended with {self._process.returncode}:\n{self._last_lines()}")
            if time.monotonic() > deadline:
                raise StartError(f"process {self.pid} is not ready after {timeout_s:g} s:\n{self._last_lines()}")
            time.sleep(_POLL_INTERVAL_S)

    def wait(self, timeout_s: float = 30) -> int:
        """Wait until the process ends by itself; return its exit code."""
        return self._process.wait(timeout_s)

    def end(self, with_signal: signal.Signals, timeout_s: float = 30) -> int:
        """Send the signal and wait for the end; a process that ignores it is killed after ``timeout_s`` seconds."""
        self._process.send_signal(with_signal)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return self._process.returncode

    def _last_lines(self, count: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])


def _die_with_parent(parent: int) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up before the fork

    def ask_the_kernel() -> None:
        if prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0 or os.getppid() != parent:
            os._exit(1)

    return ask_the_kernel
