"""Commands about what goes over the topics: look at it, and say what it looks like."""

import json
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from stream.errors import TenfoldError


def watch(
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Begin with the oldest score.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
    anomalies: Annotated[bool, typer.Option("--anomalies", help="Only what was flagged.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each score as a line of JSON.")] = False,
) -> None:
    """Follow the scores as they come, until Ctrl-C.

    Example: tenfold watch --anomalies
    """
    from stream.settings import load
    from stream.signals import stop_on_signals
    from stream.watch import follow, score_line

    with stop_on_signals() as stop:
        scores = follow(load(), stop, from_beginning=from_beginning)
        wanted = (score for score in scores if score["sequence_anomaly"] or not anomalies)
        for score in islice(wanted, limit):
            print(json.dumps(score) if as_json else score_line(score), flush=True)
        if stop.is_set():
            raise typer.Exit(130)


def schema(
    out: Annotated[
        Path | None, typer.Option(help="Write the files there; else the document is printed.", metavar="DIR")
    ] = None,
) -> None:
    """Write what goes over the topics: a JSON Schema of each message, and an AsyncAPI 3 document of all.

    Topics and group in the document are those of the settings.

    Example: tenfold schema --out docs/schemas
    """
    from stream.schemas import schema_files
    from stream.settings import load

    files = schema_files(load())
    if out is None:
        typer.echo(files["asyncapi.json"], nl=False)
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (out / name).write_text(text, encoding="utf-8")
            typer.echo(out / name)
    except OSError as error:
        raise TenfoldError(f"{out} cannot be written: {error.strerror}") from None
