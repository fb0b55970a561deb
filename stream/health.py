"""``/metrics``, ``/healthz`` and ``/readyz`` on one small HTTP server."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from stream.settings import Settings, SettingsError

log = logging.getLogger(__name__)

#: A loop that has not come round for so long is waiting: for Kafka to take a batch, most likely.
WAITING_AFTER_S = 3.0

#: A loop that has not come round for so long is stuck; its longest honest step is a publish that fails, or a
#: new producer's beginning: the publisher's patience of 20 s, and up to 10 s of last calls.
STUCK_AFTER_S = 60.0


@dataclass
class Health:
    """What the service says of itself; written by its loop, read by the HTTP server."""

    clock: Callable[[], float] = time.monotonic
    why_not_ready: str | None = "starting"  # None is ready
    last_turn: float = field(init=False)
    _told: bool = False  # that the loop is waiting

    def __post_init__(self) -> None:
        self.turn()

    def turn(self) -> None:
        """Say that the loop has come round."""
        self.last_turn = self.clock()

    @property
    def reason(self) -> str | None:
        """Why records are not scored at this moment; ``None`` if they are."""
        return "a batch does not get through: waiting for Kafka" if self._waiting else self.why_not_ready

    @property
    def _waiting(self) -> bool:
        return self.why_not_ready is None and self.clock() - self.last_turn > WAITING_AFTER_S

    def look(self) -> None:
        """Log that a batch does not get through, once for each: the loop, which is patient with it, cannot."""
        waiting = self._waiting
        if waiting and not self._told:
            log.warning("no answer yet", extra={"from": "Kafka", "error": self.reason})
        self._told = waiting

    @property
    def stuck(self) -> bool:
        """Whether the loop has not come round for too long."""
        return self.clock() - self.last_turn > STUCK_AFTER_S


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: a probe every second is not news."""


def serve(host: str, port: int, registry: CollectorRegistry, health: Health) -> Callable[[], None]:
    """Serve metrics and health; return a function that stops the server.

    Raises:
        SettingsError: the port is taken, or the address is not this machine's.
    """
    metrics_app = make_wsgi_app(registry)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            answer: Iterable[bytes] = metrics_app(environ, start_response)
            return answer
        if path == "/healthz":
            good, body = not health.stuck, dict[str, object](alive=not health.stuck)
        elif path == "/readyz":
            reason = health.reason
            good, body = reason is None, {"ready": True} if reason is None else {"ready": False, "why": reason}
        else:
            start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
            return [b"/metrics, /healthz and /readyz are here\n"]
        status = "200 OK" if good else "503 Service Unavailable"
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(body).encode() + b"\n"]

    try:
        server = make_server(host, port, app, _Server, _QuietHandler)
    except OSError as error:
        raise SettingsError(
            f"TENFOLD_METRICS_PORT: cannot listen on {host}:{port}: {error.strerror}; "
            "give each process a port of its own, or 0 for none"
        ) from None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return stop


@contextmanager
def serving(settings: Settings, registry: CollectorRegistry, health: Health) -> Iterator[None]:
    """Serve metrics and health meanwhile, where ``settings`` have a port for them.

    Raises:
        SettingsError: as :func:`serve`.
    """
    stop = serve(settings.metrics_host, settings.metrics_port, registry, health) if settings.metrics_port else None
    try:
        yield
    finally:
        if stop is not None:
            stop()
