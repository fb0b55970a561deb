"""Metrics of ``tenfold profiles run``, with what each tells an operator."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge


class ProfileMetrics:
    """The metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, documentation: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(f"tenfold_profiles_{name}", documentation, labels, registry=registry)

        self.rows = gauge("rows", "Profiles in the newest table", ["kind"])
        self.age = gauge("age_seconds", "Time since the day of the newest published table began")
        self.duration = gauge("duration_seconds", "Time that building and publishing the newest table took")
        self.behind = gauge("partitions_behind", "Partitions that a table waits for the archiver on")
        self.unused_labels = gauge("unused_labels", "Labels of unknown transactions, in the days of the newest table")
        self.label_delay = gauge(
            "label_delay_seconds",
            "From a payment until its first label landed, of labels in the days of the newest table",
            ["quantile"],
        )
        self.errors = Counter(
            "tenfold_profiles_errors", "Attempts at a table that failed; it is tried again", registry=registry
        )
