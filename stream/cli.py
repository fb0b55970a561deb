"""The command ``tenfold``. Each command imports what it needs when it runs, so that scoring starts fast and small."""

import json
import sys
from typing import Annotated

import typer

from stream.errors import TenfoldError

app = typer.Typer(
    name="tenfold",
    help="Scores every payment on a Kafka topic for fraud, over its user's last ten, exactly once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
topics_app = typer.Typer(no_args_is_help=True, help="Manage the topics.")
app.add_typer(topics_app, name="topics")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
def score() -> None:
    """Score transactions until stopped. Settings come from TENFOLD_… variables.

    Example: TENFOLD_BOOTSTRAP_SERVERS=localhost:9092 tenfold score
    """
    from stream.scorer import run, stop_on_signals
    from stream.settings import load

    settings = load()
    with stop_on_signals() as stop:
        run(settings, stop)


@topics_app.command("create")
def topics_create(
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of each topic.")] = 12,
    replication: Annotated[int, typer.Option(min=1, help="Replicas of each partition.")] = 1,
    as_json: Json = False,
) -> None:
    """Create the four topics where they are missing.

    Example: tenfold topics create --partitions 12 --replication 3
    """
    from stream.settings import load
    from stream.topics import create_topics

    created = create_topics(load(), partitions, replication)
    if as_json:
        typer.echo(json.dumps({name: "created" if new else "exists" for name, new in created.items()}))
        return
    for name, new in created.items():
        typer.echo(f"{name}: {'created' if new else 'exists already'}")


def main() -> None:
    """Run the command line; errors made for a person are printed without a traceback."""
    try:
        app()
    except TenfoldError as error:
        print(f"tenfold: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
