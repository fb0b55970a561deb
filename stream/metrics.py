"""Every metric, once, with what it tells an operator. Handed to what counts; nothing here is global."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

_STAGE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0)
_BATCH_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536)
#: Most payments are honest and lie close to 0, so there it is looked at more closely than in the middle.
_PROBABILITY_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, *(n / 10 for n in range(1, 10)), 0.95, 0.98, 0.99, 1.0)


class BulkHistogram(Collector):
    """A histogram that takes a whole micro-batch of observations at once; one at a time costs a microsecond each."""

    def __init__(self, name: str, documentation: str, buckets: Sequence[float], registry: CollectorRegistry) -> None:
        self._name, self._documentation = name, documentation
        self._bounds = np.array(buckets, np.float64)
        self._counts = np.zeros(len(buckets) + 1, np.int64)
        self._sum = 0.0
        registry.register(self)

    def observe(self, values: npt.NDArray[np.floating]) -> None:
        """Count ``values``, ``float [n]``. One thread observes.

        A negative one counts as 0, a latency by the clock of a producer that is ahead: to Prometheus a sum that falls
        is a process that has started anew.
        """
        values = np.maximum(values, 0)
        places = np.searchsorted(self._bounds, values, side="left")
        self._counts = self._counts + np.bincount(places, minlength=len(self._counts))
        self._sum += float(values.sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the histogram as Prometheus reads it."""
        cumulative = np.cumsum(self._counts).tolist()
        bounds = [*map(str, self._bounds.tolist()), "+Inf"]
        yield HistogramMetricFamily(
            self._name, self._documentation, buckets=list(zip(bounds, cumulative, strict=True)), sum_value=self._sum
        )


class ReadGauge(Collector):
    """A gauge that is worked out when Prometheus asks, and which labels it has then."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name, self._documentation, self._labelnames = name, documentation, tuple(labels)
        self._read: Callable[[], Iterable[tuple[Sequence[str], float]]] = list
        registry.register(self)

    def read_by(self, read: Callable[[], Iterable[tuple[Sequence[str], float]]]) -> None:
        """Let ``read`` say the values there are, each with its labels. It is called by the thread that is asked."""
        self._read = read

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauge as Prometheus reads it."""
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labelnames)
        for labels, value in self._read():
            family.add_metric(labels, value)
        yield family


