"""What dashboards and recording rules ask, as Grafana asks it, and whether Prometheus has an answer."""

import json
import math
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any, NamedTuple

from deploy.grafana.build import files
from tests.processes import http_get
from tests.prometheus.exported import rules

Answer = list[dict[str, Any]]


class Asked(NamedTuple):
    """An expression, and the labels that it is shown by."""

    place: str  # of a panel its dashboard and number, as in `model/9`; of a recording rule its name
    expression: str
    labels: set[str]


def asked() -> Iterator[Asked]:
    """Yield every query of the dashboards, all groups and instances chosen, and every recording rule."""
    for path, text in files().items():
        for panel in json.loads(text)["panels"]:
            for target in panel.get("targets", []):
                legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                yield Asked(f"{path.stem}/{panel['id']}", _filled_in(target["expr"]), legend)
    yield from (Asked(rule["record"], rule["record"], {"group"}) for rule in rules() if "record" in rule)


def _filled_in(expression: str) -> str:
    return expression.replace("$__rate_interval", "5m").replace("$group", ".*").replace("$instance", ".*")


def ask(port: int, expression: str) -> Answer:
    """Return what an expression yields now, of the Prometheus at a port of this machine; nothing where none answers.

    Raises:
        AssertionError: it refuses the expression.
    """
    status, body = http_get(port, f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
    assert status in {0, 200}, f"{expression}: {body}"
    answer: Answer = json.loads(body)["data"]["result"] if body else []
    return answer


def without_data(port: int) -> list[Asked]:
    """Return what yields no number, or none with the labels that are shown beside it."""
    return [each for each in asked() if not _has_data(ask(port, each.expression), each)]


def _has_data(answer: Answer, each: Asked) -> bool:
    labels = each.labels - {"group"} if "vector(0)" in each.expression else each.labels
    return any(math.isfinite(float(found["value"][1])) and labels <= set(found["metric"]) for found in answer)
