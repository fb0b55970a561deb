"""What rules and dashboards ask for is there to be had, and dashboards are as they should be."""

import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from deploy.grafana.build import files
from tests.fetched import go_for
from tests.pages import pages
from tests.prometheus.exported import known_series, rules
from tests.prometheus.promql import PromqlError, unknown, uses
from tests.prometheus.tools import ROOT

KNOWN = known_series()
DASHBOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(text) for path, text in files().items()}
PANELS = [
    pytest.param(panel, id=f"{name}-{panel['id']}")
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    if panel["type"] != "row"
]
SINCE_START = {"Recoveries by cause", "Not archived"}  # so rare that the count itself is what one wants to see
#: What is of a group and not of a process: what is recorded, and what one process tells for all, whichever it is at
#: the time. An instance that is chosen would hide it, or its past.
OF_A_GROUP = re.compile(
    r"\w+:\w+:\w+|tenfold_profiles_(?!stale|missing)|tenfold_monitor_(precision|recall|average_precision|card_precision|fraud_amount|label)"
)
ALERTS = [pytest.param(rule, id=rule["alert"]) for rule in rules() if "alert" in rule]


def test_the_reader_of_promql_finds_metrics_and_their_labels() -> None:
    assert uses('sum by (a) (rate(m_total{b="}, by (x", c=~"1|2"}[5m])) / (n offset 1h or vector(0)) > 2e3') == {
        "m_total": {"a", "b", "c"},
        "n": set(),
    }
    assert uses('min by (a) ({__name__=~"m|n", b!="1"}) == 0') == {"m": {"a", "b"}, "n": {"a", "b"}}
    assert uses("histogram_quantile(0.9, sum by (le) (rate(level:m_bucket[$__x]))) and absent(up) unless bool:y") == {
        "level:m_bucket": {"le"},
        "up": set(),
        "bool:y": set(),
    }
    for wrong in ("sum(m) by (a)", "sum by (a (m)", "m)", "a * on (b) c", '{b="1"}', "m{b=1}", "m ; n"):
        with pytest.raises(PromqlError):
            uses(wrong)


def test_what_nothing_exports_is_found() -> None:
    assert list(unknown('sum by (stage, topic) (tenfold_stage_seconds_sum{job="x", reason="y"}) + nothing', KNOWN)) == [
        "tenfold_stage_seconds_sum{reason}",
        "tenfold_stage_seconds_sum{topic}",
        "nothing",
    ]


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule.get("record") or rule["alert"]) for rule in rules()])
def test_a_rule_asks_only_for_what_is_exported(rule: dict[str, Any]) -> None:
    assert list(unknown(rule["expr"], KNOWN)) == []


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_asks_only_for_what_is_exported(panel: dict[str, Any]) -> None:
    assert [name for target in panel["targets"] for name in unknown(target["expr"], KNOWN)] == []


@pytest.mark.parametrize(("path", "text"), files().items(), ids=lambda value: getattr(value, "stem", ""))
def test_the_files_are_what_their_source_makes(path: Path, text: str) -> None:
    assert path.read_text() == text, "run python -m deploy.grafana.build"


def test_grafanas_own_types_know_every_field_of_the_dashboards() -> None:
    reader = Path(__file__).with_name("grafana")
    command = [go_for(reader), "run", ".", *files()]
    read = subprocess.run(command, cwd=reader, capture_output=True, text=True, timeout=600, check=False)

    assert (read.returncode, read.stdout, read.stderr) == (0, "", "")


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_follows_the_rules_of_grafanas_dashboard_linter(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"]
    assert panel["datasource"]["uid"] == "${datasource}"
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    for target in panel["targets"]:
        expression = target["expr"]
        assert target["datasource"]["uid"] == "${datasource}"
        assert not re.search(r"\[\d", expression), "a rate is over $__rate_interval"
        for metric, labels in uses(expression).items():
            assert "group" in labels, f"{metric} of every group"
            assert ("instance" in labels) != bool(OF_A_GROUP.match(metric)), f"{metric} of every instance"
            if metric.endswith(("_total", "_bucket", "_sum", "_count")) and panel["title"] not in SINCE_START:
                assert re.search(rf"(rate|increase)\({metric}\b", expression), f"{metric} only ever grows"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_can_be_told_what_to_show(name: str) -> None:
    dashboard = DASHBOARDS[name]
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    numbers = [panel["id"] for panel in dashboard["panels"]]

    assert list(variables) == ["datasource", "group", "instance"]
    for label in ("group", "instance"):
        asked = re.fullmatch(r"label_values\((\w+)(\{.*\})?, (\w+)\)", variables[label]["query"]["query"])
        assert asked is not None
        assert asked[3] == label
        assert asked[1] in KNOWN
    assert len(numbers) == len(set(numbers)), "alerts link to panels by number"
    assert not dashboard["editable"]


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_leads_to_a_panel_that_names_its_page(alert: dict[str, Any]) -> None:
    link = re.fullmatch(r"/d/([\w-]+)\?viewPanel=(\d+)", alert["annotations"]["dashboard"])
    assert link is not None
    [panels] = [dashboard["panels"] for dashboard in DASHBOARDS.values() if dashboard["uid"] == link[1]]
    [panel] = [panel for panel in panels if panel["id"] == int(link[2])]

    assert alert["annotations"]["runbook"] in panel["description"]
    for page in re.findall(r"docs/runbooks/\S+", panel["description"]):
        assert (ROOT / page).is_file()


def named_in(pages: Iterable[str], pattern: str) -> list[tuple[str, str]]:
    return [(page, name) for page in pages for name in re.findall(pattern, (ROOT / page).read_text())]


def test_a_metric_that_a_page_names_is_exported() -> None:
    families = {name.removesuffix("_bucket") for name in KNOWN}  # a page names a histogram, not its series
    named = named_in(pages(), r"\btenfold_(?!secrets)[a-z_]*[a-z]\b")

    assert len(named) > 100
    assert [each for each in named if each[1] not in families] == []


def test_a_panel_that_a_page_names_is_on_a_dashboard() -> None:
    parts = [part for dashboard in DASHBOARDS.values() for part in (dashboard, *dashboard["panels"])]
    titles = {part["title"].removeprefix("Tenfold: ") for part in parts}
    those = [page for page in pages() if page.startswith(("docs/how-to/", "docs/runbooks/"))]
    named = named_in(those, r"(?<!\*)\*([A-Z][^*\n]+)\*(?!\*)")

    assert len(named) > 30
    assert [each for each in named if each[1] not in titles] == []