class Metrics:
    """The scorer's metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, documentation: str, labels: Sequence[str] = ()) -> Counter:
            return Counter(f"tenfold_{name}", documentation, labels, registry=registry)

        def gauge(name: str, documentation: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(f"tenfold_{name}", documentation, labels, registry=registry)

        # what came and what went
        self.events = counter("events", "Records taken from the input topic and answered")
        self.scores = counter("scores", "Scores published")
        self.anomalies = counter("anomalies", "Scores above the model's threshold")
        self.suppressed = counter("suppressed", "Scores above the threshold that raise no anomaly, by a rule")
        self.suppressions = gauge("suppressions", "Rules of suppression that this process knows")
        self.flags_explained = counter("flags_explained", "Flags, by what became of their reasons", ["outcome"])
        self.insufficient_history = counter("insufficient_history", "Scores on a window that was not full")
        self.fraud_probability = BulkHistogram(
            "tenfold_fraud_probability", "Probabilities of the scores published", _PROBABILITY_BUCKETS, registry
        )
        self.dead_letters = counter("dead_letters", "Records that could not be scored", ["reason"])
        self.misplaced = counter("misplaced_events", "Events on another partition than their key's: check partitioners")

        # how fast
        self.batch_events = Histogram(
            "tenfold_batch_events", "Events in a micro-batch", buckets=_BATCH_BUCKETS, registry=registry
        )
        self.stage_seconds = Histogram(
            "tenfold_stage_seconds", "Time of a micro-batch's stages", ["stage"], buckets=_STAGE_BUCKETS,
            registry=registry,
        )  # fmt: skip
        self.latency = BulkHistogram(
            "tenfold_end_to_end_latency_seconds",
            "From a record's Kafka timestamp until its score is readable",
            _LATENCY_BUCKETS,
            registry,
        )
        self.lag_records = gauge("lag_records", "Records of the input topic not scored yet", ["partition"])
        self.lag_seconds = gauge("lag_seconds", "Age of the newest scored record while there is lag", ["partition"])

        # windows
        self.window_hits = counter("window_hits", "Windows found in Redis")
        self.window_misses = counter("window_misses", "Windows not found: a user's first event, or one long gone")

        # profiles, where the model reads them
        self.profiles_missing = counter("profiles_missing", "Events scored without a table of profiles")
        self.profiles_stale = counter("profiles_stale", "Events scored with the profiles of an earlier day than theirs")

        # recovery: all of these are zero or still on a quiet day
        self.recoveries = counter("recoveries", "Partitions taken up, by what was found", ["cause"])
        self.recovered_events = counter("recovered_events", "Records read again to bring windows up to date")
        self.recovering_partitions = gauge("recovering_partitions", "Partitions that are not scored at the moment")
        self.events_lost = counter("events_lost", "Records that retention took before they were scored")
        self.history_lost = counter(
            "history_lost", "Rebuilds for which neither log nor archive had all that came before"
        )
        self.batches_dropped = counter(
            "batches_dropped", "Micro-batches that did not get through: what of them was not published is done again"
        )
        self.rebalances = counter("rebalances", "Assignments and revocations of partitions", ["kind"])

        # the model store, where a scorer follows it; zero on a quiet day, but for the first and the last
        self.reloads = counter("reloads", "Bundles of the model store that were put in force without a restart")
        self.bundles_refused = counter(
            "bundles_refused", "Bundles that the model store named and were refused", ["pointer"]
        )
        self.refusing_bundle = gauge(
            "refusing_bundle", "1 while the model store names a bundle that was refused", ["pointer"]
        )
        self.model_store_errors = counter("model_store_errors", "Looks at the model store at which it was not readable")
        self.model_store_read = gauge("model_store_read_timestamp_seconds", "When the model store was last read")

        # a challenger in the champion's shadow, where there is one
        self.shadow_scores = counter("shadow_scores", "Scores of the challenger that were published")
        self.shadow_dropped = counter("shadow_dropped", "Events that the challenger did not score, by why", ["reason"])
        self.shadow_difference = counter(
            "shadow_difference", "Sum of how far the challenger's probabilities are from the champion's"
        )
        self.shadow_flags = counter("shadow_flags", "Flags that the challenger adds or takes away", ["change"])
        self.shadow_rank_correlation = gauge(
            "shadow_rank_correlation", "Of challenger and champion, over the last 4096 scores", ["model_version"]
        )

        # drift, where the bundle says what it learned from
        self.drift_psi = ReadGauge(
            "tenfold_drift_psi",
            "Population stability index of a feature, or the score, against the training: above 0.2 it has drifted",
            ["feature", "window"],
            registry,
        )

        # what runs
        self.dependency_up = gauge(
            "dependency_up",
            "1 while Kafka, or Redis, answers this process; 0 also while Redis refuses its writes",
            ["dependency"],
        )
        self.redis_may_evict = gauge("redis_may_evict", "1 while Redis may drop windows, which was not so at the start")
        self.partitions = gauge("partitions", "Partitions that this process owns")
        self.input_partitions = gauge("input_partitions", "Partitions of the input topic: more of them move users")
        self.ready = gauge("ready", "1 while every owned partition is scored")
        self.model_info = gauge("model_info", "1, with the model in force", ["model_version", "preset", "runtime"])

    @contextmanager
    def timer(self, stage: str) -> Iterator[None]:
        """Time a stage of a micro-batch."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.stage_seconds.labels(stage).observe(time.perf_counter() - begun)
