"""Commands that tell what a scorer would find: the state of its surroundings, and the settings in force."""

import json
import sys
from typing import Annotated

import typer

from stream.commands.options import Json
from stream.commands.shown import at_work


def doctor(
    users: Annotated[
        int | None, typer.Option(min=1, help="Users to have room for.  [default: what is there]", metavar="N")
    ] = None,
    no_write: Annotated[bool, typer.Option("--no-write", help="Do not try writing in aborted transactions.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings, too.")] = False,
    as_json: Json = False,
) -> None:
    """Look at Kafka, Redis, model and settings as the scorer will find them; say what is wrong and how to mend it.

    It reads only, but for a record to each output in a transaction that it aborts. 1 if there is an error, else 0.

    Example: tenfold doctor --users 2000000 --strict
    """
    from stream.doctor import examine, exit_code, print_findings, report_lines
    from stream.settings import load

    settings = load()
    with at_work("looking at Kafka, Redis, model and settings"):
        findings = examine(settings, users, write=not no_write)
    if as_json:
        typer.echo(json.dumps([each.as_dict() for each in findings]))
    elif sys.stdout.isatty():
        print_findings(findings)
    else:
        typer.echo("\n".join(report_lines(findings)))
    raise typer.Exit(exit_code(findings, strict=strict))


def config(as_json: Json = False) -> None:
    """Print the settings in force and where each comes from: default, environment or file. Secrets are masked.

    In the environment a name is in upper case behind TENFOLD_, as TENFOLD_GROUP_ID; kafka.x is TENFOLD_KAFKA__X.

    Example: tenfold config --json
    """
    from stream.config_command import effective, lines

    settings = effective()
    told = {each.name: {"value": each.value, "origin": each.origin} for each in settings}
    typer.echo(json.dumps(told) if as_json else "\n".join(lines(settings)))
