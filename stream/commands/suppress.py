"""Commands about users and merchants that raise no anomaly for a while."""

from typing import Annotated, Literal

import typer

from stream.commands.options import Json, now_ms, tell, utf8

Until = Annotated[
    str, typer.Option(help="When it ends: 2026-03-01T08:00:00Z, or 90m, 12h, 7d from now.", metavar="TIME")
]
Why = Annotated[str, typer.Option("--reason", help="Kept in the history, for whoever looks later.", metavar="WHY")]


def suppress_user(
    user: Annotated[str, typer.Argument(help="The user's id.", metavar="ID", callback=utf8)],
    until: Until,
    reason: Why,
    as_json: Json = False,
) -> None:
    """Let a user's payments raise no anomaly for a while: they are scored as ever, and say that they are suppressed.

    Running scorers know it within a second or two.

    Example: tenfold suppress user anna --until 7d --reason "on holiday, has called"
    """
    from stream.settings import load
    from stream.suppress_command import suppressed

    tell(suppressed(load(), "user", user, until, reason, now_ms()), as_json=as_json)


def suppress_merchant(
    merchant: Annotated[str, typer.Argument(help="The merchant's id.", metavar="ID", callback=utf8)],
    until: Until,
    reason: Why,
    as_json: Json = False,
) -> None:
    """Let payments at a merchant raise no anomaly for a while: they are scored as ever, and say so.

    Running scorers know it within a second or two.

    Example: tenfold suppress merchant m-17 --until 2026-03-01T08:00:00Z --reason "sale of concert tickets"
    """
    from stream.settings import load
    from stream.suppress_command import suppressed

    tell(suppressed(load(), "merchant", merchant, until, reason, now_ms()), as_json=as_json)


def suppress_lift(
    kind: Annotated[Literal["user", "merchant"], typer.Argument(help="Whose rule.", metavar="user|merchant")],
    id_: Annotated[str, typer.Argument(help="The user's or merchant's id.", metavar="ID", callback=utf8)],
    reason: Why,
    as_json: Json = False,
) -> None:
    """Take a rule away before it ends.

    Example: tenfold suppress lift user anna --reason "card reported stolen"
    """
    from stream.settings import load
    from stream.suppress_command import lifted

    tell(lifted(load(), kind, id_, reason, now_ms()), as_json=as_json)


def suppress_list(
    history: Annotated[bool, typer.Option("--history", help="The last 1,000 changes instead, newest first.")] = False,
    as_json: Json = False,
) -> None:
    """List who is suppressed, until when, by whom and why.

    Example: tenfold suppress list --history
    """
    from stream.settings import load
    from stream.suppress_command import listed

    tell(listed(load(), now_ms(), history=history), as_json=as_json)
