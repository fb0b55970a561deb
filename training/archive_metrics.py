"""The archiver's metrics, with what each tells an operator."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge


class ArchiveMetrics:
    """The archiver's metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, documentation: str, labels: Sequence[str]) -> Counter:
            return Counter(f"tenfold_archive_{name}", documentation, labels, registry=registry)

        def gauge(name: str, documentation: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(f"tenfold_archive_{name}", documentation, labels, registry=registry)

        self.rows = counter("rows", "Records written to the archive", ["topic"])
        self.labels = counter("labels", "Labels written to the archive, by their verdict", ["is_fraud"])
        self.files = counter("files", "Files written", ["topic"])
        self.bytes = counter("bytes", "Size of the files written", ["topic"])
        self.refused = counter("refused_records", "Records that are malformed, and not archived", ["topic", "reason"])
        self.lost = counter("lost_records", "Records that retention took before they were archived", ["topic"])
        self.waiting_rows = gauge("waiting_rows", "Records in memory, not in a file yet")
        self.lag = gauge("lag_records", "Records of the topic not in the archive yet", ["topic", "partition"])
        self.partitions = gauge("partitions", "Partitions that this process archives")
        self.ready = gauge("ready", "1 while every owned partition is archived")
