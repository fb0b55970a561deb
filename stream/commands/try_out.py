"""Commands to try Tenfold out: simulated payments, and a live look at how they are scored."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from stream.commands.options import Json
from stream.commands.shown import counted
from stream.errors import UsageError
from stream.plurals import count_of


def demo(
    events: Annotated[
        int | None, typer.Option(min=100, help="End after so many events.  [default: 20000]", metavar="N")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="End after so many seconds.", metavar="N")] = None,
    users: Annotated[
        int | None, typer.Option(min=1, help="Simulated users.  [default: one per 20 events]", metavar="N")
    ] = None,
    rate: Annotated[float, typer.Option(min=1, help="Events a second, once a history is loaded.", metavar="N")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulated payments.", metavar="N")] = 1,
    picture: Annotated[Path | None, typer.Option(hidden=True, help="Draw the board as it stood last.")] = None,
    as_json: Json = False,
) -> None:
    """Score simulated payments on an embedded broker and watch; nothing has to be installed or started.

    On a terminal space pauses, and q ends.

    Example: tenfold demo --seconds 30
    """
    from rich.console import Console

    from stream.demo import make_plan, run_demo
    from stream.demo_keys import keys_of_terminal
    from stream.demo_next import next_lines
    from stream.demo_picture import recorded
    from stream.demo_tally import summary_lines
    from stream.demo_view import SilentView, terminal_view
    from stream.signals import stop_on_signals

    plan = make_plan(events, seconds, users, rate, seed)
    with stop_on_signals() as stop:
        if as_json:
            summary = run_demo(plan, SilentView(Console(stderr=True)), stop)
            typer.echo(json.dumps(summary.as_dict()))
            return
        if picture is not None:
            with recorded(picture, plan.events) as view:
                run_demo(plan, view, stop)
            return
        with keys_of_terminal() as keys, terminal_view(Console(), plan.events) as view:
            summary = run_demo(plan, view, stop, keys)
    for line in (
        "",
        *summary_lines(summary),
        "",
        *next_lines(sys.argv[0], in_clone=Path("tests/kafka_here.py").exists()),
    ):
        typer.echo(line)


def simulate(
    users: Annotated[int, typer.Option(min=1, help="People who pay, about 1.6 times a day each.", metavar="N")],
    days: Annotated[int, typer.Option(min=1, help="Length of the stream.", metavar="N")],
    to: Annotated[str, typer.Option(help="A directory for Parquet files, or kafka.", metavar="DIR|kafka")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same payments.", metavar="N")] = 1,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Payments a second, to Kafka.  [default: as fast as it takes them]", metavar="N"),
    ] = None,
    backdate: Annotated[
        bool, typer.Option("--backdate", help="To kafka: as if each record had come at its own time.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Simulate payments, about one in a hundred a fraud, and the verdicts that come days later.

    Example: tenfold simulate --users 2000 --days 90 --seed 7 --to data
    """
    from training.simulate_command import to_directory, to_kafka

    if to == "kafka":
        from stream.settings import load

        settings = load()
        with counted("payment", "sent") as progress:
            written = to_kafka(users, days, seed, settings, rate, progress, backdate=backdate)
        places = f"topics {settings.input_topic} and {settings.labels_topic}"
    else:
        if rate is not None or backdate:
            raise UsageError("--rate and --backdate are for --to kafka: files are written as fast as it goes")
        with counted("payment", "simulated") as progress:
            written = to_directory(users, days, seed, Path(to), progress)
        places = f"{to}/transactions.parquet and {to}/labels.parquet"
    if as_json:
        typer.echo(json.dumps(written._asdict()))
        return
    payments, verdicts = count_of(written.transactions, "payment"), count_of(written.labels, "verdict")
    typer.echo(f"{payments}, {written.frauds:,} of them frauds, {verdicts}")
    typer.echo(f"in {places}")
