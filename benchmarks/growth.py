"""Section 4: what becomes of speed and memory when something grows: users, partitions, batches, processes, one user."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import median

import redis

from benchmarks.harness import JOIN_TOGETHER, Parts, Run, backlog, parts, run
from benchmarks.rounds import interleaved
from benchmarks.section import Row, Size, Table
from tests.traffic import Record, traffic

_USERS = 5_000
_BATCH_SIZES = (256, 1024, 4096, 16_384)
_PROCESSES = (1, 2, 3, 4)
_MANY = 1_000_000  # users; filling the windows of more takes minutes, so they are measured once


def measure(size: Size) -> list[Table]:
    """Measure each growth by itself."""
    with parts(JOIN_TOGETHER) as on:
        return [
            _partitions(on, size),
            _batches(on, size),
            _processes(on, size),
            _hot_user(on, size),
            _users(on, size),  # last: it fills the memory
        ]


def _users(on: Parts, size: Size) -> Table:
    rows = []
    for users in size.users:
        waiting = backlog(on, size.events, users)
        runs = [run(on, waiting) for _ in range(size.rounds if users < _MANY else 1)]
        rows.append({"users": users, "Redis, bytes a user": round(runs[0].redis_bytes), **_described(runs)})
        with redis.Redis.from_url(on.redis.url, socket_timeout=600) as client:
            client.flushall()
    return Table("Users", rows, "A window for each is in Redis; the events are spread evenly over them.")


def _partitions(on: Parts, size: Size) -> Table:
    waiting = {str(count): backlog(on, size.events, _USERS, count) for count in size.partitions}
    return _table("Partitions", {name: partial(run, on, its) for name, its in waiting.items()}, size)


def _batches(on: Parts, size: Size) -> Table:
    waiting = backlog(on, size.events, _USERS)
    variants = {str(most): partial(run, on, waiting, TENFOLD_BATCH_SIZE=str(most)) for most in _BATCH_SIZES}
    return _table("Most events in a batch", variants, size)


def _processes(on: Parts, size: Size) -> Table:
    waiting = backlog(on, size.events, _USERS, partitions=12)  # what 2, 3 and 4 divide
    variants = {str(count): partial(run, on, waiting, count) for count in _PROCESSES}
    return _table("Processes", variants, size, "More processes than cores share them, with Kafka and Redis.")


def _hot_user(on: Parts, size: Size) -> Table:
    waiting = {
        "even": backlog(on, size.events, _USERS),
        "half are one user's": backlog(on, size.events, _USERS, records=_hot(size.events, every=2)),
        "all are one user's": backlog(on, size.events, _USERS, records=_hot(size.events, every=1)),
    }
    variants = {name: partial(run, on, its) for name, its in waiting.items()}
    return _table(
        "Events", variants, size, "One process; one user's events are one partition's, and are scored in order."
    )


def _hot(events: int, every: int) -> Iterator[Record]:
    for number, record in enumerate(traffic(events, _USERS, seed=1, bad_share=0)):
        if number % every == 0:
            value = json.loads(record.value or b"") | {"user_id": "user-0"}
            yield Record(b"user-0", json.dumps(value).encode(), bad=False)
        else:
            yield record


def _table(title: str, variants: Mapping[str, Callable[[], Run]], size: Size, note: str = "") -> Table:
    found = interleaved(variants, size.rounds)
    return Table(title, [{title.lower(): name, **_described(runs)} for name, runs in found.items()], note)


def _described(runs: Sequence[Run]) -> Row:
    return {
        "events/s": round(median(each.events_per_s for each in runs)),
        "µs an event": round(median(1e6 / each.events_per_s for each in runs), 1),
        **{f"CPU {part}": round(median(each.cpu_us[part] for each in runs), 1) for part in runs[0].cpu_us},
        "resident MB": round(median(each.resident_mb for each in runs)),
    }
