"""Lines for a person: what would steer a terminal is escaped, what is wider than it is broken between words."""

import shutil
import sys
import textwrap


def terminal_width() -> int | None:
    """Return how many columns standard output shows, ``None`` where it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def escaped(text: str) -> str:
    """Return text in which what cannot be seen, control characters among it, is as Python writes it: ``\\x1b``."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def fitted(line: str, width: int | None, indent: int) -> str:
    """Return a line escaped, and broken between words for ``width`` columns, what follows indented.

    It is whole where ``width`` is ``None``, for programs. A word that is wider stays whole, so that it can be copied.
    """
    line = escaped(line)
    if width is None or len(line) <= width:
        return line
    return textwrap.fill(line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
