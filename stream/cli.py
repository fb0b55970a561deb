"""The command ``tenfold``: which commands there are, by task. What each takes and does is in ``stream/commands``."""

import logging
import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stream.commands import (
    checks,
    completion,
    learning,
    messages,
    models,
    profiles,
    records,
    scoring,
    suppress,
    try_out,
)
from stream.commands.plain_help import PlainCommand, PlainGroup
from stream.errors import TenfoldError

TASKS = SCORE, LOOK, LEARN = "Score", "Look", "Learn"  # headings of the help, in this order

_KEEP = "Put history, or what goes over the topics, into files."  # two commands share a line of the help
_PRINT = "Print the settings in force, or the messages' schemas."


class _OnAScreen(TyperGroup):
    """The command's own help: a line a command, so that all of them fit 80 columns and 24 lines with the prompt."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write it. Commands of a task that share their words share a line."""
        rows: dict[tuple[str, str], list[str]] = {}
        commands: dict[str, Any] = dict(self.commands)
        for name, command in commands.items():
            rows.setdefault((command.rich_help_panel, command.short_help or command.help), []).append(name)
        formatter.write(f"Usage: {ctx.command_path} COMMAND [--help]   {self.help}\n\n")
        above = ""
        for (task, words), names in sorted(rows.items(), key=lambda row: TASKS.index(row[0][0])):
            heading, above = "" if task == above else task, task
            formatter.write(typer.style(f"{heading:<7}", bold=True))
            formatter.write(typer.style(f"{', '.join(names):<17}", fg=typer.colors.CYAN, bold=True) + f"{words}\n")
        formatter.write(f"{self.epilog}\n")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words; where there are none, or the first is ``help``, help is asked for."""
        return super().parse_args(ctx, [*args[1:], "--help"] if args[:1] in ([], ["help"]) else args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command of the first word; one that stands below another is named with it."""
        commands: dict[str, Any] = dict(self.commands)
        below = [f"{name} {args[0]}" for name, its in commands.items() if args[0] in getattr(its, "commands", {})]
        if below and args[0] not in commands and not ctx.resilient_parsing:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {', '.join(map(repr, below))}?")
        return super().resolve_command(ctx, args)

    def get_params(self, ctx: Any) -> Any:
        """Return the options, typer's own for completion not among them: that is a command here."""
        return [each for each in super().get_params(ctx) if not str(each.name).endswith("_completion")]


app = typer.Typer(
    name="tenfold",
    cls=_OnAScreen,
    help="Fraud scores for Kafka, exactly once.",
    epilog="Exit codes: 0 done, 1 refused, 2 wrong option, 130 Ctrl-C: docs/operations.md",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tenfold {version('tenfold')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", "-V", is_eager=True, callback=_print_version, help="Print it.")
    ] = False,
) -> None:
    """Take what is asked of the command itself."""


def _group(name: str, about: str, panel: str, short_help: str | None = None) -> typer.Typer:
    group = typer.Typer(no_args_is_help=True, help=about, cls=PlainGroup)
    app.add_typer(group, name=name, rich_help_panel=panel, short_help=short_help)
    return group


app.command(rich_help_panel=SCORE, short_help="Score simulated payments and watch; nothing is needed.")(try_out.demo)
app.command(rich_help_panel=SCORE, short_help="Score payments until stopped.")(scoring.score)
app.command(rich_help_panel=SCORE, short_help="Move a stopped group, or rebuild its windows.")(scoring.reset)
app.command(rich_help_panel=SCORE, short_help="Simulate payments and verdicts, to files or Kafka.")(try_out.simulate)
app.command(rich_help_panel=SCORE, short_help="Send payments or verdicts, each looked at before.")(messages.send)
topics_app = _group("topics", "Create the topics.", SCORE)
topics_app.command("create")(scoring.topics_create)
suppress_app = _group("suppress", "Users and merchants that raise no anomaly for a while.", SCORE)
suppress_app.command("user")(suppress.suppress_user)
suppress_app.command("merchant")(suppress.suppress_merchant)
suppress_app.command("lift")(suppress.suppress_lift)
suppress_app.command("list")(suppress.suppress_list)

app.command(rich_help_panel=LOOK, short_help="Follow the scores, or the dead letters.")(messages.watch)
app.command(rich_help_panel=LOOK, short_help="Say what a score was made of.")(messages.explain)
app.command(rich_help_panel=LOOK, short_help="Say what is wrong, and how to mend it.")(checks.doctor)
app.command(rich_help_panel=LOOK, short_help=_PRINT)(checks.config)
app.command(rich_help_panel=LOOK, short_help=_PRINT)(messages.schema)
app.command(rich_help_panel=LOOK, short_help="Let bash, zsh or fish complete all of this.")(completion.completion)

app.command(rich_help_panel=LEARN, short_help="Train a model on recorded payments.")(learning.train)
models_app = _group("models", "Bundles of the store, and which of them is in force.", LEARN)
models_app.command("list")(models.models_list)
models_app.command("show")(models.models_show)
models_app.command("verify")(models.models_verify)
models_app.command("diff")(models.models_diff)
models_app.command("promote")(models.models_promote)
models_app.command("rollback")(models.models_rollback)
models_app.command("shadow")(models.models_shadow)
models_app.command("retire")(models.models_retire)
app.command(rich_help_panel=LEARN, short_help="Score days of the archive as the scorer would have.")(learning.backtest)
app.command(rich_help_panel=LEARN, short_help="Judge a model on any days of the archive.")(learning.evaluate)
app.command(rich_help_panel=LEARN, short_help="Watch how good the published scores are.")(learning.monitor)

archive_app = _group("archive", "Keep what went over the topics, as Parquet files.", LEARN, _KEEP)
archive_app.command("run")(records.archive_run)
archive_app.command("compact")(records.archive_compact)
archive_app.command("rotate-pseudonyms")(records.archive_rotate_pseudonyms)
app.command("import", rich_help_panel=LEARN, short_help=_KEEP)(records.import_history)
profiles_app = _group("profiles", "Daily profiles of merchants and users.", LEARN)
profiles_app.command("build")(profiles.profiles_build)
profiles_app.command("publish")(profiles.profiles_publish)
profiles_app.command("run")(profiles.profiles_run)
app.command("erase-user", rich_help_panel=LEARN, short_help="Take a user out of archive, profiles and windows.")(
    records.erase_user
)
for _its in (app, *(group.typer_instance for group in app.registered_groups)):
    for _command in _its.registered_commands if _its else ():
        _command.cls = PlainCommand


def main() -> None:
    """Run the command line; errors made for a person are printed without a traceback."""
    # what the Kafka client says of a broker that is away is in the error; the scorer sets up logs of its own
    logging.getLogger("tenfold.librdkafka").addHandler(logging.NullHandler())
    try:
        app(prog_name="tenfold")  # also as python -m stream
    except TenfoldError as error:
        print(f"tenfold: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
