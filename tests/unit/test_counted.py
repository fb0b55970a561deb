"""What is counted on a terminal goes on being shown, by however many it grows."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rich.console import Console

from stream.commands.options import counted


class Shown:
    """Stands where the line of a terminal is, and keeps what it said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def update(self, line: str) -> None:
        self.lines.append(line)


def test_the_number_grows_whether_it_comes_singly_or_by_the_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown()

    @contextmanager
    def status(_: Console, line: str) -> Iterator[Shown]:
        shown.update(line)
        yield shown

    monkeypatch.setattr(Console, "status", status)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with counted("records") as progress:
        for more in (99, 1, 9_998, 7, 90):
            progress(more)

    assert shown.lines == ["0 records", "100 records", "10,098 records", "10,105 records"]
