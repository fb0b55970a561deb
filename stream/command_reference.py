"""The page of commands, written by the commands themselves: ``python -m stream.command_reference``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from typer.core import TyperArgument, TyperGroup
from typer.main import get_command

from stream.cli import app

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "commands.md"

_HEAD = """\
# Commands

What `tenfold COMMAND --help` says, of every command; `python -m stream.command_reference` writes this page.
Settings, which most commands read, are in [settings.md](../settings.md), exit codes in
[operations.md](../operations.md#exit-codes). `tenfold completion` lets your shell complete all of them.
"""


def page() -> str:
    """Return the page as Markdown."""
    return "\n".join([_HEAD, *_of(get_command(app), "tenfold")])


def _of(command: Any, name: str) -> Iterator[str]:
    """Yield the lines of a command's part, or of those of a group, one after the other."""
    if isinstance(command, TyperGroup):
        for each, its in sorted(command.commands.items()):
            yield from _of(its, f"{name} {each}")
        return
    said, _, example = (command.help or "").partition("Example:")
    yield from (f"## {name}", "", " ".join(said.replace("\f", "").split()), "")
    rows = [_row(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)]
    if rows:
        yield from ("| | |", "|---|---|", *rows, "")
    if example:
        yield from (f"Example: `{' '.join(example.split())}`", "")


def _row(parameter: Any) -> str:
    if isinstance(parameter, TyperArgument):
        flags = parameter.metavar or str(parameter.name).upper()
    else:
        flags = ", ".join(sorted(parameter.opts, key=len)) + ("" if parameter.is_flag else f" {_value(parameter)}")
    said = " ".join((parameter.help or "").split())
    default = parameter.default
    is_told = isinstance(default, str | int | float) and not isinstance(default, bool) and "[default:" not in said
    notes = [*([f"Default: `{default}`."] if is_told else []), *(["Required."] if parameter.required else [])]
    return f"| `{_cell(flags)}` | {_cell(' '.join([said, *notes]).strip())} |"


def _value(parameter: Any) -> str:
    annotation = parameter.type_descriptor.annotation
    words = "|".join(map(str, get_args(annotation))) or getattr(annotation, "__name__", "value").upper()
    return str(parameter.metavar or words)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
