"""Long work shows on a terminal how far it has come; in a pipe it says nothing, or a plain line now and then."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stream.plurals import count_of
from tests.terminal import Terminal

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("TENFOLD_")} | {
    "PYTHONPATH": str(Path(__file__).parents[2]),
    "TERM": "xterm",
}

COUNTING = """
import itertools
from stream.commands.shown import at_work, counted

with at_work("looking"):
    input()
print("looked")
with counted("file", line_each=1_000) as progress:
    for more in %s:
        progress(more)
"""


def test_one_is_not_several() -> None:
    assert [count_of(count, "payment") for count in (0, 1, 2, 12_000)] == [
        "0 payments",
        "1 payment",
        "2 payments",
        "12,000 payments",
    ]


def test_a_terminal_shows_what_is_done_and_a_number_that_grows() -> None:
    with Terminal([sys.executable, "-c", COUNTING % "itertools.cycle((1, 9_998, 7))"], ENVIRONMENT) as terminal:
        terminal.until("looking")
        terminal.type("\n")
        terminal.until("looked")
        before = [terminal.until(" files") for _ in range(5)]
        shown = [int(re.sub(r".*?([\d,]+)$", r"\1", each, flags=re.DOTALL).replace(",", "")) for each in before]
        assert shown[0] < shown[-1]
        assert shown == sorted(shown)


def test_a_pipe_gets_a_plain_line_for_each_so_many() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", COUNTING % "(999, 2, 998, 1, 2500)"],
        input="\n",
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert ran.stdout == "looked\n"
    assert ran.stderr == "1,001 files\n2,000 files\n4,500 files\n"


@pytest.mark.parametrize("words", ["simulate --users 300 --days 40 --to data"])
def test_a_command_in_a_pipe_prints_its_result_and_nothing_else(words: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    command = [sys.executable, "-m", "stream", *words.split()]
    ran = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True)

    assert ran.stderr == ""
    assert "\x1b" not in ran.stdout
    with Terminal(["env", "-C", str(tmp_path), *command], ENVIRONMENT) as terminal:
        assert "0 payments simulated" in terminal.until("payments,")
