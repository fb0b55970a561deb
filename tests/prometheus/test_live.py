"""Every expression, asked of a real Prometheus that scrapes real processes, as deploy/prometheus says."""

import json
import math
import re
import signal
import sys
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.build import files
from tests.conftest import GivenKafka, OwnKafka
from tests.processes import ChildProcess, free_port, http_get
from tests.prometheus.exported import rules
from tests.prometheus.tools import PROMETHEUS, require_program
from tests.scorers import Deployment
from tests.topics import Topics
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker

_PATIENCE_S = 120.0

Answer = list[dict[str, Any]]


class Prometheus:
    """A Prometheus with the project's rules, and its targets at ports of this machine."""

    def __init__(self, directory: Path, targets: dict[str, int]) -> None:
        self._port = free_port()
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(PROMETHEUS / "rules" / "*.yml")]
        for job in config["scrape_configs"]:
            job.pop("dns_sd_configs", None)
            job["static_configs"] = [{"targets": [f"127.0.0.1:{targets.get(job['job_name'], self._port)}"]}]
        file = directory / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        options = [f"--config.file={file}", f"--storage.tsdb.path={directory / 'tsdb'}"]
        command = [require_program("prometheus"), *options, f"--web.listen-address=127.0.0.1:{self._port}"]
        self.process = ChildProcess(command, directory / "prometheus.log")

    def wait_until_ready(self) -> "Prometheus":
        """Return once it answers."""
        self.process.wait_until(lambda: http_get(self._port, "/-/ready")[0] == 200, 60)
        return self

    def ask(self, expression: str) -> Answer:
        """Return what an expression yields now."""
        status, body = http_get(self._port, f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
        assert status == 200, f"{expression}: {body}"
        answer: Answer = json.loads(body)["data"]["result"]
        return answer


def filled_in(expression: str) -> str:
    """Return an expression of a dashboard as Grafana asks it with all groups and instances chosen."""
    return expression.replace("$__rate_interval", "5m").replace("$group", ".*").replace("$instance", ".*")


def panels() -> Iterator[tuple[str, str, set[str]]]:
    """Yield each query of the dashboards: where it is, what it asks, and the labels that its legend shows."""
    for path, text in files().items():
        for panel in json.loads(text)["panels"]:
            for target in panel.get("targets", []):
                place = f"{path.stem}, panel {panel['id']} ({panel['title']}), {target['refId']}"
                legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                yield place, filled_in(target["expr"]), legend


def has_data(answer: Answer, legend: set[str]) -> bool:
    """Return whether there is a number, and the labels that are shown beside it."""
    return any(math.isfinite(float(each["value"][1])) and legend <= set(each["metric"]) for each in answer)


def without_data(prometheus: Prometheus) -> list[str]:
    """Return each expression of dashboards and recording rules that yields nothing."""
    asked = [*panels(), *((rule["record"], rule["record"], {"group"}) for rule in rules() if "record" in rule)]
    return [
        f"{place}: {expression}"
        for place, expression, legend in asked
        if not has_data(prometheus.ask(expression), legend - ({"group"} if "vector(0)" in expression else set()))
    ]


def started(deployment: Deployment, port: int, *arguments: str) -> ChildProcess:
    """Start another command of ``tenfold`` beside the scorers of a deployment."""
    environment = deployment.environment(TENFOLD_METRICS_PORT=str(port))
    assignments = [f"{name}={value}" for name, value in environment.items() if name.startswith("TENFOLD_")]
    command = ["env", *assignments, sys.executable, "-m", "stream", *arguments]
    return ChildProcess(command, deployment.directory / f"{arguments[0]}.log")


def test_every_expression_yields_data(
    topics: Topics, kafka: OwnKafka | GivenKafka, redis_url: str, group_id: str, tmp_path: Path
) -> None:
    deployment = Deployment.create(topics, kafka.bootstrap, redis_url, group_id, tmp_path)
    require_program("prometheus")  # before anything is started
    deployment.settings |= {
        "TENFOLD_LABELS_TOPIC": topics.create("fraud-labels"),
        "TENFOLD_ARCHIVE": str(tmp_path / "archive"),
    }
    ports = {"archiver": free_port(), "profiles": free_port()}
    with ExitStack() as ending:
        for process in (
            started(deployment, ports["archiver"], "archive", "run", "--max-age", "1"),
            started(deployment, ports["profiles"], "profiles", "run"),
        ):
            ending.callback(process.end, signal.SIGTERM)
        scorer = deployment.scorer()
        ending.callback(scorer.stop)
        scorer.wait_until_ready()
        prometheus = Prometheus(tmp_path, ports | {"scorer": scorer.metrics_port})
        ending.callback(prometheus.process.end, signal.SIGTERM)
        prometheus.wait_until_ready()

        deadline, seed = time.monotonic() + _PATIENCE_S, 0
        while missing := without_data(prometheus):
            assert time.monotonic() < deadline, "no data:\n" + "\n".join(missing)
            seed += 1
            produce(deployment.bootstrap, deployment.input_topic, traffic(200, users=50, seed=seed, bad_share=0.05))
            time.sleep(0.5)
        up = {each["metric"]["job"] for each in prometheus.ask("up == 1")}
        assert up == {"scorer", "archiver", "profiles", "prometheus"}
