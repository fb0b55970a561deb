"""The monitor on a real broker and Redis: its figures are those of the joined table, whatever happens to it."""

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

pytest.importorskip("duckdb", reason="needs the archive extra")
pytest.importorskip("sklearn", reason="needs the training extra")

from models.context import day_date
from tests.archivers import ArchiverProcess
from tests.conftest import GivenKafka, OwnKafka
from tests.judged_past import DAY_MS, FIRST_DAY, FREE, Past, Payment, Verdict, random_past, send
from tests.processes import free_port
from tests.topics import Topics
from training.archive import Kind, open_archive
from training.monitor_table import read_day

pytestmark = pytest.mark.broker

DAYS, DELAYS = 20, (1, 3, 7)


@dataclass
class Monitoring:
    """Topics and a group of their own, a table, and the monitors that fill it."""

    bootstrap: str
    redis_url: str
    group_id: str
    directory: Path
    topics: dict[Kind, str]
    monitors: list[ArchiverProcess] = field(default_factory=list)

    def monitor(self, ending: tuple[str, int] | None = None, with_signal: str = "SIGKILL") -> ArchiverProcess:
        """Start one more monitor. One that is ``ending`` does it at a point, when it comes there the N-th time."""
        port = free_port()
        settings = {
            "BOOTSTRAP_SERVERS": self.bootstrap,
            "REDIS_URL": self.redis_url,
            "GROUP_ID": self.group_id,
            "INPUT_TOPIC": self.topics[Kind.TRANSACTIONS],
            "LABELS_TOPIC": self.topics[Kind.LABELS],
            "OUTPUT_TOPIC": self.topics[Kind.SCORES],
            "METRICS_PORT": str(port),
        }
        assignments = [f"TENFOLD_{name}={value}" for name, value in settings.items()]
        unset = [option for name in os.environ if name.startswith("TENFOLD_") for option in ("-u", name)]
        module = ["stream", "monitor"]
        if ending is not None:
            module = ["tests.integration.stopping_monitor", ending[0], str(ending[1]), with_signal]
        command = ["env", *unset, *assignments, sys.executable, "-m", *module, "--to", str(self.directory / "quality")]
        started = ArchiverProcess(command, self.directory / f"monitor-{len(self.monitors)}.log", port)
        self.monitors.append(started)
        return started

    def rows(self, day: int) -> list[dict[str, Any]]:
        """Return what the table has of a day."""
        place = open_archive(str(self.directory / "quality"))
        rows: list[dict[str, Any]] = read_day(place, day_date(day)).to_pylist()
        return rows

    def wait_until_judged(self, *monitors: ArchiverProcess, timeout_s: float = 180) -> None:
        """Return once one of the monitors shows the last days that can be judged, and all have read everything."""
        last_days = sum((FIRST_DAY + DAYS - 1 - delay) * DAY_MS / 1000 for delay in DELAYS)

        def done() -> bool:
            shown = sum(each.metric("tenfold_monitor_day_timestamp_seconds") for each in monitors)
            waiting = sum(each.metric("tenfold_monitor_lag_records") for each in monitors)
            return shown == last_days and waiting == 0 and self.rows(FIRST_DAY + DAYS - 2) != []

        monitors[0].process.wait_until(done, timeout_s)

    def check(self, past: Past) -> None:
        """Hold the table against a past.

        Raises:
            AssertionError: a row is missing, one too many, or different.
        """
        for day in range(FIRST_DAY, FIRST_DAY + DAYS):
            delays = [delay for delay in DELAYS if day + 1 + delay <= FIRST_DAY + DAYS]
            rows = self.rows(day)
            assert [(row["label_delay_days"], row["span_days"]) for row in rows] == [
                (d, s) for d in delays for s in (1, 7)
            ]
            for row in rows:
                expected = past.row(day, row["label_delay_days"], row["span_days"])
                judged_at = row.pop("judged_at").timestamp() * 1000
                assert judged_at == (day + 1 + row["label_delay_days"]) * DAY_MS
                assert row == pytest.approx(expected, abs=1e-9), (day_date(day), row["label_delay_days"])


