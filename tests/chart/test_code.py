"""The chart speaks of what the code has: settings, commands, paths, images, rules, dashboards."""

import re
import subprocess
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from prometheus_client import CollectorRegistry

from stream.cli import app
from stream.health import Health, serve
from stream.settings import PREFIX, Settings, load
from tests.chart.charts import (
    CHART,
    NAMESPACE,
    RELEASE,
    ROOT,
    VALUES,
    Document,
    container_of,
    environment_of,
    helm,
    of_kind,
    pods_of,
    render,
)
from tests.processes import free_port, http_get
from tests.prometheus.tools import PROMETHEUS, require_program

pytestmark = pytest.mark.chart

DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
FILLED_IN = "what-the-reference-leads-to"
SETS = {file.stem: file for file in VALUES}
MONITORED = [file for file in VALUES if yaml.safe_load(file.read_text()).get("prometheusRule", {}).get("enabled")]
OWN_ALERTS = {"TenfoldProfilesJobLate"}


def test_the_settings_of_every_role_are_taken(documents: list[Document], monkeypatch: pytest.MonkeyPatch) -> None:
    for role, pod in pods_of(documents).items():
        with monkeypatch.context() as clean:
            for name, variable in environment_of(pod).items():
                clean.setenv(name, variable.get("value", FILLED_IN))
            settings = load()
        assert settings.metrics_port == Settings.model_fields["metrics_port"].default
        assert bool(settings.instance_id) == (role == "scorer")


def test_passwords_come_out_of_secrets(documents: list[Document], monkeypatch: pytest.MonkeyPatch) -> None:
    for pod in pods_of(documents).values():
        variables = environment_of(pod)
        secret = set(secrets_of(pod))
        assert {
            name for name in variables if re.search("PASSWORD|USERNAME|SECRET|TOKEN(?!_ENDPOINT)|_KEY|_PEM", name)
        } == secret
        with monkeypatch.context() as clean:
            for name, variable in variables.items():
                clean.setenv(name, variable.get("value", FILLED_IN))
            settings = load()
        given = [*settings.kafka.values(), *map(str, settings.redis.values())]
        assert given.count(FILLED_IN) == len(secret)
    assert of_kind(documents, "Secret") == []


def secrets_of(pod: Document) -> dict[str, str]:
    """Return the Secret that each variable comes out of."""
    found = {name: each.get("valueFrom", {}).get("secretKeyRef") for name, each in environment_of(pod).items()}
    return {name: reference["name"] for name, reference in found.items() if reference}


def test_every_role_can_have_an_account_of_its_own() -> None:
    for role, pod in pods_of(render(SETS["secure"])).items():
        assert set(secrets_of(pod).values()) == {role}


def test_the_account_of_a_role_wins_over_that_of_all() -> None:
    pods = pods_of(render(SETS["everything"]))
    password, user = "TENFOLD_KAFKA__SASL_PASSWORD", "TENFOLD_KAFKA__SASL_USERNAME"

    assert {role: secrets_of(pods[role])[password] for role in ("scorer", "archiver")} == {
        "scorer": "scorer",
        "archiver": "kafka-user",
    }
    assert secrets_of(pods["scorer"])[user] == "kafka-user"


