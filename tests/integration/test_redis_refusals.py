"""A Redis that answers and refuses: it is not told as one that is away, and the doctor finds the missing right."""

import re

import pytest
import redis

from deploy.secure.make_secrets import REDIS_RIGHTS
from stream.doctor_finding import Finding, Severity
from stream.doctor_redis import check_rights
from stream.redis_client import connect, ping, why_unusable
from stream.settings import Settings, SettingsError
from tests.brokers import RedisServer
from tests.integration.test_redis_cluster import score

pytestmark = pytest.mark.broker


@pytest.mark.parametrize(
    ("database", "settings", "why"),
    [
        (0, {}, "Authentication required|HELLO must be called with the client already authenticated"),
        (0, {"TENFOLD_REDIS__PASSWORD": "wrong"}, "invalid username-password pair"),
        (99, {"TENFOLD_REDIS__PASSWORD": "right"}, "DB index is out of range"),
    ],
)
def test_a_redis_that_refuses_the_client_is_not_to_be_started(
    own_redis: RedisServer, database: int, settings: dict[str, str], why: str
) -> None:
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("requirepass", "right")
    place = f"redis://127.0.0.1:{own_redis.port}/{database}"
    told = score(place, **settings).stderr
    assert re.search(rf"Redis at {place} refuses this client \(.*({why}).*\): look at TENFOLD_REDIS__USERNAME", told)


def test_a_redis_that_speaks_no_tls_is_asked_for_it_and_told_so(own_redis: RedisServer) -> None:
    own_redis.start()
    place = own_redis.url.replace("redis://", "rediss://")
    settings = Settings(redis_url=place, redis={"socket_connect_timeout": 0.2, "socket_timeout": 0.2})
    with pytest.raises((redis.ConnectionError, redis.TimeoutError)) as failed:
        ping(connect(settings))
    what, to_do = why_unusable(settings, failed.value)
    assert f"Redis at {place} does not answer" in what
    assert "rediss:// is for a port that speaks TLS" in to_do


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile", "ssl_ca_path"])
def test_a_certificate_that_is_not_there_is_named_rather_than_redis_blamed(option: str) -> None:
    settings = Settings(redis_url="rediss://127.0.0.1:1", redis={option: "/nowhere/ca.pem"})  # type: ignore[arg-type]
    named = f"TENFOLD_REDIS__{option.upper()} names /nowhere/ca.pem, which is not there"
    with pytest.raises(SettingsError, match=named):
        connect(settings)


@pytest.mark.parametrize(
    ("taken", "missing"),
    [
        ("", []),
        ("-@scripting", ["EVALSHA, and SET in its script"]),
        ("-set", ["EVALSHA, and SET in its script"]),
        ("-mget", ["MGET"]),
        ("-unlink -scan", ["UNLINK", "SCAN"]),
        (
            "resetkeys ~tenfold:{another:*",
            ["MGET", "SMEMBERS", "SREM", "UNLINK", "EVALSHA, and SET in its script"],
        ),
    ],
)
def test_a_right_in_redis_that_the_scorer_lacks_is_found(
    own_redis: RedisServer, taken: str, missing: list[str]
) -> None:
    own_redis.start()
    keys, commands = REDIS_RIGHTS["scorer"]
    with redis.Redis.from_url(own_redis.url) as administrator:
        administrator.execute_command(*("ACL SETUSER scorer on >secret " + f"{keys} {commands} {taken}").split())
        settings = Settings(redis_url=own_redis.url, redis={"username": "scorer", "password": "secret"})
        findings = list(check_rights(connect(settings), settings))
        assert administrator.dbsize() == 0
    assert [
        each.what.removeprefix("this account may not use ").split(" of Redis")[0]
        for each in findings
        if each.code == "no-right"
    ] == missing
    if not missing:
        assert findings == [Finding(Severity.OK, "may-use-redis", "windows can be read and written in Redis")]