@pytest.fixture
def monitoring(
    topics: Topics, kafka: OwnKafka | GivenKafka, redis_url: str, group_id: str, tmp_path: Path
) -> Iterator[Monitoring]:
    """Two partitions of each topic, no monitor yet; what they said is shown beside a failure."""
    names = {Kind.TRANSACTIONS: "transactions", Kind.LABELS: "fraud-labels", Kind.SCORES: "fraud-scores"}
    made = {kind: topics.create(name, 2, FREE) for kind, name in names.items()}
    started = Monitoring(kafka.bootstrap, redis_url, group_id, tmp_path, made)
    yield started
    for number, monitor in enumerate(started.monitors):
        print(f"--- monitor {number}:\n{monitor.log_text[-3000:]}")


def send_past(monitoring: Monitoring, seed: int) -> Past:
    past = random_past(seed, users=60, payments=2_000, days=DAYS)
    send(monitoring.bootstrap, monitoring.topics, past)
    return past


def test_the_figures_are_those_of_the_joined_table(monitoring: Monitoring) -> None:
    past = send_past(monitoring, 1)
    monitor = monitoring.monitor()
    monitoring.wait_until_judged(monitor)
    monitoring.check(past)

    week = past.row(FIRST_DAY + DAYS - 8, 7, 7)
    shown = {
        'precision{delay_days="7"}': week["precision"],
        'recall{delay_days="7"}': week["recall"],
        'average_precision{delay_days="7"}': week["average_precision"],
        'card_precision{delay_days="7"}': week["card_precision_at_100"],
        'fraud_amount{delay_days="7",outcome="caught"}': week["caught_amount"],
        'fraud_amount{delay_days="7",outcome="missed"}': week["missed_amount"],
        'payments{delay_days="7",kind="labelled"}': week["labelled"],
    }
    lines = dict(line.rsplit(" ", 1) for line in monitor.get("/metrics")[1].splitlines() if line[:1] != "#")
    assert {name: float(lines[f"tenfold_monitor_{name}"]) for name in shown} == pytest.approx(shown)
    assert monitor.get("/readyz")[0] == 200
    assert "user-" not in monitor.log_text
    assert monitor.stop() == 0


def test_labels_of_unknown_payments_and_those_that_contradict_are_counted(monitoring: Monitoring) -> None:
    end = (FIRST_DAY + DAYS) * DAY_MS
    day_before, last_day = end - 2 * DAY_MS + 1, end - DAY_MS + 1
    created_at = FIRST_DAY * DAY_MS + 1
    paid = [Payment(f"t-{n}", f"user-{n}", 10.0, created_at, 0.5, flagged=True) for n in range(4)]
    paid.append(Payment("the-last", "user-0", 1.0, end + 1, 0.0, flagged=False))
    said = [
        *(Verdict(f"t-{n}", f"user-{n}", True, day_before, day_before) for n in range(2)),
        Verdict("t-0", "user-0", False, last_day, last_day),  # changes its mind
        Verdict("t-1", "user-1", True, last_day, last_day),  # says it again
        Verdict("t-2", "user-2", True, last_day, last_day),
        Verdict("nobody-knows", "user-9", True, last_day, last_day),
    ]
    send(monitoring.bootstrap, monitoring.topics, Past(paid, said))
    monitor = monitoring.monitor()

    def counts() -> dict[str, float]:
        lines = [line for line in monitor.get("/metrics")[1].splitlines() if line.startswith("tenfold_monitor_labels{")]
        return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}

    monitor.process.wait_until(lambda: counts() == {"all": 4, "unknown": 1, "contradicting": 1}, 120)
    delay_s = (last_day - created_at) / 1000
    assert monitor.metric("tenfold_monitor_label_delay_seconds") == pytest.approx(2 * delay_s)
    assert monitor.stop() == 0


