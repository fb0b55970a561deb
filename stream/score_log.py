"""How scoring goes, as a log line now and then for who watches the log. Elsewhere it is told by the metrics."""

import logging

from prometheus_client.metrics import MetricWrapperBase

from stream.metrics import Metrics

log = logging.getLogger(__name__)

EVERY_S = 10.0


class ScoreLog:
    """Logs what was scored by now whenever it is looked at, but nothing where nothing has come since."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._told = {"scored": 0, "flagged": 0, "dead_letters": 0, "lag": 0}

    def look(self) -> None:
        """Log how it stands, if that is otherwise than it was."""
        metrics = self._metrics
        now = {
            "scored": _total(metrics.scores),
            "flagged": _total(metrics.anomalies) - _total(metrics.suppressed),
            "dead_letters": _total(metrics.dead_letters),
            "lag": _total(metrics.lag_records),
        }
        if now != self._told:
            self._told = now
            log.info("by now", extra=now)


def _total(metric: MetricWrapperBase) -> int:
    samples = [sample for family in metric.collect() for sample in family.samples]
    return int(sum(sample.value for sample in samples if not sample.name.endswith("_created")))
