"""Redis: does it answer, keep what it is given, have room, and answer soon."""

import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import redis
from redis.connection import parse_url

from stream.doctor_finding import Finding, error, note, ok, warning
from stream.plurals import count_of
from stream.redis_client import Client, is_cluster_as_one_server, owner, primaries, round_trip, run_script
from stream.redis_cluster import Command
from stream.settings import Settings

WINDOW_BYTES = 529  # of Redis' memory: a full window, its key and their overhead (docs/capacity.md)
_SET_NOTHING = "return redis.call('SET', KEYS[1], '', 'XX')"
_NO_RIGHT = "user executing the script"  # how a script's command is refused
_PINGS = 200
_SLOW_MS = 5.0  # for half of the round trips: a micro-batch makes two
_SKEW_S = 1.0
_FULL = 0.8


def check_redis(client: Client, settings: Settings, users: int | None) -> Iterator[Finding]:
    """Yield what is found on every server that is written to; ``users`` is how many are expected.

    Raises:
        redis.RedisError: one of them does not answer.
    """
    servers = primaries(client)
    for server in servers:
        info = server.info()
        yield from judge_server(info, settings)
        yield from judge_memory(info, server.dbsize(), -(-users // len(servers)) if users else None)
        yield from judge_latency(_round_trips_ms(server))
    if is_cluster_as_one_server(client):
        yield warning(
            "redis-is-cluster",
            "Redis is a cluster, and asked as one server",
            "begin TENFOLD_REDIS_URL with redis+cluster://",
        )


def check_rights(client: Client, settings: Settings) -> Iterator[Finding]:
    """Yield whether the account may do what the scorer does, by trying it on a key that is not there.

    Nothing is written: ``SET`` with ``XX`` and all that removes find nothing to change.

    Raises:
        redis.RedisError: one of the commands fails for want of something else than a right.
    """
    key = f"tenfold:{{{settings.group_id}:{settings.input_topic}:0}}:doctor".encode()
    commands: list[Command] = [("MGET", key), ("SMEMBERS", key), ("SREM", key, "x"), ("UNLINK", key)]
    tries: list[tuple[str, Callable[[], object]]] = [
        *((str(command[0]), partial(round_trip, client, [command])) for command in commands),
        ("SCAN", lambda: owner(client, key).scan(match=key, count=1)),
        ("EVALSHA, and SET in its script", lambda: run_script(client, _SET_NOTHING, [(1, key)])),
    ]
    refused = False
    for name, attempt in tries:
        try:
            attempt()
        except redis.ResponseError as failed:
            if not isinstance(failed, redis.exceptions.NoPermissionError) and _NO_RIGHT not in str(failed):
                raise
            refused = True
            keys = key.decode().removesuffix("doctor") + "*"
            yield error(
                "no-right",
                f"this account may not use {name} of Redis on {keys} ({failed})",
                "allow it: +@read +@write +@scripting +@connection on ~tenfold:*",
            )
    if not refused:
        yield ok("may-use-redis", "windows can be read and written in Redis")


def judge_server(info: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    """Yield what ``INFO`` says of one server."""
    yield ok("redis", f"Redis {info['redis_version']} answers")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and not settings.allow_eviction:
        yield error(
            "redis-evicts",
            f"maxmemory-policy is {policy}: when its memory is full Redis drops windows, and scores are then wrong",
            "set it to noeviction, and in its configuration for the next start",
            _no_eviction(settings),
        )
    if info.get("role") == "slave":
        yield error("redis-replica", "this Redis is a replica", "name the primary in TENFOLD_REDIS_URL, or Sentinel")
    if info.get("loading"):
        yield warning("redis-loading", "Redis is still loading its data", "wait until it has")
    if info.get("aof_last_write_status", "ok") != "ok" or info.get("rdb_last_bgsave_status", "ok") != "ok":
        yield error("redis-cannot-persist", "Redis' last write to disk failed, and it may refuse writes", "see its log")
    if not info.get("aof_enabled"):
        yield note(
            "redis-not-persistent",
            "Redis has no append-only file: after a restart its windows are old or gone, and scoring waits until they "
            "are rebuilt",
        )
    if info.get("role") == "master" and not info.get("connected_slaves"):
        yield note("redis-no-replica", "Redis has no replica: while it is away nothing is scored")


def judge_memory(info: Mapping[str, Any], keys: int, users: int | None) -> Iterator[Finding]:
    """Yield whether the windows fit: those of ``users`` if given, else what is there now, of ``keys``."""
    maxmemory = int(info.get("maxmemory") or 0)
    most, whose = (
        (maxmemory, "maxmemory") if maxmemory else (int(info.get("total_system_memory") or 0), "its machine's memory")
    )
    used = int(info["used_memory"])
    if users is not None:
        used = users * WINDOW_BYTES
        told = f"the windows of {count_of(users, 'user')} take {_mib(used)}"
    else:
        told = f"Redis holds {count_of(keys, 'key')} in {_mib(used)}"
    if not most:
        yield note("redis-memory", f"{told}; how much it has, it does not say")
    elif used > most:
        yield error("redis-too-small", f"{told}, and {whose} is {_mib(most)}", "give it more memory, or more nodes")
    elif used > _FULL * most:
        yield warning("redis-nearly-full", f"{told} of {_mib(most)} ({whose})", "give it more memory, or more nodes")
    else:
        yield ok("redis-memory", f"{told} of {_mib(most)} ({whose})")


def judge_latency(round_trips_ms: list[float]) -> Iterator[Finding]:
    """Yield how long Redis takes to answer."""
    p50, p99 = np.percentile(round_trips_ms, (50, 99))
    told = f"{len(round_trips_ms)} pings of Redis: p50 {p50:.2f} ms, p99 {p99:.2f} ms"
    if p50 > _SLOW_MS:
        yield warning("redis-slow", told, "run the scorer in Redis' zone: each micro-batch makes two round trips")
    else:
        yield ok("redis-latency", told)


def check_clock(client: Client) -> Iterator[Finding]:
    """Yield how far Redis' clock is from this machine's.

    Raises:
        redis.RedisError: it does not say.
    """
    for server in primaries(client):
        before = time.time()
        seconds, microseconds = server.time()
        after = time.time()
        yield from judge_skew(seconds + microseconds / 1e6, before, after)


def judge_skew(theirs: float, before: float, after: float) -> Iterator[Finding]:
    """Yield whether two clocks agree; theirs was read between the instants ``before`` and ``after`` of ours, all s."""
    skew = max(before - theirs, theirs - after, 0.0)
    if skew > _SKEW_S:
        yield warning(
            "clock-skew",
            f"Redis' clock and this machine's differ by {skew:.1f} s: latencies and ends of suppressions are wrong",
            "let both follow NTP",
        )
    else:
        yield ok("clock", "Redis' clock and this machine's agree")


def _no_eviction(settings: Settings) -> str:
    """Return the command that stops a server from evicting, or none where it takes more than host, port and user."""
    url = settings.redis_url.get_secret_value()
    if urlsplit(url).scheme != "redis":
        return ""
    place = {**settings.redis, **parse_url(url)}
    command = ["redis-cli", "-h", place.get("host", "localhost"), "-p", str(place.get("port", 6379))]
    if "username" in place:
        command += ["--user", str(place["username"])]
    if "password" in place:
        command += ["--askpass"]  # the command is printed
    return shlex.join([*command, "CONFIG", "SET", "maxmemory-policy", "noeviction"])


def _round_trips_ms(server: redis.Redis) -> list[float]:
    taken = []
    for _ in range(_PINGS):
        begun = time.perf_counter()
        server.ping()
        taken.append((time.perf_counter() - begun) * 1000)
    return taken


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
