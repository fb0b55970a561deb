"""``python -m benchmarks.capacity``: what a rate needs, worked out from what an event was measured to cost. Pure.

The tables of ``docs/capacity.md`` are printed by it. Measure on your own machines (``make bench``), put your costs in,
and it is your plan.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, exp, log, sqrt
from typing import NamedTuple


@dataclass(frozen=True)
class Costs:
    """What one event and one user cost; ``docs/capacity.md`` says where each figure was measured."""

    scorer_us: float = 48.0  # CPU of the scorer
    kafka_us: float = 5.5  # CPU of Kafka: the payment read, the score and its transaction appended
    redis_us: float = 15.0  # of Redis's one thread, with ten million windows: with ten thousand it is a fifth
    process_rate: float = 28_000.0  # events/s of one scorer
    user_rate: float = 26_700.0  # events/s when all are one user's, a twentieth of them late: 0.95 of process_rate
    payment_bytes: float = 172.0  # in the log
    score_bytes: float = 392.0  # in the log
    user_bytes: float = 529.0  # of Redis's memory: a full window, its key, their overhead


@dataclass(frozen=True)
class Assumptions:
    """What a plan takes for granted."""

    headroom: float = 0.5  # share of everything that idles at the peak: for catching up, and for a node that is away
    peak_over_mean: float = 3.0
    replication: int = 3  # of Kafka's partitions
    redis_copies: int = 2  # a primary and a replica
    retention_days: float = 7.0
    readers: int = 2  # of each topic: scorer or alerting, and archiver
    node_cores: int = 16
    node_memory_gb: float = 64.0
    node_network_mb_s: float = 1_250.0  # ten gigabits, each way
    spare_partitions: int = 4  # times the processes, for adding partitions moves users


class Load(NamedTuple):
    """Events/s at the peak, and the users who have a window."""

    events_per_s: float
    users: float


@dataclass(frozen=True)
class Plan:
    """What a load needs."""

    scorer_processes: int
    scorer_cores: int
    cells: int  # a Redis, a topic and a group each: one Redis serves a group
    partitions: int  # of all cells together
    redis_memory_gb: float  # of all primaries and replicas, half of it free
    redis_nodes: int
    kafka_cores: int
    kafka_network_mb_s: float  # in or out, whichever is more, of all brokers at the peak
    kafka_disk_tb: float
    kafka_nodes: int


#: The loads of the page. A user who pays is a user with a window: 90 days of them.
LOADS = (Load(1_000, 1_000_000), Load(50_000, 20_000_000), Load(1_000_000, 300_000_000))


def plan(load: Load, costs: Costs, given: Assumptions) -> Plan:
    """Return what a load needs."""
    used, peak = 1 - given.headroom, load.events_per_s
    redis_cpus = peak * costs.redis_us / 1e6 / used  # a Redis has one thread
    memory_gb = load.users * costs.user_bytes / 1e9 / used
    cells = max(1, ceil(redis_cpus), ceil(memory_gb / given.node_memory_gb))
    processes = _multiple(max(2 * cells, ceil(peak / (costs.process_rate * used))), cells)  # two, so that one may go
    # who appends the payments and who reads the scores costs as much again, and so does each follower
    kafka_cores = peak * costs.kafka_us * (1 + given.replication) / 1e6 / used
    network_mb_s = _network_bytes(costs, given) * peak / 1e6
    disk_tb = (
        peak
        / given.peak_over_mean
        * (costs.payment_bytes + costs.score_bytes)
        * given.replication
        * given.retention_days
        * 86_400
        / 1e12
        / used
    )
    brokers = max(
        given.replication, ceil(kafka_cores / given.node_cores), ceil(network_mb_s / used / given.node_network_mb_s)
    )
    return Plan(
        scorer_processes=processes,
        scorer_cores=max(processes, ceil(peak * costs.scorer_us / 1e6 / used)),
        cells=cells,
        partitions=given.spare_partitions * processes,
        redis_memory_gb=round(memory_gb * given.redis_copies, 1),
        redis_nodes=cells * given.redis_copies,
        kafka_cores=max(given.replication, ceil(kafka_cores)),
        kafka_network_mb_s=round(network_mb_s, 1),
        kafka_disk_tb=round(disk_tb, 2),
        kafka_nodes=brokers,
    )


def _network_bytes(costs: Costs, given: Assumptions) -> float:
    """Return what an event sends over all brokers' network in one direction, whichever is more."""
    record = costs.payment_bytes + costs.score_bytes
    taken = record * given.replication
    sent = record * (given.replication - 1 + given.readers)
    return max(taken, sent)


