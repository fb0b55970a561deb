"""Options of several commands, read in one way. Imports nothing that an extra brings."""

from datetime import date
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from stream.errors import UsageError


def day(option: str, text: str) -> date:
    """Return the day that an option gives.

    Raises:
        UsageError: it gives none.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text}: give a day such as 2026-01-31") from None


def zone(option: str, name: str) -> str:
    """Return the IANA zone that an option names.

    Raises:
        UsageError: there is none of that name.
    """
    try:
        if name == "localtime":  # the zone of this machine, which DuckDB does not know, and another machine has not
            raise ZoneInfoNotFoundError(name)
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a directory of zones is an OSError
        raise UsageError(f"{option} {name}: no such IANA zone; Europe/Berlin is one") from None
    return name
