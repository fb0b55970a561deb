"""A command's answer is a token with its end, or an error that says what to do and has no token in it."""

import shlex
import subprocess
import sys

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stream.clients import common_config, open_client
from stream.kafka_token import NoTokenError, TokenCommand, TokenError
from stream.settings import load

GIVE = "give-a-token"
NOW = 1772389000.0
BY_TOKEN = {"sasl.mechanism": "OAUTHBEARER", "security.protocol": "sasl_plaintext"}


def running(program: str) -> TokenCommand:
    return TokenCommand(shlex.join([sys.executable, "-c", program]), lambda: NOW)


def printing(text: str) -> TokenCommand:
    return running(f"print({text!r})")


def test_a_token_comes_with_its_end() -> None:
    assert printing('{"token": "abc", "expires_at": 1772389267.5}')("") == ("abc", 1772389267.5)


@pytest.mark.parametrize(
    "text",
    [
        "secret",
        '{"token": "secret"}',
        '{"token": "secret", "expires_at": "soon"}',
        '{"token": null, "expires_at": 1772389267}',
        "[]",
    ],
)
def test_another_answer_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(TokenError, match="has to print") as refused:
        printing(text)("")

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("ends", [NOW, NOW - 1, "NaN"])
def test_a_token_that_has_ended_is_said_to_have(ends: object) -> None:
    """Librdkafka would refuse it, and nobody would hear of it."""
    with pytest.raises(TokenError, match="has ended already"):
        printing(f'{{"token": "abc", "expires_at": {ends}}}')("")


@pytest.mark.parametrize("ends", ["1772389267000", "1e400"])
def test_an_end_in_milliseconds_is_refused(ends: str) -> None:
    """Librdkafka would take it, and not ask again for 50,000 years."""
    with pytest.raises(TokenError, match=r"expires_at is (1772389267000|inf), .* divide milliseconds by 1000$"):
        printing(f'{{"token": "secret", "expires_at": {ends}}}')("")


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(TokenError, match="no-such-program"):
        TokenCommand("no-such-program --now")("")
    with pytest.raises(TokenError, match="names no program"):
        TokenCommand("  ")("")


def test_a_command_that_takes_too_long_is_told_of_without_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.kafka_token._PATIENCE_S", 0.05)
    with pytest.raises(TokenError, match=r"it had not ended after 0\.05 s$"):
        running("import time; time.sleep(60)")("")


def test_the_command_leaves_its_callers_input_alone() -> None:
    """`tenfold send` reads payments there, and a command such as ssh would take them."""
    answer = '{"token": "abc", "expires_at": 4102444800}'
    command = shlex.join([sys.executable, "-c", f"import sys; sys.stdin.read(); print({answer!r})"])
    caller = "import sys; from stream.kafka_token import TokenCommand; TokenCommand(sys.argv[1])(''); print(input())"
    ran = subprocess.run(
        [sys.executable, "-c", caller, command], input="a payment\n", capture_output=True, text=True, check=False
    )

    assert (ran.stdout, ran.returncode) == ("a payment\n", 0), ran.stderr


def test_who_makes_a_client_is_told_why_there_is_no_token() -> None:
    """Of the log that a scorer writes most commands show nothing."""
    command = shlex.join([sys.executable, "-c", "raise SystemExit('nobody is logged in')"])
    settings = load(kafka=BY_TOKEN, kafka_token_command=command)
    with pytest.raises(KafkaException) as away:  # a scorer waits for Kafka to come back, and is not ended by it
        open_client(AdminClient, common_config(settings))

    assert isinstance(away.value, NoTokenError)
    assert "TENFOLD_KAFKA_TOKEN_COMMAND: it ended with 1: nobody is logged in" in str(away.value)


@pytest.mark.parametrize("name", ["sasl.mechanism", "sasl.mechanisms"])  # librdkafka's names of one property
def test_clients_get_it_where_it_is_set(name: str) -> None:
    by_token = {name: "OAUTHBEARER", "security.protocol": "sasl_plaintext"}
    assert common_config(load(kafka=by_token, kafka_token_command=GIVE))["oauth_cb"] == TokenCommand(GIVE)
    assert "oauth_cb" not in common_config(load(kafka=by_token))


@pytest.mark.parametrize("options", [{}, {"sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.method": "oidc"}], ids=str)
def test_it_is_refused_where_it_would_not_be_asked(options: dict[str, str]) -> None:
    with pytest.raises(Exception, match="TENFOLD_KAFKA_TOKEN_COMMAND needs"):
        load(kafka=options, kafka_token_command=GIVE)
