"""Tokens for Kafka from a command, where librdkafka has no way of its own to get them."""

import json
import logging
import shlex
import subprocess
from dataclasses import dataclass
from typing import NoReturn

from confluent_kafka import KafkaError, KafkaException

from stream.errors import TenfoldError

log = logging.getLogger("tenfold.librdkafka")  # who listens for why Kafka does not answer, listens here

_PATIENCE_S = 8.0  # a client that is made waits ten for its first token
_SAID = 300  # characters of what the command says


class TokenError(TenfoldError):
    """The command gives no token; the message says why."""


class NoTokenError(TenfoldError, KafkaException):
    """A client could not be made for want of a token. To whoever waits for Kafka it is one more way of being away."""

    def __init__(self) -> None:
        told = "Kafka is not asked without a token, and TENFOLD_KAFKA_TOKEN_COMMAND gave none: the line above says why"
        super().__init__(KafkaError(KafkaError._AUTHENTICATION, told))
        self._told = told

    def __str__(self) -> str:
        return self._told


@dataclass(frozen=True)
class TokenCommand:
    """Called by librdkafka when it needs a token: at first, and in time before the last one ends."""

    line: str  # program and arguments, quoted as for a shell; none is asked

    def __call__(self, _config: str) -> tuple[str, float]:
        """Return a token, and when it ends, in seconds since the epoch.

        Raises:
            TokenError: the command fails, or prints something else. It is logged, too: librdkafka keeps it to itself.
        """
        try:
            ran = subprocess.run(  # noqa: S603 - the command is the operator's own
                shlex.split(self.line), capture_output=True, text=True, timeout=_PATIENCE_S, check=False
            )
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            self._fail(str(error))
        if ran.returncode != 0:
            self._fail(f"it ended with {ran.returncode}: {ran.stderr.strip()[-_SAID:]}")
        try:
            answer = json.loads(ran.stdout)
            return str(answer["token"]), float(answer["expires_at"])
        except (ValueError, KeyError, TypeError):
            self._fail('it has to print {"token": "…", "expires_at": <seconds since 1970>}, and printed something else')

    def _fail(self, why: str) -> NoReturn:
        told = f"no token for Kafka from TENFOLD_KAFKA_TOKEN_COMMAND: {why}"
        log.error(told)
        raise TokenError(told)
