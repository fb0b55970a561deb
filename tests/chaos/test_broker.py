"""The broker goes away and comes back, in order or as a crash; or it waits for the transaction of a dead process."""

import time
from itertools import islice
from pathlib import Path

import pytest
from confluent_kafka import Producer

from models.bundle import LoadedBundle
from tests.chaos.conftest import CHAOS
from tests.chaos.faults import StoppingScorer, judged, until
from tests.chaos.ledger import note
from tests.conftest import OwnKafka
from tests.scorers import Deployment, Scorer
from tests.topics import Topics
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker


@pytest.fixture
def own(own_kafka: OwnKafka, redis_url: str, group_id: str, tmp_path: Path) -> Deployment:
    """A deployment on a broker of its own."""
    deployment = Deployment.create(Topics(own_kafka.bootstrap), own_kafka.bootstrap, redis_url, group_id, tmp_path)
    deployment.settings |= CHAOS
    return deployment


def never_ready(scorer: Scorer, for_s: float) -> None:
    deadline = time.monotonic() + for_s
    while time.monotonic() < deadline:
        assert scorer.get("/readyz")[0] == 503, "it says that it is ready"
        assert scorer.process.running, scorer.log_text[-3000:]
        time.sleep(0.1)


def test_the_broker_is_restarted_and_killed(own: Deployment, own_kafka: OwnKafka, bundle: LoadedBundle) -> None:
    """Under load, once in order and once with SIGKILL; not ready meanwhile, and then it goes on where it stood.

    Without patience with errors that pass, the process would end; without going back to the table after an unknown
    outcome, the batch whose commit was under way would be scored twice or never.
    """
    scorer = own.scorer().wait_until_ready()
    for seed, take_away in enumerate((own_kafka.stop, own_kafka.kill)):
        produce(own.bootstrap, own.input_topic, traffic(5_000, users=300, seed=seed))
        until(lambda s=seed: scorer.metric("tenfold_events_total") > s * 5_000 + 300, 60, "no events", scorer)
        said = scorer.log_text.count("no answer")
        take_away()
        note(f"the broker: {take_away.__name__}")
        until(lambda: scorer.get("/readyz")[0] == 503, 30, "ready without Kafka", scorer)
        until(lambda s=said: scorer.log_text.count("no answer") > s, 10, "it does not say who is away", scorer)
        never_ready(scorer, for_s=4)
        own_kafka.restart()
        own.wait_until_scored([scorer])
        until(lambda: scorer.get("/readyz")[0] == 200, 60, "not ready with Kafka back", scorer)
    assert scorer.stop() == 0
    assert 0 < scorer.log_text.count("Connection refused") < 40, "each attempt of each client is logged"
    judged(bundle, own, 10_000)


@pytest.mark.parametrize("point", ["lose-consumer", "leave-unheard"])
def test_a_consumer_that_finds_no_broker_any_more_is_replaced(
    deployment: Deployment, bundle: LoadedBundle, point: str
) -> None:
    """Without it the process would wait out its limit with Kafka up, and end; or wait for its group without any end."""
    produce(deployment.bootstrap, deployment.input_topic, traffic(2_000, users=300, seed=1))
    scorer = StoppingScorer(deployment, point)
    until(lambda: "beginning anew" in scorer.log_text, 60, "it goes on with the lost consumer", scorer)
    deployment.wait_until_scored([scorer])
    assert scorer.stop() == 0
    judged(bundle, deployment, 2_000)


def test_a_dead_processes_transaction_holds_up_its_partition_only(deployment: Deployment, bundle: LoadedBundle) -> None:
    """What it had not committed waits until the broker has ended its transaction; the other partitions go on.

    Without waiting, the offset before the transaction would be taken although it might yet be committed; with waiting
    for all partitions at once, every one of them would stand still.
    """
    deployment.settings["TENFOLD_KAFKA__transaction.timeout.ms"] = "15000"
    producer = Producer({"bootstrap.servers": deployment.bootstrap})

    def send(partition: int, seed: int) -> None:
        for record in islice(traffic(200, users=50, seed=seed, bad_share=0), 200):
            producer.produce(deployment.input_topic, key=record.key, value=record.value, partition=partition)
        producer.flush()

    victim = StoppingScorer(deployment, "before-commit").wait_until_ready()
    send(0, seed=1)
    victim.wait_until_dead()
    for partition in range(3):
        send(partition, seed=2 + partition)
    scorer = deployment.scorer()
    until(lambda: scorer.metric("tenfold_events_total") == 400, 30, "the ready partitions wait too", scorer)
    assert scorer.metric("tenfold_recovering_partitions") == 1
    assert scorer.get("/readyz")[0] == 503
    deployment.wait_until_scored([scorer])
    assert scorer.stop() == 0
    judged(bundle, deployment, 800)
