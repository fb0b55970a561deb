"""What the doctor says: findings, and how a check that cannot be made becomes one."""

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import NamedTuple

import redis
from confluent_kafka import KafkaError, KafkaException

from stream.errors import TenfoldError

_FORBIDDEN = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}


class Severity(IntEnum):
    """How bad a finding is: an error stops the scorer or makes scores wrong, a warning will one day."""

    OK = 0
    NOTE = 1
    WARNING = 2
    ERROR = 3


class Finding(NamedTuple):
    """One thing that was looked at. ``code`` is a promise to scripts, all else is for a person.

    ``command`` is for a shell, and does what ``fix`` says first.
    """

    severity: Severity
    code: str
    what: str
    fix: str = ""
    command: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return it for JSON."""
        return {**self._asdict(), "severity": self.severity.name.lower()}


def ok(code: str, what: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(Severity.OK, code, what)


def note(code: str, what: str, fix: str = "") -> Finding:
    """Return a finding that is good to know."""
    return Finding(Severity.NOTE, code, what, fix)


def warning(code: str, what: str, fix: str, command: str = "") -> Finding:
    """Return a finding that will one day cost something."""
    return Finding(Severity.WARNING, code, what, fix, command)


def error(code: str, what: str, fix: str, command: str = "") -> Finding:
    """Return a finding that stops the scorer, or makes scores wrong."""
    return Finding(Severity.ERROR, code, what, fix, command)


def is_forbidden(cause: KafkaError) -> bool:
    """Return whether Kafka refuses because of missing rights."""
    return cause.code() in _FORBIDDEN


def checked(subject: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Return what a check finds; that it cannot be made is a finding, too.

    What this principal may not ask is a note: the scorer needs less than the doctor. All else is an error.
    """
    try:
        return list(check())
    except redis.exceptions.NoPermissionError as refused:
        return [_unseen(subject, f"Redis: {refused}")]
    except KafkaException as failed:
        cause: KafkaError = failed.args[0]
        why = f"Kafka: {cause.name()}, {cause.str()}"
        return [_unseen(subject, why) if is_forbidden(cause) else _failed(subject, why)]
    except (redis.RedisError, TenfoldError, OSError, ValueError) as failed:
        return [_failed(subject, str(failed))]


def _unseen(subject: str, why: str) -> Finding:
    return note(
        "not-seen", f"{subject}: this account may not ask ({why})", "look again with an administrator's account"
    )


def _failed(subject: str, why: str) -> Finding:
    return error("check-failed", f"{subject}: could not be looked at ({why})", "mend that, and run the doctor again")
