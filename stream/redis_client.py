"""The client of Redis: of one server, of the primary that Sentinel names, or of a cluster's primaries.

Never of replicas: they may be behind, and then their marks are, too.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any, TypeAlias

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import parse_url
from redis.exceptions import AuthenticationError, ClusterDownError, NoScriptError, ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel

from stream.errors import TenfoldError
from stream.redis_cluster import Cluster, Command, as_redis_error, ask_nodes
from stream.redis_options import SENTINELS
from stream.redis_url import RedisUrl, split_redis_url
from stream.settings import Settings, SettingsError, mask_url

Client: TypeAlias = redis.Redis | Cluster

_FILES = {"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"}  # else it is Redis that is said to be away


class RedisAwayError(TenfoldError):
    """Redis does not answer, or refuses this client."""


def refuses(error: BaseException) -> bool:
    """Return whether Redis did answer, and will not have this client: its password, user, rights or database."""
    return isinstance(error, AuthenticationError | ResponseError) and not isinstance(error, ClusterDownError)


def why_unusable(settings: Settings, error: BaseException) -> tuple[str, str]:
    """Return what is wrong with Redis, by an error of its client, and what to do."""
    url = settings.redis_url.get_secret_value()
    place = f"Redis at {mask_url(url)}"
    if refuses(error):
        to_do = (
            "look at TENFOLD_REDIS__USERNAME, TENFOLD_REDIS__PASSWORD, the database in TENFOLD_REDIS_URL, and rights"
        )
        return f"{place} refuses this client ({error})", to_do
    over_tls = "; rediss:// is for a port that speaks TLS" if url.startswith("rediss") else ""
    return f"{place} does not answer ({error})", f"start it, or set TENFOLD_REDIS_URL{over_tls}"


def connect(settings: Settings) -> Client:
    """Return a client that gives up soon: the service retries, and says so, rather than the client silently.

    Raises:
        RedisAwayError: it is a cluster, and none of its nodes says who has what.
        SettingsError: an option names a file that is not there, or is not as redis-py takes it.
    """
    for name, value in settings.redis.items():
        if name.removeprefix(SENTINELS) in _FILES and value and not Path(str(value)).exists():
            raise SettingsError(f"TENFOLD_REDIS__{name.upper()} names {value}, which is not there")
    try:
        return open_redis(split_redis_url(settings.redis_url.get_secret_value()), settings.redis)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"TENFOLD_REDIS__… or TENFOLD_REDIS_URL is refused by redis-py: {error}") from None
    except redis.RedisError as error:
        raise RedisAwayError(": ".join(why_unusable(settings, error))) from error


def open_redis(place: RedisUrl, given: Mapping[str, Any]) -> Client:
    """Return a client of Redis at a place; ``given`` are options of redis-py's client, which win over the defaults.

    Raises:
        TypeError: an option is unknown.
        redis.RedisError: the cluster does not answer; a single server is not asked before its first command.
    """
    options: dict[str, Any] = {
        "socket_timeout": 5.0,
        "socket_connect_timeout": 5.0,
        "retry": Retry(NoBackoff(), 1),  # a connection that Redis closed while idle is opened again
        **given,
    }
    if place.kind == "cluster":
        return _open_cluster(place, options)
    options = {"health_check_interval": 30, **options}
    watched = place.kind == "sentinel"
    client = _open_watched(place, options) if watched else redis.Redis.from_url(place.plain, **options)
    pool = client.connection_pool
    pool.connection_class(**pool.connection_kwargs)  # an unknown option is an error now, not with the first command
    return client


def ping(client: Client) -> None:
    """Return if Redis answers, each primary of a cluster.

    Raises:
        redis.RedisError: it does not.
    """
    if isinstance(client, Cluster):
        client.ping(target_nodes=Cluster.PRIMARIES)
    else:
        client.ping()


def primaries(client: Client) -> list[redis.Redis]:
    """Return a client of each server that may be written to."""
    if isinstance(client, Cluster):
        return [client.get_redis_connection(node) for node in client.get_primaries()]
    return [client]


def is_cluster_as_one_server(client: Client) -> bool:
    """Return whether the server is a node of a cluster, and the client does not know.

    Raises:
        redis.RedisError: it does not say.
    """
    return isinstance(client, redis.Redis) and bool(client.info("cluster").get("cluster_enabled"))


def owner(client: Client, key: bytes) -> redis.Redis:
    """Return a client of the server that has a key.

    Raises:
        redis.ConnectionError: no node of the cluster is known to have it.
    """
    return client.get_redis_connection(client.owner(key)) if isinstance(client, Cluster) else client


def round_trip(client: Client, commands: Sequence[Command]) -> list[Any]:
    """Return the answers to commands, all sent before the first is read: to one server, or to several side by side.

    What is lost on the way is sent again: once or twice must be the same. Errors are Redis' own words, without the
    command that redis-py would add to them: it may hold a user's id.

    Raises:
        redis.RedisError: of the first command that failed; the others are done, or have failed, too.
    """
    if isinstance(client, Cluster):
        answers = ask_nodes(client, commands)
    else:
        pipeline = client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        answers = pipeline.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


def run_script(client: Client, script: str, calls: Sequence[Sequence[str | bytes | int | float]]) -> list[Any]:
    """Return what a Lua script answers to calls, in one round trip: each is the number of its keys, these, arguments.

    A call may be made twice, as in :func:`round_trip`, or because another one found a server without the script.

    Raises:
        redis.RedisError: of the first call that failed; the others are done, or have failed, too.
    """
    try:
        return round_trip(client, [("EVALSHA", _sha(script), *call) for call in calls])
    except NoScriptError:  # Redis is new, has restarted, or is another since a failover
        return round_trip(client, [("EVAL", script, *call) for call in calls])


@cache
def _sha(script: str) -> str:
    return sha1(script.encode(), usedforsecurity=False).hexdigest()  # Redis names scripts by it


def _open_cluster(place: RedisUrl, options: Mapping[str, Any]) -> Cluster:
    nodes = [ClusterNode(*address) for address in place.addresses]
    with as_redis_error():
        return Cluster(startup_nodes=nodes, **{"ssl": place.tls, **options, **_of_url(place)})


def _open_watched(place: RedisUrl, options: Mapping[str, Any]) -> redis.Redis:
    theirs = {name.removeprefix(SENTINELS): value for name, value in options.items() if name.startswith(SENTINELS)}
    mine = {name: value for name, value in options.items() if not name.startswith(SENTINELS)}
    shared = {name: value for name, value in mine.items() if name.startswith(("socket_", "ssl_", "retry"))}
    watch = Sentinel(place.addresses, sentinel_kwargs={"ssl": place.tls, **shared, **theirs})
    client: redis.Redis = watch.master_for(place.master, **{"ssl": place.tls, **mine, **_of_url(place)})
    return client


def _of_url(place: RedisUrl) -> dict[str, Any]:
    """Return user, password, database and options of a URL."""
    return {name: value for name, value in parse_url(place.plain).items() if name not in {"host", "port"}}
