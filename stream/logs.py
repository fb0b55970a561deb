"""Structured logs: one JSON object a line, or plain text on a terminal. They never carry a record's key or value."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Literal

from stream.terminal import escaped

LogFormat = Literal["auto", "json", "text"]

_REPEATED = {"FAIL", "ERROR", "GETPID", "TXNERR"}  # of librdkafka's facilities: no connection, no transaction
_REPEAT_EVERY_S = 30.0
_EACH_TIME = re.compile(r"^\[.*?\] \[thrd:.*?\]: | \(after [^()]*(\([^()]*\)[^()]*)?\)$")  # client, thread; how long

_TAKING_UP = {"stream.assignment", "stream.catch_up"}  # tell of each partition

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """Time, level, logger, message, and what was given as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line of JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """The same for a person: local time, level, message, and the rest as ``name=value``.

    Who looks at a terminal knows the day; in a file or a journal the time has date and zone.
    """

    def __init__(self, *, on_terminal: bool) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")
        self._on_terminal = on_terminal

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        """Return a record's time."""
        its = datetime.fromtimestamp(record.created).astimezone()
        return its.strftime("%H:%M:%S") if self._on_terminal else its.isoformat(timespec="milliseconds")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - its name in logging
        """Return a record as a line of text."""
        return escaped(super().formatMessage(record)) + "".join(
            f" {name}={_value(value)}" for name, value in _fields(record).items()
        )


def _value(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    plain = text and text.isprintable() and " " not in text
    return text if plain else escaped(json.dumps(text, ensure_ascii=False))


class RepeatsFilter(logging.Filter):
    """Lets librdkafka say once in 30 s what it says of every attempt of every client: ten a second, at times.

    It compares what is said, without who says it and for how long it was tried.
    """

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[tuple[str, str], float] = {}  # facility and text; when, in s

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is logged."""
        facility, _, said = record.getMessage().partition(" ")
        if record.name != "tenfold.librdkafka" or facility not in _REPEATED:
            return True
        now = record.created
        self._told = {each: when for each, when in self._told.items() if now - when < _REPEAT_EVERY_S}
        its = (facility, _EACH_TIME.sub("", said))
        if its in self._told:
            return False
        self._told[its] = now
        return True


def is_text(log_format: LogFormat) -> bool:
    """Return whether logs are for a person: where nothing else is asked for, on a terminal."""
    return log_format == "text" or (log_format == "auto" and sys.stderr.isatty())


def is_for_a_person(record: logging.LogRecord) -> bool:
    """Return whether a line is more than a scorer's partition taken up as ever: of all of them there is one line."""
    as_ever = record.levelno <= logging.INFO and hasattr(record, "partition")
    return not (as_ever and record.name in _TAKING_UP)


def configure(level: str, log_format: LogFormat) -> None:
    """Send logs to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RepeatsFilter())
    if is_text(log_format):
        handler.setFormatter(TextFormatter(on_terminal=sys.stderr.isatty()))
        if level != "debug":
            handler.addFilter(is_for_a_person)
    else:
        handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
