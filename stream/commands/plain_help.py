"""A command's help as plain text: what an option takes is told by its word, and a range in words."""

import re
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup


class PlainCommand(TyperCommand):
    """A command whose help has no names of Python's types; typer itself gives them to whoever has no better word."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what stands behind the command's name, without the braces around what is required."""
        return [re.sub(r"[{}]", "", piece) for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, a row each."""
        rows: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            name, told = parameter.get_help_record(ctx) or ("", "")  # of one that is hidden there is none
            if isinstance(parameter, TyperArgument):
                rows["Arguments"].append((name.partition(" <")[0], told))
            elif name:
                rows["Options"].append((re.sub(r"<(.+)>", r"\1", name), _in_words(told)))
        for heading, its in rows.items():
            if its:
                with formatter.section(heading):
                    formatter.write_dl(its)


class PlainGroup(TyperGroup):
    """Commands below a word, each told by the whole first sentence of its help."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as the base class calls it
        """Write them, a row each."""
        commands: dict[str, Any] = dict(self.commands)
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help.partition("\n")[0]) for name, command in commands.items()])


def _in_words(told: str) -> str:
    """Return an option's help with its range, as typer has it, in words."""
    return re.sub(r"x>=([\d.]+)", r"\1 or more", re.sub(r"([\d.]+)<=x<=([\d.]+)", r"\1 to \2", told))
