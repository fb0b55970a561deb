"""Progress of long work for who typed the command: drawn anew on a terminal, plain lines or nothing elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stream.plurals import count_of
from stream.progress import Counted, nobody

_EVERY_S = 0.1


@contextmanager
def at_work(doing: str) -> Iterator[None]:
    """Say on a terminal what is being done, for as long as it is; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(doing):
        yield


@contextmanager
def counted(noun: str, done: str = "", *, line_each: int | None = None) -> Iterator[Counted]:
    """Give a function that is told how many more are ``done``: on a terminal it shows how many there are by now.

    Elsewhere it is silent, or prints a line for each ``line_each`` of them. ``noun`` is one of them.
    """

    def told(count: int) -> str:
        return f"{count_of(count, noun)} {done}".rstrip()

    if not sys.stderr.isatty():
        yield nobody if line_each is None else _printing(told, line_each)
        return
    from rich.console import Console

    count, drawn_at = 0, 0.0
    with Console(stderr=True).status(told(0)) as status:

        def draw(more: int) -> None:
            nonlocal count, drawn_at
            count += more
            now = time.monotonic()
            if now - drawn_at >= _EVERY_S:
                drawn_at = now
                status.update(told(count))

        yield draw


def _printing(told: Callable[[int], str], line_each: int) -> Counted:
    count = 0

    def print_line(more: int) -> None:
        nonlocal count
        before, count = count, count + more
        if count // line_each > before // line_each:
            print(told(count), file=sys.stderr, flush=True)

    return print_line
