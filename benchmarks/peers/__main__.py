"""``python -m benchmarks.peers``: Tenfold beside what others would build, a line of JSON each.

Kafka, Redis and the engines share this machine; the backlog is there before an engine starts.
"""

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.peers.engines import keras_loop, quix, tenfold
from benchmarks.peers.environment import make_environment
from benchmarks.peers.measure import measure
from benchmarks.peers.run import JOIN_DELAY_MS, PARTITIONS
from tests.brokers import KafkaBroker, RedisServer
from tests.topics import Topics
from tests.traffic import produce, traffic


def main() -> None:
    """Install the peers, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=150_000)
    parser.add_argument("--users", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    python = make_environment()
    engines = [
        tenfold(1),
        tenfold(1, "the runtime that is faster here", {"TENFOLD_RUNTIME": "auto"}),
        tenfold(2),
        *(quix(python, processes, interval_s) for interval_s in (5, 0.02) for processes in (1, 2)),
        keras_loop(python),
    ]
    with tempfile.TemporaryDirectory() as kafka_directory, tempfile.TemporaryDirectory() as redis_directory:
        kafka = KafkaBroker(Path(kafka_directory), f"group.initial.rebalance.delay.ms={JOIN_DELAY_MS}", for_long=True)
        redis_server = RedisServer(Path(redis_directory))
        try:
            redis_server.start()
            kafka.start()
            topic = Topics(kafka.bootstrap).create("transactions", PARTITIONS)
            produce(kafka.bootstrap, topic, traffic(arguments.events, arguments.users, seed=1, bad_share=0))
            for result in measure(kafka.bootstrap, redis_server.url, topic, engines, arguments.rounds):
                print(json.dumps(result))
        finally:
            kafka.discard()
            redis_server.discard()


if __name__ == "__main__":
    main()
