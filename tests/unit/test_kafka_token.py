"""A command's answer is a token with its end, or an error that says what to do and has no token in it."""

import shlex
import sys

import pytest

from stream.clients import common_config
from stream.kafka_token import TokenCommand, TokenError
from stream.settings import load

GIVE = "give-a-token"


def printing(text: str) -> TokenCommand:
    return TokenCommand(shlex.join([sys.executable, "-c", f"print({text!r})"]))


def test_a_token_comes_with_its_end() -> None:
    assert printing('{"token": "abc", "expires_at": 1772389267.5}')("") == ("abc", 1772389267.5)


@pytest.mark.parametrize("text", ["secret", '{"token": "secret"}', '{"token": "secret", "expires_at": "soon"}', "[]"])
def test_another_answer_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(TokenError, match="has to print") as refused:
        printing(text)("")

    assert "secret" not in str(refused.value)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(TokenError, match="no-such-program"):
        TokenCommand("no-such-program --now")("")


def test_clients_get_it_where_it_is_set() -> None:
    options = {"sasl.mechanism": "OAUTHBEARER", "security.protocol": "sasl_ssl"}

    assert common_config(load(kafka=options, kafka_token_command=GIVE))["oauth_cb"] == TokenCommand(GIVE)
    assert "oauth_cb" not in common_config(load(kafka=options))


@pytest.mark.parametrize("options", [{}, {"sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.method": "oidc"}], ids=str)
def test_it_is_refused_where_it_would_not_be_asked(options: dict[str, str]) -> None:
    with pytest.raises(Exception, match="TENFOLD_KAFKA_TOKEN_COMMAND needs"):
        load(kafka=options, kafka_token_command=GIVE)
