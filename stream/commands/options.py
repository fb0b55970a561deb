"""What several commands have in common: options, and how a result is printed."""

import json
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from stream.terminal import fitted, terminal_width

if TYPE_CHECKING:
    from stream.models_command import Told

ArchiveUrl = Annotated[
    str | None, typer.Option("--archive", help="Where the archive is.  [default: TENFOLD_ARCHIVE]", metavar="DIR|URL")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

_INDENT = 23  # behind the names in `tenfold models show`, and the times of switches


def now_ms() -> int:
    """Return the time, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def utf8(word: str | None) -> str | None:
    """Return a word of the command line that is compared with ids.

    Raises:
        typer.BadParameter: it is not UTF-8, as every id is.
    """
    try:
        (word or "").encode()
    except UnicodeEncodeError:  # Python reads such bytes as surrogates
        raise typer.BadParameter(f"{word!a} is not UTF-8, and every id is") from None
    return word


def tell(told: "Told", *, as_json: bool) -> None:
    """Print what a command has to tell; exit with 1 if it is not good."""
    show(told.result, told.lines, as_json=as_json, indent=_INDENT)
    if not told.good:
        raise typer.Exit(1)


def show(result: object, lines: Iterable[str], *, as_json: bool, indent: int = 2) -> None:
    """Print a result as JSON, or its lines, on a terminal broken between words to its width."""
    if as_json:
        typer.echo(json.dumps(result))
        return
    width = terminal_width()
    for line in lines:
        typer.echo(fitted(line, width, indent))