def _multiple(least: int, of: int) -> int:
    return ceil(least / of) * of


def busiest_partition(users: float, partitions: int, spread: float) -> float:
    """Return by how much the busiest partition exceeds the mean, where users are placed by a hash.

    The users' rates are taken as lognormal. A partition's load then is a sum of many of them, near enough to normal: of
    so many partitions the busiest lies about ``sqrt(2 log n)`` standard deviations above the mean.

    Args:
        users: with a window.
        partitions: at least 2.
        spread: sigma of the logarithm of users' rates: 1.5 means that one in a hundred pays 33 times as often as half
            of the others.
    """
    deviation = sqrt(exp(spread**2) * partitions / users)
    return 1 + deviation * sqrt(2 * log(partitions))


def largest_user(costs: Costs, given: Assumptions) -> float:
    """Return the most events/s that one user may have: a process's time, at the headroom."""
    return costs.user_rate * (1 - given.headroom)


def needs(costs: Costs, given: Assumptions, loads: Sequence[Load] = LOADS) -> str:
    """Return what each load needs, as a table of ``docs/capacity.md``."""
    plans = [plan(load, costs, given) for load in loads]
    heads = [f"{load.events_per_s:,.0f} events/s, {load.users / 1e6:,.0f} M users" for load in loads]
    rows = {name: [getattr(each, field) for each in plans] for field, name in _NEEDS.items()}
    rows["busiest partition, above the mean"] = [
        f"{busiest_partition(load.users, each.partitions, _SPREAD) - 1:.1%}"
        for load, each in zip(loads, plans, strict=True)
    ]
    rows["largest user, events/s"] = [largest_user(costs, given)] * len(plans)
    return _table(["at the peak", *heads], rows)


def measured(costs: Costs) -> str:
    """Return what it is worked out from, as a table of ``docs/capacity.md``."""
    return _table(["of an event", "measured"], {name: [getattr(costs, field)] for field, name in _COSTS.items()})


_SPREAD = 1.5

_NEEDS = {
    "scorer_processes": "scorers",
    "scorer_cores": "their cores",
    "cells": "cells: Redis, topic, group",
    "partitions": "partitions of all cells",
    "redis_memory_gb": "Redis memory with replicas, GB",
    "redis_nodes": "Redis nodes",
    "kafka_cores": "Kafka's cores",
    "kafka_network_mb_s": "Kafka's network, MB/s each way",
    "kafka_disk_tb": "Kafka's disk, TB",
    "kafka_nodes": "Kafka nodes",
}

_COSTS = {
    "scorer_us": "CPU of the scorer, µs",
    "kafka_us": "CPU of Kafka, for what the scorer reads and writes, µs",
    "redis_us": "CPU of Redis, µs",
    "process_rate": "one scorer, events/s",
    "user_rate": "all events one user's, events/s",
    "payment_bytes": "payment in the log, bytes",
    "score_bytes": "score in the log, bytes",
    "user_bytes": "a user's full window in Redis, all told, bytes",
}


def _table(heads: Sequence[str], rows: Mapping[str, Sequence[object]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|---{'|--:' * (len(heads) - 1)}|"]
    for name, values in rows.items():
        cells = [f"{value:,}".removesuffix(".0") if isinstance(value, int | float) else str(value) for value in values]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(f"{measured(Costs())}\n\n{needs(Costs(), Assumptions())}")
