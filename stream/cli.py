"""The command ``tenfold``: which commands there are, by task. What each takes and does is in ``stream/commands``."""

import logging
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from stream.commands import (
    checks,
    learning,
    messages,
    models,
    profiles,
    records,
    scoring,
    suppress,
    try_out,
)
from stream.errors import TenfoldError

SCORE, LOOK, LEARN = "Score", "Look and ask", "Keep and learn"  # headings of the help, in this order


class _OnAScreen(TyperGroup):
    """The command's help, which is to fit a screen: typer's word on its own option takes two lines."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print it."""
        for parameter in self.params:
            if parameter.name == "show_completion":
                setattr(parameter, "help", "Print it, to install it yourself.")  # noqa: B010 - not every one has a help
        super().format_help(ctx, formatter)


app = typer.Typer(
    name="tenfold",
    cls=_OnAScreen,
    help="Scores every payment on a Kafka topic for fraud, over its user's last ten, exactly once.",
    epilog="Exit codes: 0 done, 1 refused, 2 wrong option, 130 Ctrl-C: docs/operations.md",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _group(name: str, about: str, panel: str) -> typer.Typer:
    group = typer.Typer(no_args_is_help=True, help=about)
    app.add_typer(group, name=name, rich_help_panel=panel)
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
app.command(rich_help_panel=LOOK, short_help="Print the settings in force, and where each comes from.")(checks.config)
app.command(rich_help_panel=LOOK, short_help="Write the messages' JSON Schemas and AsyncAPI document.")(messages.schema)

app.command(rich_help_panel=LEARN, short_help="Train a model on recorded payments.")(learning.train)
models_app = _group("models", "Bundles of the model store, and which of them is in force.", LEARN)
models_app.command("list")(models.models_list)
models_app.command("show")(models.models_show)
models_app.command("verify")(models.models_verify)
models_app.command("diff")(models.models_diff)
models_app.command("promote")(models.models_promote)
models_app.command("rollback")(models.models_rollback)
models_app.command("shadow")(models.models_shadow)
models_app.command("retire")(models.models_retire)
app.command(rich_help_panel=LEARN, short_help="Score a stretch of the archive as the scorer would have.")(
    learning.backtest
)
app.command(rich_help_panel=LEARN, short_help="Judge a model on any days of the archive.")(learning.evaluate)
app.command(rich_help_panel=LEARN, short_help="Watch how good the published scores are.")(learning.monitor)

archive_app = _group("archive", "Keep what went over the topics, as Parquet files.", LEARN)
archive_app.command("run")(records.archive_run)
archive_app.command("compact")(records.archive_compact)
archive_app.command("rotate-pseudonyms")(records.archive_rotate_pseudonyms)
app.command("import", rich_help_panel=LEARN, short_help="Put history into the archive.")(records.import_history)
profiles_app = _group("profiles", "Daily profiles of merchants and users.", LEARN)
profiles_app.command("build")(profiles.profiles_build)
profiles_app.command("publish")(profiles.profiles_publish)
profiles_app.command("run")(profiles.profiles_run)
app.command("erase-user", rich_help_panel=LEARN, short_help="Take a user out of archive, profiles and windows.")(
    records.erase_user
)


def main() -> None:
    """Run the command line; errors made for a person are printed without a traceback."""
    # what the Kafka client says of a broker that is away is in the error; the scorer sets up logs of its own
    logging.getLogger("tenfold.librdkafka").addHandler(logging.NullHandler())
    try:
        app(prog_name="tenfold")  # also as python -m stream
    except TenfoldError as error:
        print(f"tenfold: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
