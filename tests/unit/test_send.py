"""What ``tenfold send`` makes of words and lines, before anything is sent."""

import json

import pytest
from typer.testing import CliRunner

from stream.cli import app
from stream.contract import timestamp
from stream.errors import UsageError
from stream.send import Message, judge, message_of

NOW_MS = 1_772_356_867_000
PAYMENT = {"transaction_id": "t-1", "user_id": "änna", "amount": 12.5, "created_at": timestamp(NOW_MS)}
VERDICT = {"transaction_id": "t-1", "user_id": "anna", "is_fraud": True, "labelled_at": timestamp(NOW_MS)}


def test_what_is_not_given_is_filled_and_told() -> None:
    given = message_of(["user_id=anna", "amount=12.5", "is_vpn=true"], "payment", NOW_MS, lambda: "new")

    assert given.filled == {"transaction_id": "new", "created_at": timestamp(NOW_MS)}
    assert json.loads(given.value) == given.filled | {"user_id": "anna", "amount": 12.5, "is_vpn": True}


def test_an_id_of_digits_stays_text() -> None:
    given = message_of(["user_id=4711", "transaction_id=1e5", "amount=1", "merchant_id=true"], "payment", NOW_MS)

    assert isinstance(judge(given.value, "payment", NOW_MS), Message)
    assert set(given.filled) == {"created_at"}


def test_a_verdict_needs_its_transaction_and_gets_its_time() -> None:
    given = message_of(["user_id=anna", "is_fraud=true"], "verdict", NOW_MS)

    assert given.filled == {"labelled_at": timestamp(NOW_MS)}
    assert "transaction_id: field required" in str(judge(given.value, "verdict", NOW_MS))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("ammount=1", "did you mean amount?"),
        ("is_fraud=true", "is not a field of a payment"),
        ("amount", "is not FIELD=VALUE"),
        (' {"user_id": "anna", "is_vpn=": 3}', "JSON is read from standard input, or from --file"),
        ("is_vpn=maybe", "is_vpn is 'maybe': give true or false"),
        ("is_vpn=1", "is_vpn is '1': give true or false"),
        ("amount=1,50", "amount is '1,50': give a number, with a point, as 12.5"),
        ("amount=true", "amount is 'true': give a number"),
        ("amount=", "amount is '': give a number"),
        ("user_id=bert", "given twice"),
    ],
)
def test_a_word_that_is_no_field_is_named(word: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        message_of(["user_id=anna", word], "payment", NOW_MS)


def test_a_flag_of_a_verdict_is_a_truth_value() -> None:
    with pytest.raises(UsageError, match="is_fraud is 'yes': give true or false"):
        message_of(["user_id=anna", "is_fraud=yes"], "verdict", NOW_MS)


def test_a_line_is_given_no_id_for_it_may_be_sent_twice() -> None:
    line = json.dumps({"user_id": "anna", "amount": 3}).encode()
    assert "transaction_id: field required" in str(judge(line, "payment", NOW_MS))
    help_ = " ".join(CliRunner().invoke(app, ["send", "--help"]).stdout.split())
    assert "A line must have them: else it would be another payment whenever it is sent." in help_


def test_a_word_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(UsageError, match="not UTF-8"):
        message_of(["user_id=\udcff", "amount=1"], "payment", NOW_MS)  # as Python reads the byte 0xff


def test_a_message_is_keyed_by_its_user() -> None:
    line = json.dumps(PAYMENT).encode()

    assert judge(line, "payment", NOW_MS) == Message("änna".encode(), line)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"amount": -1}, "amount"),
        ({"amount": "12.5"}, "amount"),
        ({"user_id": 7}, "user_id"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"created_at": timestamp(NOW_MS + 90_000_000)}, "created_at"),
        ({"is_vpn": "yes"}, "is_vpn"),
    ],
)
def test_what_the_scorer_would_refuse_is_named_by_field_and_not_quoted(changed: dict[str, object], field: str) -> None:
    said = judge(json.dumps(PAYMENT | changed).encode(), "payment", NOW_MS)

    assert isinstance(said, str)
    assert field in said
    assert "t-1" not in said


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"is_fraud": 1}, "is_fraud"),
        ({"labelled_at": "2026-02-30T00:00:00Z"}, "labelled_at"),
        ({"user_id": ""}, "user"),
    ],
)
def test_a_verdict_is_looked_at_as_well(changed: dict[str, object], field: str) -> None:
    assert isinstance(judge(json.dumps(VERDICT).encode(), "verdict", NOW_MS), Message)
    assert field in str(judge(json.dumps(VERDICT | changed).encode(), "verdict", NOW_MS))


@pytest.mark.parametrize("line", [b"{", b"[]", b"null", b"\xff", b'{"a":' * 10_000])
def test_what_is_not_an_object_is_refused(line: bytes) -> None:
    assert isinstance(judge(line, "payment", NOW_MS), str)
    assert isinstance(judge(line, "verdict", NOW_MS), str)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("send amount=1 --file x", "--file"),
        ("watch --since yesterday", "--since"),
        ("watch --since 1h --from-beginning", "--since"),
        ("watch --dead-letters --anomalies", "--anomalies"),
        ("watch --threshold 2", "--threshold"),
        ("watch --exit", "give --since or --from-beginning"),
        ("watch --dead-letters -e -n 3", "give --since or --from-beginning"),
    ],
)
def test_options_that_do_not_go_together_are_named(words: str, said: str) -> None:
    ran = CliRunner().invoke(app, words.split())

    assert ran.exit_code == 2
    assert said in ran.stderr
