"""A moment as a person names it, a time with an offset or how far it is from now (``90m``), and is shown it. Pure."""

import re

from stream.contract import epoch_ms, timestamp

_DISTANCE = re.compile(r"([0-9]{1,5})([mhd])")
_UNIT_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}


def moment_ms(text: str, now_ms: int, *, ahead: bool) -> int:
    """Return a moment in milliseconds since the epoch; a distance is ``ahead`` of now, or behind it.

    Raises:
        ValueError: ``text`` is neither.
    """
    distance = _DISTANCE.fullmatch(text)
    if distance is None:
        try:
            return epoch_ms(text)
        except TypeError:
            raise ValueError("the time has no offset") from None
    ms = int(distance[1]) * _UNIT_MS[distance[2]]
    return now_ms + ms if ahead else now_ms - ms


def shown(time: str) -> str:
    """Return a message's time as a person is shown it: in UTC, to the second; as it is where there is no such time."""
    try:
        return _to_the_second(epoch_ms(time))
    except (ValueError, OverflowError):  # 9999-12-31T23:59:59-14:00 is of the year 10000
        return time


def shown_ms(time_ms: int) -> str:
    """Return milliseconds since the epoch likewise; as they are where no calendar has them.

    Kafka keeps what producers send as a record's timestamp, be it in microseconds.
    """
    try:
        return _to_the_second(time_ms)
    except OverflowError:
        return f"{time_ms} ms"


def _to_the_second(time_ms: int) -> str:
    return f"{timestamp(time_ms)[:19]}Z"
