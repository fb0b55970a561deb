"""Every expression, asked of a real Prometheus that scrapes real processes, as deploy/prometheus says."""

import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from tests.conftest import GivenKafka, OwnKafka
from tests.followed_store import two_models
from tests.judged_past import FREE, send
from tests.judged_past import random_past as judged_past
from tests.processes import ChildProcess, free_port, http_get
from tests.profile_archives import archive_past
from tests.profile_reference import random_past
from tests.prometheus.asked import ask, without_data
from tests.prometheus.tools import PROMETHEUS, require_program
from tests.scorers import Deployment
from tests.topics import Topics
from tests.traffic import produce, traffic, verdicts
from training.archive import Kind, open_archive
from training.profiles import Topics as ProfileTopics

pytestmark = pytest.mark.broker

_PATIENCE_S = 120.0


class Prometheus:
    """A Prometheus with the project's rules, and its targets at ports of this machine."""

    def __init__(self, directory: Path, targets: dict[str, int]) -> None:
        self.port = free_port()
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(PROMETHEUS / "rules" / "*.yml")]
        for job in config["scrape_configs"]:
            job.pop("dns_sd_configs", None)
            job["static_configs"] = [{"targets": [f"127.0.0.1:{targets.get(job['job_name'], self.port)}"]}]
        file = directory / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        options = [f"--config.file={file}", f"--storage.tsdb.path={directory / 'tsdb'}"]
        command = [require_program("prometheus"), *options, f"--web.listen-address=127.0.0.1:{self.port}"]
        self.process = ChildProcess(command, directory / "prometheus.log")

    def wait_until_ready(self) -> "Prometheus":
        """Return once it answers."""
        self.process.wait_until(lambda: http_get(self.port, "/-/ready")[0] == 200, 60)
        return self


def started(deployment: Deployment, port: int, *arguments: str) -> ChildProcess:
    """Start another command of ``tenfold`` beside the scorers of a deployment."""
    environment = deployment.environment(TENFOLD_METRICS_PORT=str(port))
    assignments = [f"{name}={value}" for name, value in environment.items() if name.startswith("TENFOLD_")]
    command = ["env", *assignments, sys.executable, "-m", "stream", *arguments]
    return ChildProcess(command, deployment.directory / f"{arguments[0]}.log")


def a_past_that_can_be_judged(deployment: Deployment, topics: Topics) -> Deployment:
    """Return a deployment with topics of its own, whose scores are old enough."""
    made = {kind: topics.create(f"judged-{kind}", 1, FREE) for kind in Kind}
    send(deployment.bootstrap, made, judged_past(1, users=30, payments=600, days=12))
    settings = {"TENFOLD_LABELS_TOPIC": made[Kind.LABELS]}
    return replace(
        deployment,
        input_topic=made[Kind.TRANSACTIONS],
        output_topic=made[Kind.SCORES],
        settings=deployment.settings | settings,
    )


def test_every_expression_yields_data(
    topics: Topics, kafka: OwnKafka | GivenKafka, redis_url: str, group_id: str, tmp_path: Path
) -> None:
    deployment = Deployment.create(topics, kafka.bootstrap, redis_url, group_id, tmp_path)
    require_program("prometheus")  # before anything is started
    deployment.settings |= {
        "TENFOLD_LABELS_TOPIC": topics.create("fraud-labels"),
        "TENFOLD_ARCHIVE": str(tmp_path / "archive"),
    }
    store = two_models(tmp_path / "store")
    store.shadow("two")
    past = tmp_path / "past"
    profiled = ProfileTopics(deployment.input_topic, deployment.settings["TENFOLD_LABELS_TOPIC"])
    first = datetime.now(UTC).date() - timedelta(days=95)  # its labels land until three weeks ago
    archive_past(random_past(1, "UTC", 7, first, 30, 200), open_archive(str(past)), profiled)
    ports = {"archiver": free_port(), "profiles": free_port(), "monitor": free_port()}
    monitored = a_past_that_can_be_judged(deployment, topics)
    with ExitStack() as ending:
        for process in (
            started(deployment, ports["archiver"], "archive", "run", "--max-age", "1"),
            started(deployment, ports["profiles"], "profiles", "run", "--archive", str(past)),
            started(monitored, ports["monitor"], "monitor"),
        ):
            ending.callback(process.end, signal.SIGTERM)
        scorer = deployment.scorer(TENFOLD_MODEL_STORE=str(store.root), TENFOLD_SHADOW_TOPIC=topics.create("shadow"))
        ending.callback(scorer.stop)
        scorer.wait_until_ready()
        prometheus = Prometheus(tmp_path, ports | {"scorer": scorer.metrics_port})
        ending.callback(prometheus.process.end, signal.SIGTERM)
        prometheus.wait_until_ready()

        deadline, seed = time.monotonic() + _PATIENCE_S, 0
        while missing := without_data(prometheus.port):
            assert time.monotonic() < deadline, "no data:\n" + "\n".join(map(str, missing))
            seed += 1
            produce(deployment.bootstrap, deployment.input_topic, traffic(200, users=50, seed=seed, bad_share=0.05))
            produce(deployment.bootstrap, profiled.labels, verdicts(200, users=50, seed=seed))
            time.sleep(0.5)
        up = {each["metric"]["job"] for each in ask(prometheus.port, "up == 1")}
        assert up == {"scorer", "archiver", "profiles", "monitor", "prometheus"}
