"""Taking a user's windows and profiles out of Redis, wherever they lie: every partition, every epoch, every version.

Keys are looked for, not computed, so that what an earlier partition count, bundle or epoch left behind is found, too.
Commands go one by one: what the client says of one that fails in a pipeline quotes it, and it holds the user's id.
"""

import re
from typing import Any, cast

from stream.profile_layout import buckets_of
from stream.redis_client import Client

_SCAN_COUNT = 1000
_SPECIAL = re.compile(rb"([*?\[\]\\])")


def sweep_windows(client: Client, group_id: str, topic: str, name: bytes, *, dry_run: bool) -> int:
    """Unlink the windows under a user's name; return how many there were. With ``dry_run`` they stay.

    Raises:
        redis.RedisError: Redis does not do its part.
    """
    begin, end = f"tenfold:{{{group_id}:{topic}:".encode(), b":" + name
    # what Redis finds may be of a user whose id ends with a colon and this one's
    mine = re.compile(re.escape(begin) + rb"\d+\}:[^:]+" + re.escape(end))
    found = _keys(client, _literal(begin) + b"*}:*" + _literal(end), mine)
    if found and not dry_run:
        for key in found:  # one by one: in a cluster they lie on several nodes
            client.unlink(key)
    return len(found)


def sweep_profiles(client: Client, topic: str, name: bytes, *, dry_run: bool) -> int:
    """Remove the profile under a user's name from every table that is there; return how many had one.

    Tables of every definition are looked through, and those that the index names no longer or not yet.

    Raises:
        redis.RedisError: Redis does not do its part.
    """
    begin, end = f"tenfold:profiles:{{{topic}:".encode(), f":{buckets_of([name])[0]}}}:".encode()
    mine = re.compile(re.escape(begin) + rb".+" + re.escape(end) + rb"[0-9a-f]+:user")
    tables = _keys(client, _literal(begin) + b"*" + _literal(end) + b"*:user", mine)
    holding = [key for key in tables if client.hexists(cast("str", key), cast("str", name))]
    for key in [] if dry_run else holding:
        client.hdel(cast("str", key), cast("str", name))
    return len(holding)


def _keys(client: Client, pattern: bytes, mine: re.Pattern[bytes]) -> list[bytes]:
    """Return the keys that match both, each once: a scan may say one twice."""
    found = cast("Any", client.scan_iter(match=pattern, count=_SCAN_COUNT))
    return sorted({key for key in found if mine.fullmatch(key)})


def _literal(text: bytes) -> bytes:
    return _SPECIAL.sub(rb"\\\1", text)
