"""Logs for a person: short lines on a terminal, JSON elsewhere, and how scoring goes."""

import io
import json
import logging
import sys

import pytest
from prometheus_client import CollectorRegistry

from stream.logs import JsonFormatter, LogFormat, TextFormatter, is_text
from stream.metrics import Metrics
from stream.score_log import ScoreLog


def record(message: str, **extra: object) -> logging.LogRecord:
    return logging.getLogger("stream.scorer").makeRecord("stream.scorer", 20, "", 0, message, (), None, extra=extra)


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("log_format", "on_a_terminal", "text"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("json", True, False),
        ("text", False, True),
    ],
)
def test_it_is_text_on_a_terminal_unless_something_else_is_asked_for(
    log_format: LogFormat, on_a_terminal: bool, text: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", FakeTerminal() if on_a_terminal else io.StringIO())

    assert is_text(log_format) == text


def test_a_line_of_text_has_time_level_message_and_the_rest_as_pairs() -> None:
    line = TextFormatter().format(record("no answer", error="Connection refused", partitions=[0, 2], group="g", why=""))

    time, rest = line.split(" ", 1)
    assert len(time) == len("18:21:07")
    assert rest == 'INFO    no answer error="Connection refused" partitions=0,2 group=g why=""'


def test_a_line_of_json_has_the_same() -> None:
    line = json.loads(JsonFormatter().format(record("no answer", error="Connection refused", partitions=[0, 2])))

    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "stream.scorer",
        "message": "no answer",
        "error": "Connection refused",
        "partitions": [0, 2],
    }


def test_what_was_scored_is_logged_once_for_each_change(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics(CollectorRegistry())
    status = ScoreLog(metrics)
    caplog.set_level("INFO")

    status.look()
    assert caplog.records == []
    metrics.scores.inc(30)
    metrics.anomalies.inc(2)
    metrics.dead_letters.labels("invalid").inc()
    metrics.dead_letters.labels("not-json").inc(3)
    metrics.lag_records.labels(0).set(5)
    metrics.lag_records.labels(1).set(6)
    status.look()
    status.look()
    [line] = [TextFormatter().format(each).split(" ", 1)[1] for each in caplog.records]
    assert line == "INFO    by now scored=30 flagged=2 dead_letters=4 lag=11"
