"""The documented walk-through, as it stands there: from events on Kafka to a champion, and its scores in retrospect."""

import json
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

duckdb = pytest.importorskip("duckdb", reason="needs the archive extra")
pytest.importorskip("tensorflow", reason="needs the training extra")

from confluent_kafka.admin import AdminClient  # noqa: E402

from tests.archivers import Archiving  # noqa: E402
from tests.conftest import GivenKafka, OwnKafka  # noqa: E402
from tests.pages import blocks  # noqa: E402
from tests.scorers import Deployment  # noqa: E402
from tests.shells import Shell  # noqa: E402
from training.archive import Kind  # noqa: E402

pytestmark = [pytest.mark.broker, pytest.mark.training, pytest.mark.timeout(1800)]

PAGE = blocks("docs/walk-through.md")


@pytest.fixture
def deployment(kafka: OwnKafka | GivenKafka, redis_url: str, group_id: str, tmp_path: Path) -> Iterator[Deployment]:
    """Names of topics; the walk-through makes them."""
    suffix = uuid.uuid4().hex[:8]
    payments, scores, dead = (f"{name}-{suffix}" for name in ("transactions", "fraud-scores", "transactions.dlq"))
    yield Deployment(kafka.bootstrap, redis_url, group_id, tmp_path, payments, scores, dead)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for name in {payments, scores, dead, labels_of(payments)} & set(admin.list_topics(timeout=30).topics):
        admin.delete_topics([name])[name].result(30)


def labels_of(input_topic: str) -> str:
    return input_topic.replace("transactions", "fraud-labels")


def commands() -> list[str]:
    """Return the page's commands, each on one line."""
    typed = [block.script for block in PAGE if block.language == "bash"]
    return "".join(typed).replace("\\\n", "").splitlines()


def until(ready: Callable[[], bool], shell: Shell, timeout_s: float = 300) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert all(process.running for process in shell.processes), shell.logs()
        assert time.monotonic() < deadline, f"not after {timeout_s} s\n{shell.logs()}"
        time.sleep(0.2)


def test_the_walk_through_ends_with_a_champion_whose_live_scores_are_those_of_its_backtest(
    deployment: Deployment,
) -> None:
    shell = Shell(deployment.environment(TENFOLD_LABELS_TOPIC=labels_of(deployment.input_topic)), deployment.directory)
    exported = ""
    topics = {
        Kind.TRANSACTIONS: deployment.input_topic,
        Kind.LABELS: labels_of(deployment.input_topic),
        Kind.SCORES: deployment.output_topic,
    }
    archiving = Archiving(deployment.bootstrap, deployment.group_id, deployment.directory, topics)
    today = datetime.now(UTC).date()

    def archived(kind: Kind) -> bool:
        return len(archiving.read(kind)) == len(archiving.expected(kind))

    for command in commands():
        if "train" in command:  # the history's last hours may still be on their way, and labels, too
            until(lambda: archived(Kind.TRANSACTIONS) and archived(Kind.LABELS), shell)
        if "backtest" in command:
            until(lambda: deployment.lag() == 0 and all(map(archived, topics)), shell)
        if command.startswith("export "):
            exported += f"{command}\n"
        elif command.endswith("&"):
            shell.start(exported + command.removesuffix("&"))
        else:
            shell.run(exported + command, timeout_s=900)
    for process in shell.processes:
        process.end(signal.SIGTERM)

    store = deployment.directory / "models"
    champion = store / (store / "champion").read_text().strip()
    spec = json.loads((champion / "spec.json").read_text())
    assert "merchant_fraud_rate_7d" in spec["context"]
    profiled = json.loads((champion / "metrics.json").read_text())["profile_days"]
    assert profiled["by_rule"] > 1000 > profiled["archived"] == 0, "nothing had been scored"

    [query] = [block.text for block in PAGE if block.language == "sql"]
    query = query.replace("'archive/fraud-scores/", f"'{deployment.directory}/archive/{deployment.output_topic}/")
    query = query.replace("'backtest.parquet'", f"'{deployment.directory}/backtest.parquet'")
    [[scores, backtested, difference, other_profiles, other_windows]] = duckdb.sql(query).fetchall()
    payments = archiving.read(Kind.TRANSACTIONS)
    assert scores == backtested == len(payments) > 10_000
    assert sum(row["kafka_timestamp"] == row["created_at"] for row in payments) > 10_000, "the history is backdated"
    assert difference <= 1e-5
    assert (other_profiles, other_windows) == (0, 0)
    live = archiving.read(Kind.SCORES)
    assert {row["model_version"] for row in live} == {champion.name}
    of_days = [row for row in live if row["profile_day"] is not None]
    assert {row["profile_day"] for row in of_days} >= {today - timedelta(days=1)}
    assert len({row["fraud_probability"] for row in of_days}) > len(of_days) / 2
