"""``python -m benchmarks.latency``: from a transaction's due time until its score is readable, at fixed rates.

Open loop: every send time is fixed beforehand, and a latency counts from there, also when the sender or the scorer is
late (no coordinated omission). Scores are read with ``isolation.level=read_committed``. Sender and reader are
processes of their own on the same machine, on its monotonic clock. The sender waits 1 ms for company
(``linger.ms``), which is in the latency: without, each payment is a request of its own, and the broker is measured.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
import uuid
from multiprocessing.connection import Connection
from typing import Any
from urllib.request import urlopen

import numpy as np
from confluent_kafka import Consumer, Producer

from benchmarks.harness import parts
from stream.contract import timestamp
from tests.processes import free_port
from tests.topics import Topics

USERS = 5_000
QUANTILES = (50, 95, 99, 99.9)
_WARM_S = 5.0  # not counted
_WARM_UP_RATE, _WARM_UP_S = 1_000, 60.0
_READY_S = 60.0


def send(bootstrap: str, topic: str, rate: float, seconds: float, answer: Connection) -> None:
    """Send ready, take the time of the start, and send ``rate`` transactions a second; each names its number.

    Its number says when a transaction is due.
    """
    rng = np.random.default_rng(1)
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "linger.ms": 1})
    count = int(rate * seconds)
    users, amounts = rng.integers(0, USERS, count).tolist(), np.round(rng.lognormal(3, 1.5, count), 2).tolist()
    producer.list_topics(topic, _READY_S)  # connected
    answer.send("ready")
    start = answer.recv()
    for number in range(count):
        due = start + number / rate
        while (left := due - time.monotonic()) > 0:
            producer.poll(0)
            time.sleep(min(left, 0.001))
        created_at = timestamp(time.time_ns() // 1_000_000)
        producer.produce(
            topic,
            key=f"user-{users[number]}",
            value=f'{{"transaction_id":"t-{number}","user_id":"user-{users[number]}","amount":{amounts[number]},'
            f'"created_at":"{created_at}","is_vpn":false,"merchant_id":"m-{number % 500}"}}',
        )
    producer.flush()


def read(bootstrap: str, topic: str, events: int, answer: Connection) -> None:
    """Send ready, then the numbers and arrival times of ``events`` scores."""
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
    consumer.subscribe([topic], on_assign=lambda *_: answer.send("ready"))
    numbers, times = np.empty(events, np.int64), np.empty(events)
    got = 0
    while got < events:
        message = consumer.poll(1)  # consume(n, wait) would wait for n
        if message is not None and message.error() is None:
            times[got] = time.monotonic()
            numbers[got] = int(json.loads(message.value() or b"")["transaction_id"][2:])
            got += 1
    consumer.close()
    answer.send((numbers, times))


def warm_up(bootstrap: str, redis_url: str) -> None:
    """Let a new broker do the same for a minute: until Java has compiled it, a transaction takes twice as long."""
    measure(bootstrap, redis_url, _WARM_UP_RATE, _WARM_UP_S, "exactly-once")


def measure(bootstrap: str, redis_url: str, rate: float, seconds: float, delivery: str) -> dict[str, float]:
    """Run one scorer at one rate; return latency quantiles in milliseconds."""
    topics = Topics(bootstrap)
    name = uuid.uuid4().hex[:6]
    inputs, outputs = topics.create(f"transactions-{name}", 3), topics.create(f"scores-{name}", 3)
    port = free_port()
    settings = {
        "TENFOLD_BOOTSTRAP_SERVERS": bootstrap,
        "TENFOLD_REDIS_URL": redis_url,
        "TENFOLD_GROUP_ID": f"latency-{name}",
        "TENFOLD_INPUT_TOPIC": inputs,
        "TENFOLD_OUTPUT_TOPIC": outputs,
        "TENFOLD_DLQ_TOPIC": topics.create(f"dlq-{name}", 1),
        "TENFOLD_DELIVERY": delivery,
        "TENFOLD_METRICS_PORT": str(port),
        "TENFOLD_LOG_LEVEL": "warning",
    }
    scorer = subprocess.Popen([sys.executable, "-m", "stream", "score"], env={**os.environ, **settings})
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    events = int(rate * seconds)
    reader = spawn.Process(target=read, args=(bootstrap, outputs, events, there))
    reader.start()
    try:
        _receive(here, _READY_S, "the reader never got its partitions")
        _wait_until_ready(port, scorer)
        mine, senders = spawn.Pipe()
        sender = spawn.Process(target=send, args=(bootstrap, inputs, rate, seconds, senders))
        sender.start()
        _receive(mine, _READY_S, "the sender never began")
        start = time.monotonic() + 0.5
        mine.send(start)
        numbers, times = _receive(here, seconds * 3 + _READY_S, "the scores never came")
        sender.join()
    finally:
        scorer.terminate()
        scorer.wait(30)
        reader.terminate()
    latency_ms = 1000 * (times - (start + numbers / rate))[numbers >= rate * _WARM_S]
    quantiles = np.percentile(latency_ms, QUANTILES).round(1).tolist()
    return {f"p{quantile:g}": value for quantile, value in zip(QUANTILES, quantiles, strict=True)}


def _receive(answer: Connection, wait_s: float, failing: str) -> Any:
    if not answer.poll(wait_s):
        raise RuntimeError(failing)
    return answer.recv()


def _wait_until_ready(port: int, scorer: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and scorer.poll() is None:
        try:
            with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the scorer was not ready; it ended with {scorer.poll()}")


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
