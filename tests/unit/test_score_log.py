"""Logs for a person: short lines on a terminal, JSON elsewhere, and how scoring goes."""

import io
import json
import logging
import sys
from datetime import datetime

import pytest
from prometheus_client import CollectorRegistry

from stream.logs import JsonFormatter, LogFormat, RepeatsFilter, TextFormatter, is_for_a_person, is_text
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
    its = record("no answer", error="Connection refused", partitions=[0, 2], group="g", why="")
    time, rest = TextFormatter(on_terminal=True).format(its).split(" ", 1)

    assert len(time) == len("18:21:07")
    assert rest == 'INFO    no answer error="Connection refused" partitions=0,2 group=g why=""'


def test_text_in_a_file_or_a_journal_has_date_and_zone() -> None:
    its = record("no answer")
    time, _ = TextFormatter(on_terminal=False).format(its).split(" ", 1)

    parsed = datetime.fromisoformat(time)
    assert parsed.utcoffset() is not None
    assert parsed.timestamp() == pytest.approx(its.created, abs=0.001)


def test_a_line_of_text_stays_one_and_does_not_steer_the_terminal() -> None:
    its = record("Kafka says \x1b[2J", error="a\nb", path="x\x9b2J", name_='say "no"')
    line = TextFormatter(on_terminal=True).format(its)

    assert line.isprintable()
    assert line.endswith(r'Kafka says \x1b[2J error="a\nb" path="x\x9b2J" name_="say \"no\""')


@pytest.mark.parametrize(
    ("logger", "level", "extra", "shown"),
    [
        ("stream.assignment", logging.INFO, {"partition": 3}, False),
        ("stream.assignment", logging.INFO, {"partitions": [3]}, True),
        ("stream.catch_up", logging.WARNING, {"partition": 3}, True),
        ("training.archive_kafka", logging.INFO, {"partition": 3}, True),
    ],
)
def test_a_person_is_not_told_of_each_partition_that_is_taken_up_as_ever(
    logger: str, level: int, extra: dict[str, object], shown: bool
) -> None:
    its = logging.getLogger(logger).makeRecord(logger, level, "", 0, "scoring", (), None, extra=extra)

    assert is_for_a_person(its) == shown


def librdkafka(message: str, at: float) -> logging.LogRecord:
    facility, client, text = message.split(" ", 2)  # as confluent-kafka hands it over
    its = logging.LogRecord("tenfold.librdkafka", logging.ERROR, "", 0, "%s %s %s", (facility, client, text), None)
    its.created = at
    return its


def test_a_connection_that_fails_again_and_again_is_told_once_in_30_s() -> None:
    repeats = RepeatsFilter()
    refused = "127.0.0.1:9092/bootstrap: Connect to ipv4#127.0.0.1:9092 failed: Connection refused"
    one = f"FAIL [tenfold#consumer-1] [thrd:127.0.0.1:9092/bootstrap]: {refused}"

    assert repeats.filter(librdkafka(f"{one} (after 0ms in state CONNECT)", 0))
    assert not repeats.filter(librdkafka(f"{one} (after 1ms in state CONNECT, 30 identical error(s) suppressed)", 20))
    assert not repeats.filter(librdkafka(f"FAIL [tenfold#producer-2] [thrd:a]: {refused} (after 0ms in state B)", 29))
    assert repeats.filter(librdkafka(f"{one} (after 0ms in state CONNECT)", 30))


def test_a_producer_that_asks_for_its_id_again_and_again_is_told_once_too() -> None:
    repeats = RepeatsFilter()
    asks = "[thrd:main]: Failed to acquire transactional PID from broker TxnCoordinator/1: Broker: Coordinator load"
    lines = [librdkafka(f"GETPID [tenfold#producer-{number}] {asks} in progress: retrying", 1) for number in (2, 3, 2)]

    assert [repeats.filter(line) for line in lines] == [True, False, False]


def test_nothing_else_that_librdkafka_says_is_lost() -> None:
    repeats = RepeatsFilter()
    lines = [
        "FAIL [tenfold#consumer-1] [thrd:a]: a:9092: Connect to ipv4#10.0.0.1:9092 failed: Connection refused",
        "FAIL [tenfold#consumer-1] [thrd:a]: a:9092: Connect to ipv4#10.0.0.2:9092 failed: Connection refused",
        "FAIL [tenfold#consumer-1] [thrd:a]: a:9092: SASL authentication error: no (after 5ms in state AUTH_REQ)",
        *["SESSTMOUT [tenfold#consumer-1] [thrd:main]: Consumer group session timed out"] * 2,
    ]

    assert all(repeats.filter(librdkafka(line, 0)) for line in lines)
    assert all(repeats.filter(record("no answer")) for _ in range(2))


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
    metrics.anomalies.inc(3)
    metrics.suppressed.inc()  # of these three
    metrics.dead_letters.labels("invalid").inc()
    metrics.dead_letters.labels("not-json").inc(3)
    metrics.lag_records.labels(0).set(5)
    metrics.lag_records.labels(1).set(6)
    status.look()
    status.look()
    [line] = [TextFormatter(on_terminal=True).format(each).split(" ", 1)[1] for each in caplog.records]
    assert line == "INFO    by now scored=30 flagged=2 dead_letters=4 lag=11"
