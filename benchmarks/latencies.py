"""Section 2: from a transaction's due time until its score is readable, open loop (:mod:`benchmarks.latency`)."""

from collections.abc import Sequence

from benchmarks import latency
from benchmarks.harness import parts
from benchmarks.section import Row, Size, Table

_DELIVERIES = ("exactly-once", "at-least-once")

#: Kafka 4 lets a commit of offsets wait so long for company, unless it is part of a transaction.
_AT_ONCE, _AT_ONCE_RATE = "group.coordinator.append.linger.ms=0", 1_000


def measure(size: Size) -> list[Table]:
    """Measure each rate in both deliveries, and one on a broker that does not let commits wait."""
    return [
        Table(
            "Milliseconds from due to readable",
            _rows("", size.rates, size.latency_s),
            "Send times are fixed beforehand; the broker is warm, and the first 5 s do not count. "
            "Of the payments one in a hundred is flagged.",
        ),
        Table(f"The same with `{_AT_ONCE}`", _rows(_AT_ONCE, [_AT_ONCE_RATE], size.latency_s)),
    ]


def _rows(properties: str, rates: Sequence[int], seconds: float) -> list[Row]:
    rows: list[Row] = []
    with parts(properties) as on:
        latency.warm_up(on.kafka.bootstrap, on.redis.url)
        for delivery in _DELIVERIES:
            for rate in rates:
                found = latency.measure(on.kafka.bootstrap, on.redis.url, rate, seconds, delivery)
                rows.append(
                    {"delivery": delivery, "events/s": rate, **{f"{name} ms": ms for name, ms in found.items()}}
                )
    return rows
