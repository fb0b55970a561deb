"""Write Grafana's dashboards out of the .toml files beside this one: ``python -m deploy.grafana.build``.

In expressions ``$selected`` stands for the labels that the dashboard's variables select.
"""

import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

SELECTED = 'group=~"$group", instance=~"$instance"'

_HERE = Path(__file__).parent
_WIDTH = 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel."""

    number: int  # stays what it is, because alerts link to it
    title: str
    description: str
    unit: str  # as Grafana calls it
    queries: Sequence[tuple[str, str]]  # legend, in which {{label}} stands for a label's value, and expression
    kind: Literal["timeseries", "stat", "state-timeline", "table", "heatmap"] = "timeseries"
    base_colour: str = "green"
    thresholds: Sequence[tuple[float, str]] = ()  # from where on in which other colour
    stacked: bool = False
    runbooks: Sequence[str] = ()  # pages of docs/runbooks
    width: int = 8
    height: int = 7


@dataclass(frozen=True, slots=True)
class Section:
    """A row of the dashboard, with a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page of panels."""

    uid: str
    title: str
    description: str
    presence: str  # a metric that each process has: it tells which groups and instances there are
    sections: Sequence[Section]


def read(path: Path) -> Dashboard:
    """Return the dashboard that a file describes.

    Raises:
        TypeError: it has a key that is none, or lacks one.
    """
    content = tomllib.loads(path.read_text())
    sections = [
        Section(section["title"], [Panel(**panel) for panel in section["panels"]])
        for section in content.pop("sections")
    ]
    return Dashboard(**content, sections=sections)


def as_grafana(dashboard: Dashboard) -> Json:
    """Return the dashboard as Grafana's JSON model."""
    return {
        "uid": dashboard.uid,
        "title": f"Tenfold: {dashboard.title}",
        "description": dashboard.description,
        "tags": ["tenfold"],
        "schemaVersion": 41,
        "editable": False,  # it is code: what is changed in the browser would be gone with the next start
        "graphTooltip": 1,  # the cross-hair of one panel is that of all
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "links": [
            {"title": "Tenfold", "type": "dashboards", "tags": ["tenfold"], "asDropdown": False, "keepTime": True}
        ],
        "templating": {"list": _variables(dashboard.presence)},
        "panels": list(_laid_out(dashboard.sections)),
    }


def _variables(presence: str) -> list[Json]:
    def labels(name: str, title: str, metric: str) -> Json:
        return {
            "name": name,
            "label": title,
            "type": "query",
            "datasource": _SOURCE,
            "query": {"query": f"label_values({metric}, {name})", "refId": name},
            "refresh": 2,  # when the time changes: processes come and go
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        }

    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        labels("group", "Group", presence),
        labels("instance", "Instance", f'{presence}{{group=~"$group"}}'),
    ]


def _laid_out(sections: Sequence[Section]) -> Iterator[Json]:
    """Yield headings and panels, placed from left to right and from top to bottom."""
    top = 0
    for number, section in enumerate(sections):
        place = {"x": 0, "y": top, "w": _WIDTH, "h": 1}
        yield {"id": 1000 + number, "type": "row", "title": section.title, "collapsed": False, "gridPos": place}
        left, top, height = 0, top + 1, 0
        for panel in section.panels:
            if left + panel.width > _WIDTH:
                left, top, height = 0, top + height, 0
            yield _panel(panel, {"x": left, "y": top, "w": panel.width, "h": panel.height})
            left, height = left + panel.width, max(height, panel.height)
        top += height


def _panel(panel: Panel, place: Json) -> Json:
    steps: list[Json] = [{"value": None, "color": panel.base_colour}]
    steps += [{"value": value, "color": colour} for value, colour in panel.thresholds]
    looks, options = _looks(panel)
    return {
        "id": panel.number,
        "type": panel.kind,
        "title": panel.title,
        "description": "\n\n".join(
            [panel.description, *(f"Runbook: docs/runbooks/{page}.md" for page in panel.runbooks)]
        ),
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}, **looks},
            "overrides": [],
        },
        "options": options,
        "targets": [_target(panel, number, *query) for number, query in enumerate(panel.queries)],
        **_columns(panel),
    }


def _columns(panel: Panel) -> Json:
    """Return what becomes of the columns of a table, which counts processes."""
    if panel.kind != "table":
        return {}
    columns = {"excludeByName": {"Time": True}, "renameByName": {"Value": "processes"}}
    return {"transformations": [{"id": "organize", "options": columns}]}


def _looks(panel: Panel) -> tuple[Json, Json]:
    """Return what Grafana calls field defaults and options."""
    match panel.kind:
        case "timeseries":
            custom = {
                "fillOpacity": 25 if panel.stacked else 8,
                "showPoints": "never",
                "stacking": {"mode": "normal" if panel.stacked else "none"},
                "thresholdsStyle": {"mode": "line" if panel.thresholds else "off"},
            }
            legend = {"displayMode": "list", "placement": "bottom"}
            return {"custom": custom}, {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
        case "stat":
            return {}, {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area", "colorMode": "value"}
        case "state-timeline":
            words = {"0": {"text": "no"}, "1": {"text": "yes"}}  # told without colour, too
            mappings = [{"type": "value", "options": words}]
            return {"color": {"mode": "thresholds"}, "custom": {"fillOpacity": 80}, "mappings": mappings}, {}
        case "heatmap":  # of a histogram's buckets: their bounds are the axis, `unit` is theirs
            return {"custom": {"scaleDistribution": {"type": "linear"}}}, {
                "calculate": False,
                "cellGap": 1,
                "cellValues": {"unit": "eps"},
                # most payments are honest: on a linear scale of colours nothing else would be seen
                "color": {"mode": "scheme", "scheme": "Oranges", "scale": "exponential", "exponent": 0.3, "steps": 64},
                "filterValues": {"le": 1e-9},
                "yAxis": {"axisPlacement": "left", "unit": panel.unit},
                "tooltip": {"mode": "single", "yHistogram": True},
                "legend": {"show": True},
            }
        case "table":
            return {}, {}


def _target(panel: Panel, number: int, legend: str, expression: str) -> Json:
    is_table = panel.kind == "table"
    formats = {"table": "table", "heatmap": "heatmap"}
    return {
        "refId": chr(ord("A") + number),
        "datasource": _SOURCE,
        "expr": expression.replace("$selected", SELECTED),
        "legendFormat": legend,
        "instant": is_table,
        "range": not is_table,
        "format": formats.get(panel.kind, "time_series"),
    }


def files() -> dict[Path, str]:
    """Return the text of each dashboard's file."""
    return {
        _HERE / "dashboards" / f"{path.stem}.json": json.dumps(as_grafana(read(path)), indent=2, ensure_ascii=False)
        + "\n"
        for path in sorted(_HERE.glob("*.toml"))
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
