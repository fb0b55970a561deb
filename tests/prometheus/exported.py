"""Every series that Tenfold's processes and the recording rules make, with its labels."""

from typing import Any

import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

from stream.metrics import Metrics
from tests.prometheus.tools import PROMETHEUS
from training.archive_metrics import ArchiveMetrics
from training.monitor_metrics import MonitorMetrics
from training.profiles_metrics import ProfileMetrics

TARGET = {"group", "instance", "job"}  # what deploy/prometheus/prometheus.yml gives every target
_SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}


def rules() -> list[dict[str, Any]]:
    """Return all rules, recording and alerting."""
    files = sorted((PROMETHEUS / "rules").glob("*.yml"))
    return [rule for file in files for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


def known_series() -> dict[str, set[str]]:
    """Return the labels of each series that can be there, by its name."""
    known = {"up": set(TARGET), "ALERTS_FOR_STATE": {"alertname", *TARGET}}  # which Prometheus makes itself
    for kind in (Metrics, ArchiveMetrics, ProfileMetrics, MonitorMetrics, ProcessCollector):
        registry = CollectorRegistry()
        made = kind(registry=registry)
        labels = {each._name: each._labelnames for each in vars(made).values() if hasattr(each, "_labelnames")}
        for family in registry.collect():
            for suffix in _SUFFIXES.get(family.type, [""]):
                own = {*labels.get(family.name, ()), *(["le"] if suffix == "_bucket" else [])}
                known[family.name + suffix] = own | TARGET
    for rule in rules():
        if "record" in rule:
            # by convention, level:metric:operation, and the level is what the labels are
            known[rule["record"]] = set(rule["record"].partition(":")[0].split("_"))
    return known