@pytest.mark.parametrize("point", ["before-append", "appended", "before-writing", "written"])
def test_killed_at_any_point_it_goes_on_as_if_nothing_had_been(monitoring: Monitoring, point: str) -> None:
    past = random_past(2, users=60, payments=2_000, days=DAYS)
    before, after = past.cut((FIRST_DAY + 12) * DAY_MS)
    send(monitoring.bootstrap, monitoring.topics, before)
    first = monitoring.monitor()
    first.process.wait_until(lambda: first.metric("tenfold_monitor_records_total") == len(before), 120)
    assert first.stop() == 0
    send(monitoring.bootstrap, monitoring.topics, after)
    monitoring.monitor(ending=(point, 1)).wait_until_dead()
    again = monitoring.monitor()
    monitoring.wait_until_judged(again)
    monitoring.check(past)
    assert again.stop() == 0


def test_nothing_is_outstanding_behind_the_last_record_of_a_transactional_producer(monitoring: Monitoring) -> None:
    """The markers of transactions take an offset each, and are no records."""

    def send_scores(count: int) -> None:
        producer.begin_transaction()
        for _ in range(count):
            producer.produce(monitoring.topics[Kind.SCORES], key=b"user-1", value=b"{")
        producer.flush()

    def lag(monitor: ArchiverProcess) -> float:
        return monitor.metric("tenfold_monitor_lag_records")

    producer = Producer({"bootstrap.servers": monitoring.bootstrap, "transactional.id": monitoring.group_id})
    producer.init_transactions(60)
    monitor = monitoring.monitor().wait_until_ready()
    send_scores(5)
    producer.commit_transaction(60)
    monitor.wait_until(lambda: monitor.metric("tenfold_monitor_records_total") == 5 and lag(monitor) == 0)
    send_scores(5)  # open, they wait
    monitor.wait_until(lambda: lag(monitor) == 5)
    producer.abort_transaction(60)
    monitor.wait_until(lambda: lag(monitor) == 0)
    send_scores(5)
    monitor.wait_until(lambda: lag(monitor) == 5)
    assert monitor.stop() == 0
    producer.abort_transaction(60)

    again = monitoring.monitor().wait_until_ready()
    again.wait_until(lambda: lag(again) == 0)
    assert again.stop() == 0


@pytest.mark.parametrize("point", ["lose-consumer", "leave-unheard"])
def test_a_consumer_that_finds_no_broker_any_more_is_replaced(monitoring: Monitoring, point: str) -> None:
    """Without it the monitor would be healthy and idle without any end."""
    past = send_past(monitoring, 5)
    monitor = monitoring.monitor(ending=(point, 1))
    monitor.process.wait_until(lambda: "beginning anew" in monitor.log_text, 60)
    monitoring.wait_until_judged(monitor)
    monitoring.check(past)
    assert monitor.get("/readyz")[0] == 200
    assert monitor.metric("tenfold_monitor_partitions") == 6, "the one that is lost speaks for it no more"
    assert monitor.stop() == 0


def test_two_share_the_partitions_and_one_of_them_publishes(monitoring: Monitoring) -> None:
    first, second = monitoring.monitor(), monitoring.monitor()
    first.process.wait_until(
        lambda: [each.metric("tenfold_monitor_partitions") for each in (first, second)] == [3, 3], 120
    )
    past = send_past(monitoring, 3)
    monitoring.wait_until_judged(first, second)
    monitoring.check(past)
    assert first.metric("tenfold_monitor_publishing") + second.metric("tenfold_monitor_publishing") == 1

    first.process.end(signal.SIGKILL)
    second.process.wait_until(lambda: second.metric("tenfold_monitor_publishing") == 1, 120)
    monitoring.wait_until_judged(second)
    monitoring.check(past)
    assert second.stop() == 0


def test_one_that_was_stalled_while_another_went_on_spoils_nothing(monitoring: Monitoring) -> None:
    past = send_past(monitoring, 4)
    stalled = monitoring.monitor(ending=("before-append", 1), with_signal="SIGSTOP")
    stalled.wait_until_stopped()
    other = monitoring.monitor()
    monitoring.wait_until_judged(other)
    os.kill(stalled.process.pid, signal.SIGCONT)
    stalled.process.wait_until(lambda: "lost" in stalled.log_text or "revoked" in stalled.log_text, 120)
    monitoring.wait_until_judged(stalled, other)
    monitoring.check(past)
    assert [stalled.stop(), other.stop()] == [0, 0]
