"""The scorer's own kinds of metric."""

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest

from stream.metrics import BulkHistogram


def test_a_clock_that_is_ahead_makes_no_sum_fall() -> None:
    registry = CollectorRegistry()
    latency = BulkHistogram("latency", "", [0.1, 1.0], registry)

    latency.observe(np.array([0.5]))
    latency.observe(np.array([-3600.0, 0.25]))

    assert generate_latest(registry).decode().splitlines()[2:] == [
        'latency_bucket{le="0.1"} 1.0',
        'latency_bucket{le="1.0"} 3.0',
        'latency_bucket{le="+Inf"} 3.0',
        "latency_count 3.0",
        "latency_sum 0.75",
    ]
