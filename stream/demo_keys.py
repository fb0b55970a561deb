"""Keys of whoever watches the demo: each is told as it is pressed, and the terminal is left as it was."""

import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Keys = Callable[[], str]  # what was typed since the last call


def no_keys() -> str:
    """Return what is typed where nobody types."""
    return ""


@contextmanager
def keys_of_terminal() -> Iterator[Keys]:
    """Yield a function that returns what was typed since the last call; on no terminal it never returns anything.

    Meanwhile keys are not shown, and need no Enter; Ctrl-C and Ctrl-Z do what they always do.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield no_keys
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield lambda: _typed(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _typed(descriptor: int) -> str:
    ready, _, _ = select.select([descriptor], [], [], 0)
    return os.read(descriptor, 1024).decode(errors="replace") if ready else ""
