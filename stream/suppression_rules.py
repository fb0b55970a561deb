"""Rules that keep scores from raising an anomaly, in Redis, each until a time that it names::

    tenfold:{<group>:suppressed}:rules      hash: user:<id> or merchant:<id> -> until (ms), then who, when and why, JSON
    tenfold:{<group>:suppressed}:version    another word with every change, so that looking for one costs little
    tenfold:{<group>:suppressed}:history    stream of the last changes: who, when, what and why

One hash tag, so all three are in one slot of a Redis Cluster, and change together.
"""

import json
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, Literal, NamedTuple, cast

from stream.errors import TenfoldError
from stream.redis_client import Client

Kind = Literal["user", "merchant"]

#: More rules are refused: who needs so many wants another threshold, or another model.
MOST_RULES = 10_000

#: So many changes are kept.
HISTORY = 1_000

#: Drops what has ended, then sets a rule, or takes one away where its value is empty; tells which stood there before.
_CHANGE = """
local now, latest = tonumber(ARGV[1]), ARGV[1]
local function ends(value) return string.match(value, '^%d+') end
local rules = redis.call('HGETALL', KEYS[1])
for i = 1, #rules, 2 do
  if tonumber(ends(rules[i + 1])) <= now then redis.call('HDEL', KEYS[1], rules[i]) end
end
local before = redis.call('HGET', KEYS[1], ARGV[2]) or ''
if ARGV[3] == '' then
  if redis.call('HDEL', KEYS[1], ARGV[2]) == 0 then return '' end
else
  if before == '' and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[5]) then
    return 'full'
  end
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
end
for _, value in ipairs(redis.call('HVALS', KEYS[1])) do
  if tonumber(ends(value)) > tonumber(latest) then latest = ends(value) end
end
redis.call('PEXPIREAT', KEYS[1], latest)
redis.call('SET', KEYS[2], ARGV[7])
redis.call('XADD', KEYS[3], 'MAXLEN', ARGV[6], '*', 'change', ARGV[4])
return before
"""


class RulesError(TenfoldError):
    """The rules are not changed, or cannot be read; the message says why and what to do."""


class Because(NamedTuple):
    """Who asks for a change, when and why."""

    by: str
    at_ms: int
    reason: str


class Rule(NamedTuple):
    """Payments of a user, or at a merchant, that raise no anomaly before ``until_ms``."""

    kind: Kind
    id: str
    until_ms: int
    because: Because


class Change(NamedTuple):
    """One line of the history."""

    what: Literal["suppress", "lift"]
    kind: Kind
    id: str
    until_ms: int | None  # of what is lifted it is not said
    because: Because


@dataclass(frozen=True)
class Rules:
    """The rules of one group. Methods raise ``redis.RedisError`` when Redis does not do its part."""

    client: Client
    group_id: str

    def suppress(self, rule: Rule) -> int | None:
        """Set a rule; return until when (ms) the one of the same user or merchant was that it replaces, if any.

        Raises:
            RulesError: there are too many.
        """
        kind, id_, until_ms, because = rule
        value = f"{until_ms} {json.dumps(because._asdict())}"
        before = self._change(f"{kind}:{id_}", value, Change("suppress", kind, id_, until_ms, because))
        if before == b"full":
            raise RulesError(
                f"there are {MOST_RULES:,} rules already: lift some; a model that flags too many has a threshold"
            )
        return int(before.partition(b" ")[0]) if before else None

    def lift(self, kind: Kind, id_: str, because: Because) -> None:
        """Take a rule away.

        Raises:
            RulesError: there is none.
        """
        if not self._change(f"{kind}:{id_}", "", Change("lift", kind, id_, None, because)):
            raise RulesError(f"this {kind} is not suppressed: `tenfold suppress list` shows who is")

    def version(self) -> bytes | None:
        """Return a word that changes with the rules, ``None`` before the first one."""
        return cast("bytes | None", self.client.get(self._key("version")))

    def in_force(self, now_ms: int) -> list[Rule]:
        """Return the rules that have not ended, in the order of their ends.

        Raises:
            RulesError: one of them is none of this release's.
        """
        found = cast("dict[bytes, bytes]", self.client.hgetall(self._key("rules")))
        rules = sorted((_rule(field, value) for field, value in found.items()), key=lambda rule: rule.until_ms)
        return [rule for rule in rules if rule.until_ms > now_ms]

    def history(self) -> list[Change]:
        """Return the last changes, the newest first."""
        found = cast("Any", self.client.xrevrange(self._key("history")))
        return [_change(fields[b"change"]) for _, fields in found]

    def _change(self, field: str, value: str, change: Change) -> bytes:
        told = json.dumps({**change._asdict(), "because": change.because._asdict()})
        keys = [self._key(name) for name in ("rules", "version", "history")]
        arguments = (change.because.at_ms, field, value, told, MOST_RULES, HISTORY, token_hex(8))
        return cast("bytes", self.client.eval(_CHANGE, len(keys), *keys, *arguments))

    def _key(self, name: str) -> str:
        return f"tenfold:{{{self.group_id}:suppressed}}:{name}"


def _rule(field: bytes, value: bytes) -> Rule:
    try:
        kind, _, id_ = field.decode().partition(":")
        until_ms, _, because = value.decode().partition(" ")
        return Rule(cast("Kind", kind), id_, int(until_ms), Because(**json.loads(because)))
    except (ValueError, TypeError):
        raise RulesError(
            "a rule of suppression was not written by this release: run the newest one everywhere, or look at the hash "
            "tenfold:{<group>:suppressed}:rules"
        ) from None


def _change(raw: bytes) -> Change:
    fields = json.loads(raw)
    return Change(**{**fields, "because": Because(**fields["because"])})
