"""Tokens for Kafka from a command, where librdkafka has no way of its own to get them."""

import json
import logging
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from confluent_kafka import KafkaError, KafkaException

from stream.errors import TenfoldError

log = logging.getLogger("tenfold.librdkafka")  # who listens for why Kafka does not answer, listens here

_PATIENCE_S = 8.0  # a client that is made waits ten for its first token
_SAID = 300  # characters of what the command says
_NO_SECONDS = 1e11  # the year 5138; milliseconds, as Java and Amazon's signer count them, have been more since 1973
_NONE = "no token for Kafka from TENFOLD_KAFKA_TOKEN_COMMAND"


class TokenError(TenfoldError):
    """The command gives no token; the message says why."""


class NoTokenError(TenfoldError, KafkaException):
    """A client could not be made for want of a token. To whoever waits for Kafka it is one more way of being away."""

    def __init__(self, why: str) -> None:
        self._told = why or f"{_NONE} in time"
        super().__init__(KafkaError(KafkaError._AUTHENTICATION, self._told))

    def __str__(self) -> str:
        return self._told


@dataclass
class TokenCommand:
    """Called by librdkafka when it needs a token: at first, and in time before the last one ends."""

    line: str  # program and arguments, quoted as for a shell; none is asked
    clock: Callable[[], float] = field(default=time.time, repr=False, compare=False)
    why: str = field(default="", init=False, repr=False, compare=False)  # it gave none when it was last called

    def __call__(self, _config: str) -> tuple[str, float]:
        """Return a token, and when it ends, in seconds since the epoch.

        Raises:
            TokenError: the command fails, or prints something else. It is logged, too: librdkafka keeps it to itself.
        """
        self.why = ""
        try:
            ran = subprocess.run(  # noqa: S603 - the command is the operator's own
                shlex.split(self.line),
                stdin=subprocess.DEVNULL,  # what comes there is its caller's: payments to be sent
                capture_output=True,
                text=True,
                timeout=_PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            self._fail(f"it had not ended after {_PATIENCE_S:g} s")
        except IndexError:
            self._fail("it names no program")
        except (OSError, ValueError) as error:
            self._fail(str(error))
        if ran.returncode != 0:
            self._fail(f"it ended with {ran.returncode}: {ran.stderr.strip()[-_SAID:]}")
        try:
            answer = json.loads(ran.stdout)
            token, ends = str.strip(answer["token"]), float(answer["expires_at"])  # a TypeError if it is no text
        except (ValueError, KeyError, TypeError):
            self._fail('it has to print {"token": "…", "expires_at": <seconds since 1970>}, and printed something else')
        if ends >= _NO_SECONDS:
            self._fail(f"expires_at is {ends:.0f}, and has to be seconds since 1970: divide milliseconds by 1000")
        if not ends > self.clock():  # librdkafka would refuse it without a word
            self._fail("what it printed has ended already: look at expires_at, and at this machine's clock")
        return token, ends

    def _fail(self, why: str) -> NoReturn:
        self.why = f"{_NONE}: {why}"
        log.error(self.why)
        raise TokenError(self.why)
