"""``tenfold suppress``: what it takes, and what it refuses in one line; what it does is seen on a real Redis."""

import pytest

from stream.errors import UsageError
from stream.suppress_command import line_of, until_of
from stream.suppression_rules import Because, Change, Rule
from tests.unit.test_cli import tenfold, the_one_line

NOW_MS = 1_767_261_600_000  # 2026-01-01T10:00:00Z
_REASON = "--reason is one line of 1 to 1,000 printable characters"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", NOW_MS + 90 * 60_000),
        ("12h", NOW_MS + 12 * 3_600_000),
        ("7d", NOW_MS + 7 * 86_400_000),
        ("2026-01-01T12:00:00+01:00", NOW_MS + 3_600_000),
    ],
)
def test_an_end_is_a_time_or_a_duration(text: str, expected: int) -> None:
    assert until_of(text, NOW_MS) == expected


@pytest.mark.parametrize("text", ["", "7", "7w", "-7d", "tomorrow", "2026-02-30T00:00:00Z", "2026-03-01T08:00:00"])
def test_another_end_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is neither"):
        until_of(text, NOW_MS)


@pytest.mark.parametrize("text", ["0m", "2026-01-01T10:00:00Z", "2025-12-31T23:00:00Z"])
def test_an_end_that_is_past_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is over already"):
        until_of(text, NOW_MS)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["user", "x" * 129, "--until", "1d", "--reason", "y"], 2, "an id has 1 to 128 characters, this one 129"),
        (["user", "x", "--until", "1d", "--reason", " "], 2, _REASON),
        (["user", "x", "--until", "1d", "--reason", "y" * 1_001], 2, _REASON),
        (["lift", "user", "x", "--reason", "two\nlines"], 2, _REASON),
        (["user", "x", "--until", "1d", "--reason", "\x1b[2J"], 2, _REASON),
        (["user", "x", "--until", "1d", "--reason", b"\xff"], 2, _REASON),
        (["user", "x", "--until", "9999-12-31T23:59:59-12:00", "--reason", "y"], 2, "is after the year 9999 in UTC"),
        (["user", "x", "--until", "soon", "--reason", "y"], 2, "is neither"),
        (["list"], 1, "Redis at redis://127.0.0.1:1/0 does not"),
    ],
)
def test_what_cannot_be_is_one_line(words: list[str | bytes], code: int, told: str) -> None:
    ran = tenfold("suppress", *words, TENFOLD_REDIS_URL="redis://127.0.0.1:1/0")
    assert ran.returncode == code
    assert told in the_one_line(ran)


def test_a_rule_and_a_change_are_a_line_each() -> None:
    why = Because("root", NOW_MS, "on holiday")
    rule, lift = Rule("user", "anna", NOW_MS + 90 * 60_000, why), Change("lift", "merchant", "m-17", None, why)

    assert line_of(rule) == "user      anna          until 2026-01-01T11:30:00Z  root: on holiday"
    assert line_of(lift).split() == ["2026-01-01T10:00:00Z", "lift", "merchant", "m-17", "root:", "on", "holiday"]


@pytest.mark.parametrize("command", ["user", "merchant", "lift", "list"])
def test_help_has_an_example(command: str) -> None:
    ran = tenfold("suppress", command, "--help")
    assert ran.returncode == 0
    assert f"tenfold suppress {command}" in ran.stdout.partition("Example:")[2]