def test_every_role_has_the_keys_of_pseudonyms(tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    keys.write_text("pseudonymKeys: {name: pseudonyms, key: keys}")
    having = {
        role: secrets_of(pod).get("TENFOLD_PSEUDONYM_KEYS")
        for role, pod in pods_of(render(SETS["everything"], keys)).items()
    }
    roles = ("scorer", "archiver", "profiles", "monitor", "compaction", "training")
    assert having == dict.fromkeys(roles, "pseudonyms")


def test_the_instance_is_the_pods_name(documents: list[Document]) -> None:
    variable = environment_of(pods_of(documents)["scorer"])["TENFOLD_INSTANCE_ID"]

    assert variable["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_every_command_exists_with_its_options(documents: list[Document]) -> None:
    for pod in pods_of(documents).values():
        container = container_of(pod)
        assert "command" not in container, "the image's entry point is tenfold itself: SIGTERM arrives"
        command: Any = typer.main.get_command(app)
        words = list(container["args"])
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context(command.name, words)  # refuses an option that is not there


def test_every_path_that_is_asked_for_answers(documents: list[Document]) -> None:
    paths = {probe["httpGet"]["path"] for probe in probes(documents)}
    paths |= {each["path"] for monitor in of_kind(documents, "ServiceMonitor") for each in monitor["spec"]["endpoints"]}
    port = free_port()
    stop = serve("127.0.0.1", port, CollectorRegistry(), Health())
    try:
        answers = {path: http_get(port, path)[0] for path in paths}
    finally:
        stop()

    assert {"/healthz", "/readyz"} <= paths
    assert 404 not in answers.values(), answers


def probes(documents: list[Document]) -> list[Document]:
    containers = [container_of(pod) for pod in pods_of(documents).values()]
    return [probe for container in containers for name, probe in container.items() if name.endswith("Probe")]


def test_alive_and_ready_are_asked_apart(documents: list[Document]) -> None:
    for pod in pods_of(documents).values():
        container = container_of(pod)
        if "ports" in container:
            assert container["livenessProbe"]["httpGet"]["path"] == "/healthz", "a wait for Kafka is no reason to kill"
            assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_every_image_is_one_that_the_dockerfile_makes(documents: list[Document]) -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    [user] = re.findall(r"^USER (\d+):", dockerfile, re.MULTILINE)
    for pod in pods_of(documents).values():
        target = container_of(pod)["image"].rpartition("/")[2].partition(":")[0]
        assert re.search(rf"^FROM base AS {target}$", dockerfile, re.MULTILINE)
        assert pod["spec"]["securityContext"].get("runAsUser", int(user)) == int(user)


def test_the_chart_is_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert chart["appVersion"] == chart["version"] == version


def job_of(cron_job: Document) -> str:
    name: str = cron_job["metadata"]["labels"]["app.kubernetes.io/component"]
    return name


@pytest.mark.parametrize("values", MONITORED, ids=lambda file: file.stem)
def test_rules_and_dashboards_are_those_of_deploy(values: Path) -> None:
    documents = render(values)
    [rule] = of_kind(documents, "PrometheusRule")
    groups = [g for file in (PROMETHEUS / "rules").glob("*.yml") for g in yaml.safe_load(file.read_text())["groups"]]
    own = {each["alert"] for group in rule["spec"]["groups"] if group not in groups for each in group["rules"]}
    shown = [text for config in of_kind(documents, "ConfigMap") for text in config["data"].items()]

    assert [group for group in groups if group not in rule["spec"]["groups"]] == []
    assert own == (OWN_ALERTS if any(job_of(each) == "profiles" for each in of_kind(documents, "CronJob")) else set())
    assert dict(shown) == {file.name: file.read_text() for file in DASHBOARDS.glob("*.json")}


def test_alerts_and_panels_link_to_their_pages_where_it_is_said_where_these_are(tmp_path: Path) -> None:
    override = tmp_path / "values.yaml"
    override.write_text("links: {runbooks: https://wiki.example.com/tenfold/, grafana: https://grafana.example.com}")
    documents = render(SETS["production"], override)
    [rule] = of_kind(documents, "PrometheusRule")
    alerts = [each for group in rule["spec"]["groups"] for each in group["rules"] if "alert" in each]
    panels = "".join(text for config in of_kind(documents, "ConfigMap") for text in config["data"].values())
    pages = {Path(each["annotations"]["runbook"]).name for each in alerts}

    assert {each["alert"] for each in alerts} > OWN_ALERTS
    for annotations in (each["annotations"] for each in alerts):
        assert annotations["runbook_url"] == f"https://wiki.example.com/tenfold/{Path(annotations['runbook']).name}"
        if "dashboard" in annotations:
            assert annotations["dashboard_url"] == f"https://grafana.example.com{annotations['dashboard']}"
    assert set(re.findall(r"Runbook: \[([a-z-]+\.md)\]\(https://wiki\.example\.com/tenfold/\1\)", panels)) == pages
    assert "docs/runbooks/" not in panels


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The rules that a cluster would be given, as a file of Prometheus'."""
    [rule] = of_kind(render(SETS["production"]), "PrometheusRule")
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": rule["spec"]["groups"]}))
    return file


def promtool(*arguments: str | Path) -> None:
    ran = subprocess.run([require_program("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def own_alert(rules: Path) -> Document:
    """Return the alert that the chart has beside those of deploy/prometheus."""
    alerts = [each for group in yaml.safe_load(rules.read_text())["groups"] for each in group["rules"]]
    [own] = [each for each in alerts if each.get("alert") in OWN_ALERTS]
    found: Document = own
    return found


def test_prometheus_accepts_the_rules(rules: Path) -> None:
    promtool("check", "rules", rules)


def test_the_charts_own_alert_has_a_page_that_names_it(rules: Path) -> None:
    own = own_alert(rules)

    assert f"`{own['alert']}`" in (ROOT / own["annotations"]["runbook"]).read_text()


@pytest.mark.parametrize(("metric", "hours"), [("status_last_successful_time", 28), ("created", 28), ("created", 26)])
def test_a_job_that_does_not_succeed_is_told_of(rules: Path, metric: str, hours: int) -> None:
    own, job = own_alert(rules), {"namespace": NAMESPACE, "cronjob": f"{RELEASE}-profiles"}
    told = {"exp_labels": own["labels"] | job, "exp_annotations": own["annotations"]}
    labels = ",".join(f'{name}="{value}"' for name, value in job.items())
    series = {"series": f"kube_cronjob_{metric}{{{labels}}}", "values": "0x400"}
    expected = [told] if hours > 27 else []  # 26 hours late, for one more
    case = {"alertname": own["alert"], "eval_time": f"{hours}h", "exp_alerts": expected}
    test = {"interval": "5m", "input_series": [series], "alert_rule_test": [case]}
    file = rules.with_name("test.yml")
    file.write_text(yaml.safe_dump({"rule_files": [rules.name], "evaluation_interval": "5m", "tests": [test]}))

    promtool("test", "rules", file)


def test_a_package_holds_the_files_and_no_links(tmp_path: Path) -> None:
    ran = helm("package", CHART, "--destination", tmp_path)
    assert ran.returncode == 0, ran.stderr
    [package] = tmp_path.glob("*.tgz")
    with tarfile.open(package) as tar:
        files = {member.name.removeprefix("tenfold/"): member for member in tar.getmembers()}

    assert all(member.isfile() for member in files.values())
    for folder, place in {"rules": PROMETHEUS / "rules", "dashboards": DASHBOARDS}.items():
        assert {f"files/{folder}/{file.name}" for file in place.iterdir()} <= files.keys()


def test_no_setting_is_named_that_is_gone() -> None:
    texts = [file.read_text() for file in CHART.rglob("*") if file.suffix in {".yaml", ".tpl", ".txt"}]
    named = {name for text in texts for name in re.findall(rf"{PREFIX}[A-Z]+(?:_[A-Z]+)*\b", text)}

    assert named - {f"{PREFIX}PORT", f"{PREFIX}KAFKA", f"{PREFIX}REDIS"} <= {
        f"{PREFIX}{name.upper()}" for name in Settings.model_fields
    }
