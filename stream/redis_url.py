"""What ``TENFOLD_REDIS_URL`` says: one server, one that Sentinel watches over, or a cluster::

    redis://user:password@host:6379/0
    unix:///run/redis.sock
    redis+sentinel://user:password@host:26379,host2:26379/<master>/0    the addresses are Sentinel's
    redis+cluster://user:password@host:6379,host2:6379                  some of the nodes

With ``rediss`` instead of ``redis``, over TLS. User and password are those of Redis itself, not of Sentinel.
"""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

_PORTS = {"sentinel": 26379, "cluster": 6379}

_CUTS = re.compile(r"[/?\[\]\t\r\n]")  # ends user and password for urlsplit, or is dropped from them
_NO_ADDRESS = "has an address that is not host or host:port"
_ESCAPE = (
    "has a character that is not read as part of user or password: write / as %2F, ? as %3F, # as %23, [ as %5B, ] as "
    "%5D, an @ behind the host as %40; or give both in TENFOLD_REDIS__USERNAME and TENFOLD_REDIS__PASSWORD"
)


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """Where Redis is, and how it is run there."""

    kind: Literal["server", "sentinel", "cluster"]
    plain: str  # as redis-py reads it: user, password, database and options, and the first address
    tls: bool
    addresses: tuple[tuple[str, int], ...] = ()  # of sentinels, or of nodes of a cluster
    master: str = ""  # the name under which Sentinel knows the primary


def split_redis_url(url: str) -> RedisUrl:
    """Read a URL.

    Raises:
        ValueError: it is none of the forms above; the message quotes nothing of it.
    """
    begin, slashes, rest = url.partition("://")
    scheme, plus, form = begin.partition("+")
    is_known = form in _PORTS and scheme in {"redis", "rediss"} if plus else scheme in {"redis", "rediss", "unix"}
    if not slashes or not is_known:
        raise ValueError(
            "must begin with redis://, rediss:// or unix://, or with redis+sentinel:// or redis+cluster://"
        )
    if "#" in rest or _CUTS.search(rest.rpartition("@")[0]):
        raise ValueError(_ESCAPE)
    try:
        parts = urlsplit(url)
    except ValueError:  # which quotes what it cannot read
        raise ValueError(_NO_ADDRESS) from None
    user, at, hosts = parts.netloc.rpartition("@")
    if not plus:
        if hosts and scheme != "unix":
            _address(hosts, _PORTS["cluster"])
        return RedisUrl("server", url, tls=scheme == "rediss")
    addresses = tuple(_address(host, _PORTS[form]) for host in hosts.split(","))
    names = parts.path.strip("/").split("/")
    options = f"?{parts.query}" if parts.query else ""
    begin = f"redis://{user}{at}{hosts.partition(',')[0]}"
    if form == "cluster":
        if names not in ([""], ["0"]):
            raise ValueError("a Redis Cluster has database 0 only: leave the path of redis+cluster:// empty")
        return RedisUrl("cluster", f"{begin}{options}", scheme == "rediss", addresses)
    master, database = (*names, "0")[:2]
    if not master or not database.isdecimal() or len(names) > 2:
        raise ValueError("redis+sentinel:// ends with /<master>, the name Sentinel knows, or /<master>/<database>")
    return RedisUrl("sentinel", f"{begin}/{database}{options}", scheme == "rediss", addresses, unquote(master))


def _address(text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None:
        raise ValueError(_NO_ADDRESS)
    return host, port or default_port
