"""Lines broken between words where they are wider than the terminal. Elsewhere they stay whole, for programs."""

import shutil
import sys
import textwrap


def terminal_width() -> int | None:
    """Return how many columns standard output shows, ``None`` where it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fitted(line: str, width: int | None, indent: int) -> str:
    """Return a line broken between words for ``width`` columns, what follows indented; whole where that is ``None``.

    A word that is wider stays whole, so that it can be copied.
    """
    if width is None or len(line) <= width:
        return line
    return textwrap.fill(line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
