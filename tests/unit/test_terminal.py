"""What is told on a terminal of eighty columns is broken between words, and nothing of it is lost."""

from typing import Any

import pytest

from stream.commands import options
from stream.contract import DEAD_LETTER_HEADERS
from stream.doctor import print_findings
from stream.doctor_finding import error, ok
from stream.examples import DEAD_LETTER_HEADERS as DEAD_LETTERS
from stream.examples import SCORES
from stream.explain import lines
from stream.moments import shown, shown_ms
from stream.terminal import escaped, fitted
from stream.watch import SCORE_COLUMNS, dead_letter_line, score_line


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


@pytest.mark.parametrize("time_ms", [1_764_428_400_000_000, 2**63 - 1, -(2**63)])  # the first is of microseconds
def test_a_record_of_no_year_of_the_calendar_is_shown_in_milliseconds(time_ms: int) -> None:
    assert shown_ms(time_ms) == f"{time_ms} ms"


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-02-30T00:00:00Z"])
def test_a_time_that_utc_does_not_have_is_shown_as_it_is(time: str) -> None:
    assert shown(time) == time


def test_a_dead_letter_with_any_timestamp_is_a_line() -> None:
    """The topic is open to others, and the contract of the header is that it is digits."""
    letter = DEAD_LETTER_HEADERS.validate_python(DEAD_LETTERS[0] | {"timestamp": "9" * 5_000})
    assert dead_letter_line(letter).startswith("9999999999999999… ms  ")


def test_a_suppressed_score_says_so_in_place_of_the_verdict() -> None:
    score = SCORES[0] | {"sequence_anomaly": False, "suppressed": True}
    assert score_line(score)[SCORE_COLUMNS.index("verdict") :].startswith("suppressed 0.9132 ")  # type: ignore[arg-type]
    assert "suppressed" not in score_line(score | {"suppressed": False})  # type: ignore[arg-type]


def test_a_score_fits_eighty_columns_below_the_columns_names() -> None:
    score = SCORES[0] | {"user_id": "user-1-000561", "transaction_id": "tx-1-6747b1c0-00012345", "window_length": 10}
    line = score_line({name: value for name, value in score.items() if name != "reasons"})  # type: ignore[arg-type]
    columns = {name: SCORE_COLUMNS.index(name) for name in SCORE_COLUMNS.split()[:1] + SCORE_COLUMNS.split()[2:]}

    assert len(line) <= 80
    assert line[columns["created_at"] :].startswith("2026-03-02T01:40:00Z ")
    assert line[columns["verdict"] :].startswith("ANOMALY ")
    assert line[columns["score"] :].startswith("0.9132 ")
    assert line[columns["win"] : columns["user"]].strip() == "10"
    assert line[columns["user"] :].startswith("user-1-000561 ")
    assert line[columns["payment"] :] == "tx-1-6747b1c0-00012345"


def test_what_a_command_shows_is_broken_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for width in (20, None):
        monkeypatch.setattr(options, "terminal_width", lambda width=width: width)
        options.show({}, ["profiles of 3 merchants", "none"], as_json=False)

    assert capsys.readouterr().out == "profiles of 3\n  merchants\nnone\nprofiles of 3 merchants\nnone\n"


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
        "created_at": "2026-03-01T19:21:07+01:00",
        "user_id": "user-1-000561",
        "source": {
            "from": "topic",
            "topic": "transactions",
            "partition": 3,
            "offset": 12_345,
            "read_from_offset": 70,
            "window_is_whole": True,
            "moved_from": [],
        },
        "window": [
            step | {"features": {name: place - 3 + number / 10 for number, name in enumerate(names)}}
            for place in range(payments)
        ],
        "context": {},
        "recomputed": {
            "model_version": "starter-default",
            "threshold": 0.163,
            "fraud_probability": 0.913207,
            "window_length": payments,
            "insufficient_history": payments < 10,
            "above_threshold": True,
            "profile_day": None,
            "reasons": [{"name": "burst", "sentence": "3 payments within 5 minutes", "effect": 0.41}],
        },
        "published": {
            "fraud_probability": 0.913207,
            "sequence_anomaly": True,
            "window_length": payments,
            "model_version": "starter-default",
            "scored_at": "2026-03-01T18:21:07.912+00:00",
        },
        "same": True,
        "different_because": [],
    }


def told(**changed: Any) -> list[str]:
    """Return the lines of an explanation; what stands behind a double underscore is inside of what is before it."""
    it = explained(10)
    for name, value in changed.items():
        outer, _, inner = name.partition("__")
        (it[outer] if inner else it).update({inner or outer: value})
    return lines(it)


