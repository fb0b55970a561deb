"""What several commands have in common: options, and how a result is printed."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from stream.terminal import fitted, terminal_width

if TYPE_CHECKING:
    from stream.models_command import Told

ArchiveUrl = Annotated[
    str | None, typer.Option("--archive", help="Directory or URL.  [default: TENFOLD_ARCHIVE]", metavar="DIR|URL")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

_SHOWN_EVERY = 100
_INDENT = 23  # behind the names in `tenfold models show`, and the times of switches


def now_ms() -> int:
    """Return the time, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@contextmanager
def counted(what: str) -> Iterator[Callable[[int], None]]:
    """Give a function that is told how many more are done: it shows their number on a terminal, and is silent else."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    count = 0
    with Console(stderr=True).status(f"0 {what}") as status:

        def progress(more: int) -> None:
            nonlocal count
            count += more
            if count // _SHOWN_EVERY > (count - more) // _SHOWN_EVERY:  # they may come by the thousand
                status.update(f"{count:,} {what}")

        yield progress


def tell(told: "Told", *, as_json: bool) -> None:
    """Print what a command has to tell; exit with 1 if it is not good."""
    width = terminal_width()
    typer.echo(json.dumps(told.result) if as_json else "\n".join(fitted(line, width, _INDENT) for line in told.lines))
    if not told.good:
        raise typer.Exit(1)
