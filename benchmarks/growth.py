"""Section 4: what becomes of speed and memory when something grows: users, partitions, batches, processes, one user."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import median

import redis

from benchmarks.harness import JOIN_TOGETHER, Parts, Run, backlog, parts, run
from benchmarks.rounds import interleaved
from benchmarks.section import Row, Size, Table
from stream.contract import timestamp
from tests.traffic import Record, traffic

_USERS = 5_000
_BATCH_SIZES = (256, 1024, 4096, 16_384)
_EVENTS_A_REASONED = 64  # as by default: 64 flags of a batch of 4,096 get reasons, which cost as much as 1,300 scores
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
    variants = {
        str(most): partial(
            run, on, waiting, TENFOLD_BATCH_SIZE=str(most), TENFOLD_REASONS=str(most // _EVENTS_A_REASONED)
        )
        for most in _BATCH_SIZES
    }
    return _table("Most events in a batch", variants, size, "One event in 64 has reasons, whatever the batch.")


def _processes(on: Parts, size: Size) -> Table:
    waiting = backlog(on, size.events, _USERS, partitions=12)  # what 2, 3 and 4 divide
    variants = {str(count): partial(run, on, waiting, count) for count in _PROCESSES}
    return _table("Processes", variants, size, "More processes than cores share them, with Kafka and Redis.")


def _hot_user(on: Parts, size: Size) -> Table:
    waiting = {
        "even": backlog(on, size.events, _USERS),
        "half are one user's, in order": backlog(on, size.events, _USERS, records=_hot(size.events, 2, late=False)),
        "half are one user's": backlog(on, size.events, _USERS, records=_hot(size.events, 2, late=True)),
        "all are one user's, in order": backlog(on, size.events, _USERS, records=_hot(size.events, 1, late=False)),
        "all are one user's": backlog(on, size.events, _USERS, records=_hot(size.events, 1, late=True)),
    }
    variants = {name: partial(run, on, its) for name, its in waiting.items()}
    return _table("Events", variants, size, _HOT_NOTE)


_HOT_NOTE = (
    "One process; a user's events are scored in order, on one partition. Of the events a twentieth is late and one in "
    "fifty repeats an earlier one, but for the user's own where it says in order."
)


def _hot(events: int, every: int, *, late: bool) -> Iterator[Record]:
    """Yield transactions of which each so-manieth is ``user-0``'s."""
    now_ms = time.time_ns() // 1_000_000 - 3_600_000
    for number, record in enumerate(traffic(events, _USERS, seed=1, bad_share=0)):
        if number % every:
            yield record
            continue
        value = json.loads(record.value or b"") | {"user_id": "user-0"}
        if not late:
            value |= {"transaction_id": f"hot-{number}", "created_at": timestamp(now_ms + number // 3)}
        yield Record(b"user-0", json.dumps(value).encode(), bad=False)


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
