"""Structured logs: one JSON object a line, or plain text on a terminal. They never carry a record's key or value."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

LogFormat = Literal["auto", "json", "text"]

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
    """The same for a person: local time, level, message, and the rest as ``name=value``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - its name in logging
        """Return a record as a line of text."""
        return super().formatMessage(record) + "".join(
            f" {name}={_value(value)}" for name, value in _fields(record).items()
        )


def _value(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if text and " " not in text else json.dumps(text, ensure_ascii=False)


def is_text(log_format: LogFormat) -> bool:
    """Return whether logs are for a person: where nothing else is asked for, on a terminal."""
    return log_format == "text" or (log_format == "auto" and sys.stderr.isatty())


def configure(level: str, log_format: LogFormat) -> None:
    """Send logs to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if is_text(log_format) else JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
