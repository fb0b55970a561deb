"""``python -m benchmarks.latency``: from a transaction's due time until its score is readable, at fixed rates.

Open loop: every send time is fixed beforehand, and a latency counts from there, also when the sender or the scorer is
late (no coordinated omission). Scores are read with ``isolation.level=read_committed``. Sender and reader are
processes of their own on the same machine, on its monotonic clock. The sender waits 1 ms for company
(``linger.ms``), which is in the latency: without, each payment is a request of its own, and the broker is measured.

The payments are the simulator's, whose days pass in seconds here: about one in a hundred is flagged, and the reasons of
a flag cost as much as twenty scores. Each user has paid some fifteen times before the clock runs: nine windows of ten
are full.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from confluent_kafka import Consumer, Producer

from benchmarks.harness import parts
from tests.topics import Topics
from training.simulator import simulate_last, transactions_as_json

#: So many payments of so many users are scored before the clock runs: fifteen of each, which fill nine windows of ten.
USERS, HISTORY = 5_000, 75_000
QUANTILES = (50, 95, 99, 99.9)
_WARM_S = 5.0  # not counted
_WARM_UP_RATE, _WARM_UP_S = 1_000, 60.0
_READY_S = 60.0


def payments(count: int) -> list[tuple[bytes, bytes]]:
    """Return the keys and values of the last ``count`` simulated payments before now, in order of time."""
    simulated = simulate_last(count, USERS, 1, datetime.now(UTC))
    return [(key, value) for key, value, _ in transactions_as_json(simulated)]


def send(bootstrap: str, topic: str, rate: float, events: int, answer: Connection) -> None:
    """Send the history, say ready, take the time of the start, and send ``events`` payments, ``rate`` a second."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "linger.ms": 1,
            "queue.buffering.max.messages": HISTORY,
        }
    )
    everything = payments(HISTORY + events)
    for key, value in everything[:HISTORY]:
        producer.produce(topic, key=key, value=value)
    producer.flush()
    answer.send("ready")
    start = answer.recv()
    for number, (key, value) in enumerate(everything[HISTORY:]):
        due = start + number / rate
        while (left := due - time.monotonic()) > 0:
            producer.poll(0)
            time.sleep(min(left, 0.001))
        producer.produce(topic, key=key, value=value)
    producer.flush()


def read(bootstrap: str, topic: str, events: int, answer: Connection) -> None:
    """Say when all scores of the history have come, then send the arrival times of ``events`` scores.

    The times are in the order in which the payments were sent.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"latency-{uuid.uuid4().hex}",
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 500,
            "fetch.error.backoff.ms": 1,
        }
    )
    consumer.subscribe([topic])
    arrived: dict[str, float] = {}
    while len(arrived) < HISTORY + events:
        message = consumer.poll(1)  # consume(n, wait) would wait for n
        if message is not None and message.error() is None:
            arrived[json.loads(message.value() or b"")["transaction_id"]] = time.monotonic()
            if len(arrived) == HISTORY:
                answer.send("the history is scored")
    consumer.close()
    answer.send(np.array([arrived[one] for one in sorted(arrived)[HISTORY:]]))  # ids are numbered


def warm_up(bootstrap: str, redis_url: str) -> None:
    """Let a new broker do the same for a minute: until Java has compiled it, a transaction takes twice as long."""
    measure(bootstrap, redis_url, _WARM_UP_RATE, _WARM_UP_S, "exactly-once")


def measure(bootstrap: str, redis_url: str, rate: float, seconds: float, delivery: str) -> dict[str, float]:
    """Run one scorer at one rate; return latency quantiles in milliseconds."""
    topics = Topics(bootstrap)
    name = uuid.uuid4().hex[:6]
    inputs, outputs = topics.create(f"transactions-{name}", 3), topics.create(f"scores-{name}", 3)
    settings = {
        "TENFOLD_BOOTSTRAP_SERVERS": bootstrap,
        "TENFOLD_REDIS_URL": redis_url,
        "TENFOLD_GROUP_ID": f"latency-{name}",
        "TENFOLD_INPUT_TOPIC": inputs,
        "TENFOLD_OUTPUT_TOPIC": outputs,
        "TENFOLD_DLQ_TOPIC": topics.create(f"dlq-{name}", 1),
        "TENFOLD_DELIVERY": delivery,
        "TENFOLD_METRICS_PORT": "0",
        "TENFOLD_LOG_LEVEL": "warning",
    }
    scorer = subprocess.Popen([sys.executable, "-m", "stream", "score"], env={**os.environ, **settings})
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    mine, senders = spawn.Pipe()
    events = int(rate * seconds)
    reader = spawn.Process(target=read, args=(bootstrap, outputs, events, there))
    sender = spawn.Process(target=send, args=(bootstrap, inputs, rate, events, senders))
    reader.start()
    sender.start()
    try:
        _receive(mine, _READY_S, "the sender never began")
        _receive(here, _READY_S, f"the history was never scored; the scorer's exit code is {scorer.poll()}")
        start = time.monotonic() + 0.5
        mine.send(start)
        times = _receive(here, seconds * 3 + _READY_S, "the scores never came")
        sender.join()
    finally:
        scorer.terminate()
        scorer.wait(30)
        reader.terminate()
        sender.terminate()
    numbers = np.arange(events)
    latency_ms = 1000 * (times - (start + numbers / rate))[numbers >= rate * _WARM_S]
    quantiles = np.percentile(latency_ms, QUANTILES).round(1).tolist()
    return {f"p{quantile:g}": value for quantile, value in zip(QUANTILES, quantiles, strict=True)}


def _receive(answer: Connection, wait_s: float, failing: str) -> Any:
    if not answer.poll(wait_s):
        raise RuntimeError(failing)
    return answer.recv()


def main() -> None:
    """Measure each rate, and print a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=float, nargs="+", default=[200, 1_000, 5_000, 10_000])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--delivery", nargs="+", default=["exactly-once", "at-least-once"])
    arguments = parser.parse_args()
    with parts() as (kafka, redis_server):
        warm_up(kafka.bootstrap, redis_server.url)
        for delivery in arguments.delivery:
            for rate in arguments.rates:
                found = measure(kafka.bootstrap, redis_server.url, rate, arguments.seconds, delivery)
                print(json.dumps({"delivery": delivery, "events_per_s": rate, "latency_ms": found}), flush=True)


if __name__ == "__main__":
    main()