def test_an_explanation_begins_with_the_score_and_why() -> None:
    assert told()[:5] == [
        "score      0.913207: flagged; the threshold is 0.163",
        "raised by  3 payments within 5 minutes (0.4100 lower without it)",
        "check      made again from the payments below, it is the same",
        (
            "payment    tx-1-6747b1c0-00012345 of user-1-000561: 1,234.50 at merchant-00017 through a VPN, "
            "2026-03-01T18:21:07Z"
        ),
        "window     10 payments, this one last",
    ]
    assert told()[-2:] == [
        "scored     2026-03-01T18:21:07Z by starter-default",
        "record     transactions/3 at 12345, read from Kafka",
    ]
    assert {line.split()[0] for line in told()[6:-8]} == {"2026-03-01T18:21:07Z"}  # one clock for all
    assert told()[-8:-2] == [
        "features   of this payment; --json has those of all",
        "  log_amount                  6",
        "  hour_sin                    6.1",
        "  is_night                    6.2",
        "  log_seconds_since_previous  6.3",
        "  amount_against_window       6.4",
    ]


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"published__sequence_anomaly": False}, "score      0.913207: not flagged; the threshold is 0.163"),
        (
            {"published__sequence_anomaly": False, "published__suppressed": True},
            "score      0.913207: not flagged, for a rule suppresses it; the threshold is 0.163",
        ),
        ({"recomputed__reasons": []}, "raised by  no single thing"),
        (
            {"published": None, "same": None},
            (
                "score      0.913207, above the threshold of 0.163, made now by starter-default: "
                "no published score was found"
            ),
        ),
        ({"recomputed__insufficient_history": True}, "window     10 payments, this one last; fewer than a full window"),
        (
            {"source__moved_from": [2]},
            "window     10 payments, this one last; some of them on partition 2, where the user was before",
        ),
        (
            {"source__window_is_whole": False},
            "window     10 payments, this one last; perhaps not all: what came before offset 70 is not there any more",
        ),
        (
            {"amount": 99.0},
            "window     10 payments, this one last; its id was there before, and the first payment of an id counts",
        ),
        ({"context": {"log_user_count_7d": 0.5}}, "profiles   none, as of a user and a merchant never seen"),
        ({"context": {"log_user_count_7d": 0.5}}, "  log_user_count_7d  0.5"),
        (
            {"context": {"log_user_count_7d": 0.5}, "recomputed__profile_day": "2026-03-01"},
            "profiles   of 2026-03-01",
        ),
        ({"source__from": "archive"}, "record     transactions/3 at 12345, read from the archive"),
    ],
)
def test_an_explanation_says_what_is_special(changed: dict[str, Any], line: str) -> None:
    assert line not in told()
    assert line in told(**changed)


def test_a_score_that_comes_out_otherwise_is_told_with_what_was_published_and_the_cause() -> None:
    other = {"published__model_version": "v7", "same": False, "different_because": ["v7 is not in the store"]}
    its = [{"name": "amount", "sentence": "amount 250.00; usual 12.50", "effect": 0.2}]
    differing = told(recomputed__fraud_probability=0.5, published__reasons=its, **other)
    archived = told(
        recomputed__fraud_probability=0.5, published__window_length=3, published__reasons=["amount"], **other
    )

    assert differing[:4] == [
        "score      0.913207: flagged",
        "raised by  amount 250.00; usual 12.50 (0.2000 lower without it)",
        "check      made again by starter-default, it is 0.500000",
        "           v7 is not in the store",
    ]
    assert archived[1] == "check      made again by starter-default from 10 payments, and not 3, it is 0.500000"
    assert differing[-2] == archived[-2] == "scored     2026-03-01T18:21:07Z by v7"


@pytest.mark.parametrize("payments", [1, 10])
def test_an_explanation_fits_the_terminal_and_lacks_nothing(payments: int) -> None:
    it = explained(payments)
    it["window"][0]["merchant_id"] = "m\x1b[2J"
    rows = "\n".join(lines(it, 80)).splitlines()

    assert max(map(len, rows)) <= 80
    assert all(line.isprintable() for line in rows)
    assert sum("  1,234.50  VPN  " in line for line in rows) == payments
    whole = lines(it)
    assert max(map(len, whole)) > 80
    assert set(" ".join(whole).split()) <= set(" ".join(rows).split())


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
