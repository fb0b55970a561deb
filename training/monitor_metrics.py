"""The monitor's metrics, with what each tells an operator."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge


class MonitorMetrics:
    """The monitor's metrics in one registry. Those by delay are of the last week that was judged after it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, documentation: str, labels: Sequence[str]) -> Counter:
            return Counter(f"tenfold_monitor_{name}", documentation, labels, registry=registry)

        def gauge(name: str, documentation: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(f"tenfold_monitor_{name}", documentation, labels, registry=registry)

        # how good: by one process of the group, the one that publishes
        self.precision = gauge("precision", "Share of frauds among the payments that were flagged", ["delay_days"])
        self.recall = gauge("recall", "Share of the frauds that was flagged", ["delay_days"])
        self.average_precision = gauge("average_precision", "Average precision of the scores", ["delay_days"])
        self.card_precision = gauge("card_precision", "Share of defrauded among a day's 100 top cards", ["delay_days"])
        self.amount = gauge("fraud_amount", "Amount of the frauds, caught or missed", ["delay_days", "outcome"])
        self.payments = gauge("payments", "Payments judged: all, labelled, frauds, flagged", ["delay_days", "kind"])
        self.day = gauge("day_timestamp_seconds", "Begin of the last day of that week", ["delay_days"])

        # labels of the last whole day, by the same process
        self.labels = gauge("labels", "Labels of the last whole day: all, of unknown payments, contradicting", ["kind"])
        self.label_delay = gauge(
            "label_delay_seconds", "From payment to label, of the last whole day's labels", ["quantile"]
        )

        # how it goes
        self.records = counter("records", "Records taken into the state", ["topic"])
        self.refused = counter("refused_records", "Records that are malformed, and not judged", ["topic", "reason"])
        self.lost = counter("lost_records", "Records that retention took before they were read", ["topic"])
        self.lag = gauge("lag_records", "Records of the topic not in the state yet", ["topic", "partition"])
        self.partitions = gauge("partitions", "Partitions that this process reads")
        self.publishing = gauge("publishing", "1 in the process of the group that publishes")
        self.ready = gauge("ready", "1 while every owned partition is read")

    def hide(self) -> None:
        """Take out what is published: another process of the group shows it."""
        for gauge in (self.precision, self.recall, self.average_precision, self.card_precision, self.amount):
            gauge.clear()
        for gauge in (self.payments, self.day, self.labels, self.label_delay):
            gauge.clear()
