"""The rules are what Prometheus accepts, each alert fires when it should, and each has a page that helps."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.decode import Reason
from tests.pages import the_block
from tests.prometheus.tools import PROMETHEUS, ROOT, require_program

RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
CASES = Path(__file__).with_name("alerts.yml")
MONTH = CASES.with_name("month.yml")
PAGES = ROOT / "docs" / "runbooks"
RUNBOOKS = set(PAGES.glob("*.md")) - {PAGES / "README.md"}  # that one lists them


def alerts() -> list[dict[str, Any]]:
    groups = [group for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


ALERTS = {alert["alert"]: alert for alert in alerts()}


def promtool(*arguments: str | Path) -> None:
    ran = subprocess.run([require_program("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{ran.stdout}{ran.stderr}"


def test_prometheus_accepts_the_configuration_and_its_rules() -> None:
    promtool("check", "config", PROMETHEUS / "prometheus.yml")
    promtool("check", "rules", "--lint=all", "--lint-fatal", *RULES)


def test_alerts_fire_when_they_should_and_not_when_they_should_not() -> None:
    promtool("test", "rules", CASES)


def test_a_job_that_is_gone_stays_told_of_for_a_month(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "alone", "rules": [ALERTS["TenfoldJobDown"]]}]})
    )
    (tmp_path / MONTH.name).write_text(MONTH.read_text())

    promtool("test", "rules", tmp_path / MONTH.name)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(name: str) -> None:
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["alert_rule_test"]]
    fires = {bool(case.get("exp_alerts")) for case in cases if case["alertname"] == name}

    assert fires == {True, False}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_to_do(name: str) -> None:
    alert = ALERTS[name]

    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert set(alert["annotations"]) == {"summary", "description", "runbook", "dashboard"}
    assert f"`{name}`" in (ROOT / alert["annotations"]["runbook"]).read_text(), "the page is about this alert"


def test_no_runbook_is_about_an_alert_that_is_gone() -> None:
    named = {ROOT / alert["annotations"]["runbook"] for alert in ALERTS.values()}

    assert named == RUNBOOKS


def test_the_page_on_dead_letters_knows_every_reason() -> None:
    page = (PAGES / "dead-letters.md").read_text()

    assert [reason for reason in Reason if f"| `{reason}` |" not in page] == []


def test_the_pages_commands_make_links_of_paths(tmp_path: Path) -> None:
    commands = the_block("docs/monitoring.md", "runbook_url").script
    for place in ("prometheus", "grafana"):
        shutil.copytree(ROOT / "deploy" / place, tmp_path / "deploy" / place)
    subprocess.run(["bash", "-ec", commands], cwd=tmp_path, check=True)
    file = tmp_path / "deploy" / "prometheus" / "rules" / "alerts.yml"
    linked = [rule["annotations"] for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
    panels = "".join(each.read_text() for each in (tmp_path / "deploy" / "grafana" / "dashboards").glob("*.json"))

    promtool("check", "rules", file)
    assert {each["runbook_url"].rpartition("/")[2] for each in linked} == {page.name for page in RUNBOOKS}
    assert all(each["dashboard_url"] == f"https://grafana.example.com{each['dashboard']}" for each in linked)
    assert "docs/runbooks/" not in panels
    assert json.loads((tmp_path / "deploy" / "grafana" / "dashboards" / "model.json").read_text())["panels"]


def test_the_page_on_monitoring_lists_every_alert() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| .* \| \[page\]\((runbooks/\S+)\) \|$", page, re.MULTILINE)

    assert {name: (severity, f"docs/{runbook}") for name, severity, runbook in rows} == {
        name: (alert["labels"]["severity"], alert["annotations"]["runbook"]) for name, alert in ALERTS.items()
    }
