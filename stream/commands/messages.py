"""Commands about what goes over the topics: send it, look at it, explain it, and say what it looks like."""

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import typer

from stream.commands.options import Json, now_ms, utf8
from stream.commands.shown import counted
from stream.errors import TenfoldError
from stream.progress import nobody

User = Annotated[str | None, typer.Option(help="Only this user's.", metavar="ID", callback=utf8)]


def watch(
    user: User = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Only probabilities above it.", metavar="PROBABILITY")
    ] = None,
    anomalies: Annotated[bool, typer.Option("--anomalies", help="Only what was flagged.")] = False,
    dead_letters: Annotated[
        bool, typer.Option("--dead-letters", help="In place of scores what could not be scored: why, and where it is.")
    ] = False,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Begin with the oldest.")] = False,
    since: Annotated[
        str | None,
        typer.Option(
            help="Begin there, by Kafka's timestamps: 2026-03-01T08:00:00Z, or 90m, 12h, 7d ago.", metavar="TIME"
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="End after so many.", metavar="N")] = None,
    until_end: Annotated[bool, typer.Option("--exit", "-e", help="End at the topic's end; needs a beginning.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each as a line of JSON.")] = False,
) -> None:
    """Follow the scores, or the dead letters, as they come, until Ctrl-C.

    A score's line has the payment's time in UTC, the verdict, the score, how many payments its window has, user,
    payment, and reasons. The record of a dead letter: docs/runbooks/dead-letters.md.

    Example: tenfold watch --anomalies --since 12h
    """
    from stream.moments import moment_ms
    from stream.settings import load
    from stream.signals import stop_on_signals
    from stream.terminal import fitted, terminal_width
    from stream.watch import (
        INDENT,
        LETTER_COLUMNS,
        SCORE_COLUMNS,
        Wanted,
        dead_letter_line,
        follow_dead_letters,
        follow_scores,
        score_line,
    )

    if from_beginning and since is not None:
        raise typer.BadParameter("give one of --from-beginning, --since")
    if dead_letters and (anomalies or threshold is not None):
        raise typer.BadParameter("dead letters have no score: --anomalies and --threshold are not for them")
    if until_end and not from_beginning and since is None:
        raise typer.BadParameter("--exit ends at once where nothing is read: give --since or --from-beginning with it")
    begin = 0 if from_beginning else None
    if since is not None:
        try:
            begin = max(moment_ms(since, now_ms(), ahead=False), 0)
        except ValueError:
            raise typer.BadParameter(f"--since {since!r} is neither 2026-03-01T08:00:00Z nor 90m, 12h, 7d") from None
    settings, width = load(), terminal_width()
    printed = 0

    def at_end() -> bool:
        if not until_end and (limit is not None or sys.stderr.isatty()):
            more = "more" if limit is None else f"{limit - printed:,} more"
            say(f"the end of the topic; waiting for {more}, Ctrl-C ends")
        return not until_end

    def say(sentence: str) -> None:
        print(f"tenfold: {sentence}", file=sys.stderr, flush=True)

    with stop_on_signals() as stop:
        lines: Iterator[str]
        if dead_letters:
            columns, letters = LETTER_COLUMNS, follow_dead_letters(settings, stop, begin, at_end, say, user)
            lines = map(_json_line if as_json else dead_letter_line, letters)
        else:
            wanted = Wanted(user, threshold, anomalies)
            columns, scores = SCORE_COLUMNS, follow_scores(settings, stop, begin, at_end, say, wanted)
            lines = map(_json_line if as_json else score_line, scores)
        for line in islice(lines, limit):
            if printed == 0 and width is not None and not as_json:
                print(columns)
            print(line if as_json else fitted(line, width, INDENT), flush=True)
            printed += 1
        if stop.is_set():
            raise typer.Exit(130)


def _json_line(message: object) -> str:
    return json.dumps(message, default=str)


def send(
    fields: Annotated[
        list[str] | None, typer.Argument(help="One message; else JSON lines are read.", metavar="FIELD=VALUE")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="JSON lines to send.  [default: standard input]", metavar="FILE")
    ] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Verdicts, in place of payments.")] = False,
    as_json: Json = False,
) -> None:
    """Send payments, or verdicts, keyed by their user; what the scorer would refuse is not sent, and 1 in the end.

    With FIELD=VALUE a payment without transaction_id or created_at is given a new one, and now; a verdict without
    labelled_at, now. A line must have them: else it would be another payment whenever it is sent.

    Example: tenfold send user_id=anna amount=12.50 merchant_id=m-7
    """
    from contextlib import ExitStack

    from stream.send import message_of
    from stream.send import send as send_lines
    from stream.settings import load

    if fields and file is not None:
        raise typer.BadParameter("give one of FIELD=VALUE, --file")
    if not fields and file is None and sys.stdin.isatty():
        raise typer.BadParameter("give FIELD=VALUE, --file, or JSON lines on standard input")
    settings = load()
    kind: Literal["payment", "verdict"] = "verdict" if labels else "payment"

    def say(line: str) -> None:
        typer.echo(f"tenfold: {line}", err=True)

    def complain(number: int, why: str) -> None:
        say(f"{'this' if fields else f'line {number}'} is no {kind}, and was not sent: {why}")

    with ExitStack() as stack:
        if fields:
            given = message_of(fields, kind, now_ms())
            lines: Iterable[bytes] = [given.value]
            filled = given.filled
        else:
            try:
                lines = stack.enter_context(file.open("rb")) if file is not None else sys.stdin.buffer
            except OSError as error:
                raise TenfoldError(f"{file} cannot be read: {error.strerror}") from None
            filled = {}
        progress = nobody if fields else stack.enter_context(counted("line"))
        done = send_lines(settings, kind, lines, now_ms, complain, progress)
    if done.sent and filled:
        done.filled = filled
        say(", ".join(f"{name} is {value}" for name, value in filled.items()))
    typer.echo(json.dumps(done.as_dict()) if as_json else done.line)
    if done.refused:
        raise typer.Exit(1)


def explain(
    transaction: Annotated[str, typer.Argument(help="The transaction's id.", metavar="TRANSACTION_ID", callback=utf8)],
    archive: Annotated[
        str | None,
        typer.Option(
            help="Look there only.  [default: TENFOLD_ARCHIVE, for what Kafka does not have any more]",
            metavar="DIR|URL",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Explain a score: flagged or not and why, the payment, its window, features and profiles; make the score again.

    Each message of the transaction that was scored is explained. Exit code 1 if a score, made again, is another, or
    a message is gone.

    Example: tenfold explain t-1
    """
    from stream.explain import lines
    from stream.explain_command import explained
    from stream.settings import load
    from stream.terminal import terminal_width

    settings = load()
    with counted("record") as progress:
        found, missing = explained(settings, transaction, archive, progress)
    width = terminal_width()
    if found:
        typer.echo(json.dumps(found) if as_json else "\n\n".join("\n".join(lines(each, width)) for each in found))
    for each in missing:
        typer.echo(f"tenfold: {each}", err=True)
    if missing or any(each["same"] is False for each in found):
        raise typer.Exit(1)


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
