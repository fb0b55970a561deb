"""Section 2: from a transaction's due time until its score is readable, open loop (:mod:`benchmarks.latency`)."""

from benchmarks import latency
from benchmarks.harness import parts
from benchmarks.section import Row, Size, Table

_DELIVERIES = ("exactly-once", "at-least-once")


def measure(size: Size) -> list[Table]:
    """Measure each rate in both deliveries."""
    rows: list[Row] = []
    with parts() as on:
        latency.warm_up(on.kafka.bootstrap, on.redis.url)
        for delivery in _DELIVERIES:
            for rate in size.rates:
                found = latency.measure(on.kafka.bootstrap, on.redis.url, rate, size.latency_s, delivery)
                rows.append(
                    {"delivery": delivery, "events/s": rate, **{f"{name} ms": ms for name, ms in found.items()}}
                )
    return [
        Table(
            "Milliseconds from due to readable",
            rows,
            "Send times are fixed beforehand; the broker is warm, and the first 5 s do not count.",
        )
    ]
