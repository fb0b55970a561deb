"""Leaders change under load: ``python -m tests.chaos.leader_change``, a part of ``make chaos``.

Three nodes, three replicas; again and again the node that leads a partition of the input is killed and comes back. Its
partitions, the group's coordinator and the transactions' coordinator move to the others meanwhile. Without retries of
what may be retried, or with a commit of unknown outcome taken for a failure, events would be lost or scored twice.
"""

import tempfile
import threading
import time
import uuid
from pathlib import Path

from models.bundle import load_bundle, starter
from tests.brokers import RedisServer
from tests.chaos.cluster import Cluster
from tests.chaos.conftest import CHAOS
from tests.chaos.faults import stop_all
from tests.chaos.ledger import held, note, scaled
from tests.chaos.long import until_told
from tests.scorers import Deployment, verdict_of
from tests.traffic import produce

_TIMES = 4
_RATE = 200.0


def run(directory: Path) -> None:
    """Kill leaders, let everything settle, ask the oracle.

    Raises:
        AssertionError: it has found something.
    """
    cluster, redis_server = Cluster(directory), RedisServer(directory)
    stop = threading.Event()
    redis_server.start()
    try:
        cluster.start()
        topics = [cluster.create(name, 3) for name in ("transactions", "fraud-scores", "transactions.dlq")]
        group = f"chaos-{uuid.uuid4().hex[:8]}"
        deployment = Deployment(cluster.bootstrap, redis_server.url, group, directory, *topics)
        deployment.settings |= CHAOS
        scorers = [deployment.scorer().wait_until_ready(), deployment.scorer().wait_until_ready()]
        load = threading.Thread(
            target=produce, args=(cluster.bootstrap, topics[0], until_told(stop, seed=1), _RATE), daemon=True
        )
        load.start()
        for number in range(scaled(_TIMES)):
            time.sleep(2)  # of load on all three
            leader = cluster.leader(topics[0], number % 3)
            cluster.kill(leader)
            note("kill -9 of a leader of three brokers")
            print(f"killed node {leader}", flush=True)
            time.sleep(6)  # of load on two; a node's session ends after 3 s
            cluster.restart(leader)
            cluster.wait_until_complete()
        stop.set()
        load.join()
        deployment.wait_until_scored(scorers, 240)
        if stop_all(scorers) != [0, 0]:
            raise AssertionError("a scorer did not stop in order")
        held(verdict_of(load_bundle(starter("default")), deployment)[1], "leaders that change")
    finally:
        stop.set()
        cluster.discard()
        redis_server.discard()


def main() -> None:
    """Run in a directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tenfold-chaos-") as directory:
        run(Path(directory))


if __name__ == "__main__":
    main()
