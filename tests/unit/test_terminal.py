"""What is told on a terminal of eighty columns is broken between words, and nothing of it is lost."""

from typing import Any

import pytest

from stream.doctor import print_findings
from stream.doctor_finding import error, ok
from stream.examples import SCORES
from stream.explain import lines
from stream.moments import shown
from stream.terminal import escaped, fitted
from stream.watch import SCORE_COLUMNS, score_line


def test_a_line_is_broken_between_words_and_goes_on_indented() -> None:
    assert fitted("found  one two three", 14, 7) == "found  one two\n       three"
    assert fitted("found  one two three", 20, 7) == "found  one two three"
    assert fitted("found  one two three", None, 7) == "found  one two three"
    assert (
        fitted("see models/store/default-20260301T020000Z", 20, 4) == "see\n    models/store/default-20260301T020000Z"
    )


def test_what_would_steer_a_terminal_is_escaped() -> None:
    evil = "a\x1b[2Jb\x9b31m\r\nc\u202ed\x07"

    assert escaped(evil) == r"a\x1b[2Jb\x9b31m\r\nc\u202ed\x07"
    assert fitted(evil, None, 4) == fitted(evil, 80, 4) == escaped(evil)
    assert escaped("Zoë 日本 #1 'x' \\n") == "Zoë 日本 #1 'x' \\n"


@pytest.mark.parametrize(
    "time", ["2026-03-02T02:40:00+01:00", "2026-03-02T01:40:00.999999Z", "2026-03-01T18:40:00-07:00"]
)
def test_times_of_all_zones_are_shown_by_one_clock(time: str) -> None:
    assert shown(time) == "2026-03-02T01:40:00Z"


def test_a_score_fits_eighty_columns_below_the_columns_names() -> None:
    score = SCORES[0] | {"user_id": "user-1-000561", "transaction_id": "tx-1-6747b1c0-00012345", "window_length": 10}
    line = score_line({name: value for name, value in score.items() if name != "reasons"})  # type: ignore[arg-type]
    columns = {name: SCORE_COLUMNS.index(name) for name in SCORE_COLUMNS.split()}

    assert len(line) <= 80
    assert line[columns["created_at"] :].startswith("2026-03-02T01:40:00Z ")
    assert line[columns["verdict"] :].startswith("ANOMALY ")
    assert line[columns["score"] :].startswith("0.9132 ")
    assert line[columns["win"] : columns["user"]].strip() == "10"
    assert line[columns["user"] :].startswith("user-1-000561 ")
    assert line[columns["payment"] :] == "tx-1-6747b1c0-00012345"


def explained(payments: int) -> dict[str, Any]:
    names = ("log_amount", "hour_sin", "is_night", "log_seconds_since_previous", "amount_against_window")
    created_at = "2026-03-01T18:21:07.000Z"
    step = {
        "transaction_id": "tx-1-6747b1c0-00012345",
        "created_at": created_at,
        "amount": 1234.5,
        "is_vpn": True,
        "merchant_id": "merchant-00017",
    }
    return {
        **step,
        "user_id": "user-1-000561",
        "source": {
            "from": "topic",
            "topic": "transactions",
            "partition": 3,
            "offset": 12_345,
            "read_from_offset": 0,
            "window_is_whole": False,
            "moved_from": [2],
        },
        "window": [
            step | {"features": {name: place - 3 + number / 10 for number, name in enumerate(names)}}
            for place in range(payments)
        ],
        "context": {},
        "recomputed": {
            "model_version": "starter-default",
            "threshold": 0.163,
            "fraud_probability": 0.2,
            "window_length": 10,
            "above_threshold": True,
            "profile_day": None,
            "reasons": [],
        },
        "published": None,
        "same": None,
    }


@pytest.mark.parametrize("payments", [1, 10])
def test_an_explanation_fits_the_terminal_and_lacks_nothing(payments: int) -> None:
    it = explained(payments)
    told = "\n".join(lines(it, 80)).splitlines()

    assert max(map(len, told)) <= 80
    for place, step in enumerate(it["window"]):
        row = [line.split() for line in told if line.startswith("  ") and "log_amount" in line]
        values = [value for cells in row for value in cells[1:]]
        assert values[place] == f"{step['features']['log_amount']:.3f}"
    whole = lines(it)
    assert max(map(len, whole)) > 80
    assert set(" ".join(whole).split()) <= set(" ".join(told).split())


def test_what_the_doctor_finds_can_be_read_on_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = "transactions keeps 7 days and windows reach back 90: after a loss of Redis they would lack what is older"
    command = "kafka-configs.sh --alter --topic transactions --add-config retention.ms=7776000000 " + "x" * 80
    wrong = error("retention-short", found, "set TENFOLD_ARCHIVE", command)
    print_findings([wrong, ok("clock", "the clocks agree")])
    told = capsys.readouterr().out

    [copied] = [line for line in told.splitlines() if line.endswith(command)]  # whoever copies it has one line
    told = told.replace(f"{copied}\n", "")
    assert max(map(len, told.splitlines())) <= 80
    assert told.index("clock: the clocks agree") < told.index("ERROR")
    assert f"ERROR retention-short: {found} -> set TENFOLD_ARCHIVE 1 error" in " ".join(told.split())
