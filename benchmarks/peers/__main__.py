"""``python -m benchmarks.peers``: Tenfold beside what others would build, a line of JSON each.

Kafka, Redis and the engines share this machine; the backlog is there before an engine starts.
"""

import argparse
import json

from benchmarks.harness import JOIN_TOGETHER, backlog, parts
from benchmarks.peers.engines import keras_loop, quix, tenfold
from benchmarks.peers.environment import make_environment
from benchmarks.peers.measure import measure
from benchmarks.peers.run import PARTITIONS


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
    with parts(JOIN_TOGETHER) as on:
        topic = backlog(on, arguments.events, arguments.users, PARTITIONS).topic
        for result in measure(on.kafka.bootstrap, on.redis.url, topic, engines, arguments.rounds):
            print(json.dumps(result))


if __name__ == "__main__":
    main()
