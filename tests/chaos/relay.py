"""A TCP relay: what a client is connected to can be slow, stand still, or become another server."""

import contextlib
import socket
import threading
import time


class Relay:
    """Listens on ``port`` of 127.0.0.1 and passes everything on to ``target``, another port of it.

    ``delay_s`` is how long each piece is held up, in both directions. Close it in the end.
    """

    def __init__(self, target: int) -> None:
        self.target, self.delay_s = target, 0.0
        self._flowing = threading.Event()
        self._flowing.set()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def stand_still(self) -> None:
        """Pass nothing on any more, and keep the connections."""
        self._flowing.clear()

    def switch(self, target: int) -> None:
        """Cut all connections; new ones lead to ``target``."""
        self.target = target
        self._cut()

    def close(self) -> None:
        """Cut everything."""
        self._listener.close()
        self._flowing.set()
        self._cut()

    def _cut(self) -> None:
        for end in self._open:
            with contextlib.suppress(OSError):  # the other side was faster
                end.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            self._open += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError), source:
            while piece := source.recv(1 << 20):
                time.sleep(self.delay_s)
                self._flowing.wait()
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
