"""Whatever option of redis-py a setting gives, on each form of Redis: it is in force, or refused; never a traceback."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.cluster import REDIS_ALLOWED_KEYS
from redis.connection import AbstractConnection, SSLConnection

from stream.redis_client import RedisAwayError, connect, ping, round_trip
from stream.settings import Settings, SettingsError
from tests.brokers import RedisServer
from tests.integration.test_redis_tls import PASSWORDS, Servers
from tests.redis_servers import MASTER, RedisNodes, WatchedRedis

pytestmark = pytest.mark.broker

CLIENTS = (redis.Redis, redis.RedisCluster, AbstractConnection, SSLConnection, redis.ConnectionPool)
NAMES = sorted({*REDIS_ALLOWED_KEYS, *(name for client in CLIENTS for name in inspect.signature(client).parameters)})

#: As a variable and as TOML may have them.
VALUES = ["abc", "", "0", "-1", "0.5", "1e300", "true", "NaN", '{"a": 1}', 7, 0, True, 2**70]

#: Of these Redis, or TLS, has the word.
REDIS_SAYS = re.compile(r"username|password|client_name|ssl.*")

Place = tuple[str, dict[str, str]]  # an address, and the options that it takes


@pytest.fixture
def over_tls(own_redis: RedisServer, tmp_path: Path) -> Iterator[Servers]:  # noqa: ARG001 - skips where there is none
    servers = Servers(tmp_path)
    yield servers
    servers.stop()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[WatchedRedis]:
    watched = WatchedRedis(tmp_path)
    watched.start()
    yield watched
    watched.discard()


@pytest.fixture(params=["one server", "over TLS", "on a socket", "behind Sentinel", "a cluster"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    match request.param:
        case "one server":
            return request.getfixturevalue("redis_url"), {}
        case "over TLS":
            servers: Servers = request.getfixturevalue("over_tls")
            servers.start().close()
            user = {"username": "scorer", "password": PASSWORDS["scorer"]}
            return f"rediss://127.0.0.1:{servers.port}/0", {**user, "ssl_ca_certs": servers.authority}
        case "on a socket":
            server: RedisServer = request.getfixturevalue("own_redis")
            server.start("--unixsocket", str(tmp_path / "redis.sock"))
            return f"unix://{tmp_path}/redis.sock", {}
        case "behind Sentinel":
            watched: WatchedRedis = request.getfixturevalue("watched")
            url = f"redis+sentinel://127.0.0.1:{watched.sentinel_port}/{MASTER}/0"
            return url, {"sentinel_password": watched.PASSWORD}
        case _:
            nodes: RedisNodes = request.getfixturevalue("redis_nodes")
            return nodes.url, {}


def outcome(url: str, options: dict[str, object]) -> str:
    """Return what becomes of options: they work, or are refused; an error of any other kind is raised."""
    try:
        client = connect(Settings(redis_url=url, redis=options))  # type: ignore[arg-type]
        try:
            ping(client)
            round_trip(client, [("GET", b"tenfold:{0}:key"), ("GET", "tenfold:{0}:schl\u00fcssel")])
        finally:
            client.close()
    except (ValueError, SettingsError):  # of the first `load` makes the second
        return "refused"
    except (RedisAwayError, redis.RedisError):
        return "refused by Redis"
    return "works"


def test_an_option_is_in_force_or_refused(place: Place) -> None:
    url, needed = place
    assert outcome(url, {**needed}) == "works"
    surprises = []
    behind_sentinel = "sentinel" in url  # where a connection takes the longest
    for name in [*NAMES, *(f"sentinel_{name}" for name in NAMES if behind_sentinel)]:
        for value in VALUES[::3] if behind_sentinel else VALUES:
            try:
                came = outcome(url, {**needed, name: value})
            except Exception as error:  # noqa: BLE001 - any is one too many
                came = repr(error)
            is_refused = came == "refused by Redis" and REDIS_SAYS.fullmatch(name.removeprefix("sentinel_"))
            if not (is_refused or came in ("refused", "works")):
                surprises.append((name, value, came))
    assert surprises == []
