"""A program on a terminal of its own, for tests of what is shown to who sits before it."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self


class Terminal:
    """Runs a program; in the end it is killed."""

    def __init__(
        self, command: Sequence[str], environment: dict[str, str], lines: int = 50, columns: int = 160
    ) -> None:
        self._ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        # a size that is set there would be the terminal's, whatever size that has
        env = {name: value for name, value in environment.items() if name not in {"COLUMNS", "LINES"}}
        # a session whose terminal this is, as a shell asks for one
        self._process = subprocess.Popen(["setsid", "--ctty", *command], env=env, stdin=its, stdout=its, stderr=its)
        os.close(its)
        self._shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def until(self, words: str, timeout_s: float = 60.0) -> str:
        """Return what is shown up to some words, once they are; what comes behind them is for the next time.

        Raises:
            AssertionError: they are not, after so long.
        """
        deadline = time.monotonic() + timeout_s
        while words not in self._shown:
            assert time.monotonic() < deadline, f"no {words!r} in {self._shown!r}"
            if select.select([self._ours], [], [], 1)[0]:
                self._shown += os.read(self._ours, 65_536).decode(errors="replace")
        before, _, self._shown = self._shown.partition(words)
        return before
