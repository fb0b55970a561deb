"""Options of several commands, read in one way. Imports nothing that an extra brings."""

from datetime import date
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from stream.errors import TenfoldError


def day(option: str, text: str, refusal: type[TenfoldError]) -> date:
    """Return the day that an option gives, or raise ``refusal``, which says what to give."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise refusal(f"{option} {text}: give a day such as 2026-01-31") from None


def zone(option: str, name: str, refusal: type[TenfoldError]) -> str:
    """Return the IANA zone that an option names, or raise ``refusal``."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a directory of zones is an OSError
        raise refusal(f"{option} {name}: no such IANA zone; Europe/Berlin is one") from None
    return name
