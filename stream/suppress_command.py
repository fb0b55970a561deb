"""``tenfold suppress``: rules that keep scores from raising an anomaly, as text and as JSON."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from stream.contract import MAX_ID_CHARS, timestamp
from stream.errors import UsageError
from stream.models_command import Told
from stream.moments import moment_ms, shown_ms
from stream.redis_client import RedisAwayError, connect
from stream.settings import Settings, mask_url
from stream.suppression_rules import Because, Change, Kind, Rule, Rules

_LONGEST_REASON = 1_000


def suppressed(settings: Settings, kind: Kind, id_: str, until: str, reason: str, now_ms: int) -> Told:
    """Suppress a user or a merchant.

    Raises:
        UsageError: the id, the end or the reason cannot be used.
        stream.suppression_rules.RulesError: there are too many rules.
        RedisAwayError: Redis does not answer.
    """
    rule = Rule(kind, _id(id_), until_of(until, now_ms), _because(reason, now_ms))
    with _rules(settings) as rules:
        before_ms = rules.suppress(rule)
    instead = "" if before_ms is None else f", in place of the rule until {timestamp(before_ms)}"
    return Told(_as_json(rule), [f"no anomaly of this {kind} is raised before {timestamp(rule.until_ms)}{instead}"])


def lifted(settings: Settings, kind: Kind, id_: str, reason: str, now_ms: int) -> Told:
    """Take a rule away.

    Raises:
        UsageError: the id or the reason cannot be used.
        stream.suppression_rules.RulesError: there is no such rule.
        RedisAwayError: Redis does not answer.
    """
    because = _because(reason, now_ms)
    with _rules(settings) as rules:
        rules.lift(kind, _id(id_), because)
    return Told(
        _as_json(Change("lift", kind, id_, None, because)), [f"anomalies of this {kind} are raised again in a second"]
    )


def listed(settings: Settings, now_ms: int, *, history: bool) -> Told:
    """Tell the rules in force, or with ``history`` the last changes, the newest first.

    Raises:
        RedisAwayError: Redis does not answer.
    """
    with _rules(settings) as rules:
        told: list[Rule] | list[Change] = rules.history() if history else rules.in_force(now_ms)
    nothing = "nothing was ever suppressed" if history else "nothing is suppressed"
    return Told([_as_json(each) for each in told], [line_of(each) for each in told] or [nothing])


def until_of(text: str, now_ms: int) -> int:
    """Return the end that ``2026-03-01T08:00:00Z``, ``90m``, ``12h`` or ``7d`` names, milliseconds since the epoch.

    Raises:
        UsageError: it is none of these, not in the future, or after the year 9999.
    """
    try:
        until_ms = moment_ms(text, now_ms, ahead=True)
    except ValueError:
        raise UsageError(f"--until {text!r} is neither 2026-03-01T08:00:00Z nor 90m, 12h, 7d") from None
    if until_ms <= now_ms:
        raise UsageError(f"--until {text!r} is over already: name a time that is to come")
    try:
        timestamp(until_ms)
    except OverflowError:
        raise UsageError(f"--until {text!r} is after the year 9999 in UTC: name an earlier time") from None
    return until_ms


def _id(text: str) -> str:
    if not 1 <= len(text) <= MAX_ID_CHARS:
        raise UsageError(f"an id has 1 to {MAX_ID_CHARS} characters, this one {len(text)}")
    return text


def _because(reason: str, now_ms: int) -> Because:
    told = reason.strip()
    if not told or not told.isprintable() or len(told) > _LONGEST_REASON:
        raise UsageError(
            f"--reason is one line of 1 to {_LONGEST_REASON:,} printable characters: say why, for whoever looks later"
        )
    return Because(_me(), now_ms, told)


def _me() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name  # not the environment's, which anybody can set
    except KeyError:  # a container's user may have no name
        return f"uid {os.getuid()}"


@contextmanager
def _rules(settings: Settings) -> Iterator[Rules]:
    client = connect(settings)
    try:
        yield Rules(client, settings.group_id)
    except redis.RedisError as error:
        url = mask_url(settings.redis_url.get_secret_value())
        raise RedisAwayError(f"Redis at {url} does not do its part ({error}): look at TENFOLD_REDIS_URL") from None
    finally:
        client.close()


def _as_json(told: Rule | Change) -> dict[str, Any]:
    return {
        **({"what": told.what} if isinstance(told, Change) else {}),
        "kind": told.kind,
        "id": told.id,
        "until": None if told.until_ms is None else timestamp(told.until_ms),
        "by": told.because.by,
        "at": timestamp(told.because.at_ms),
        "reason": told.because.reason,
    }


def line_of(told: Rule | Change) -> str:
    """Return a rule, or a change with when it was made, of what; times to the second."""
    end = "" if told.until_ms is None else f"until {shown_ms(told.until_ms)}"
    made = f"{shown_ms(told.because.at_ms)}  {told.what:<8}  " if isinstance(told, Change) else ""
    return f"{made}{told.kind:<8}  {told.id:<12}  {end:<26}  {told.because.by}: {told.because.reason}"
