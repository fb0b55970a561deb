"""``make bench``: one scorer on a real broker and a real Redis, beside the bare model on ready arrays.

Everything runs on this machine at once: Kafka, Redis, the scorer. The backlog is there before the scorer starts, so
that the scorer alone sets the pace. The bare model is ONNX Runtime on one thread with the features of full windows: the
limit of an engine that did nothing else. The two take turns, and what counts is the ratio within a run.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np

from models.bundle import LoadedBundle, load_bundle, starter
from tests.brokers import KafkaBroker, RedisServer
from tests.processes import free_port
from tests.topics import Topics
from tests.traffic import produce, traffic


def bare_model(bundle: LoadedBundle, events: int) -> float:
    """Return events/s of the runtime alone, on full windows, 4,096 at a time."""
    rng = np.random.default_rng(0)
    spec = bundle.spec
    features = rng.normal(size=(4096, spec.sequence_length, len(spec.features))).astype(np.float32)
    lengths = np.full(4096, spec.sequence_length)
    bundle.runtime.predict(features, lengths)
    begun = time.perf_counter()
    rounds = -(-events // 4096)
    for _ in range(rounds):
        bundle.runtime.predict(features, lengths)
    return rounds * 4096 / (time.perf_counter() - begun)


def scorer_rate(environment: dict[str, str], events: int) -> tuple[float, dict[str, float]]:
    """Start one scorer on a backlog; return events/s between its first and its last batch, and its own figures."""
    port = environment["TENFOLD_METRICS_PORT"]
    process = subprocess.Popen([sys.executable, "-m", "stream", "score"], env=environment, stderr=subprocess.DEVNULL)
    try:
        first: tuple[float, float] | None = None
        while True:
            samples = _metrics(port)
            now, done = time.perf_counter(), samples.get("tenfold_events_total", 0.0)
            if first is None and done:
                first = now, done
            if first is not None and done >= events:
                return (done - first[1]) / (now - first[0]), samples
            if process.poll() is not None:
                raise RuntimeError(f"the scorer ended with {process.returncode}")
            time.sleep(0.02)
    finally:
        process.terminate()
        process.wait(30)


def _metrics(port: str) -> dict[str, float]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return {}
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


@contextmanager
def parts() -> Iterator[tuple[KafkaBroker, RedisServer]]:
    """Start a broker and a Redis of the benchmark's own."""
    with tempfile.TemporaryDirectory() as kafka_directory, tempfile.TemporaryDirectory() as redis_directory:
        kafka, redis_server = KafkaBroker(Path(kafka_directory)), RedisServer(Path(redis_directory))
        redis_server.start()
        try:
            kafka.start()
            yield kafka, redis_server
        finally:
            kafka.discard()
            redis_server.discard()


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=150_000)
    parser.add_argument("--users", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delivery", default="exactly-once")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    bundle = load_bundle(starter("default"))
    bare, engine, samples = [], [], {}
    with parts() as (kafka, redis_server):
        topics = Topics(kafka.bootstrap)
        inputs = topics.create("transactions", 3)
        produce(kafka.bootstrap, inputs, traffic(arguments.events, users=arguments.users, seed=1, bad_share=0))
        for _ in range(arguments.rounds):
            bare.append(bare_model(bundle, 40_000))
            settings = {
                "TENFOLD_BOOTSTRAP_SERVERS": kafka.bootstrap,
                "TENFOLD_REDIS_URL": redis_server.url,
                "TENFOLD_GROUP_ID": f"bench-{uuid.uuid4().hex[:8]}",
                "TENFOLD_INPUT_TOPIC": inputs,
                "TENFOLD_OUTPUT_TOPIC": topics.create(f"scores-{uuid.uuid4().hex[:4]}", 3),
                "TENFOLD_DLQ_TOPIC": topics.create(f"dlq-{uuid.uuid4().hex[:4]}", 1),
                "TENFOLD_DELIVERY": arguments.delivery,
                "TENFOLD_METRICS_PORT": str(free_port()),
            }
            rate, samples = scorer_rate({**os.environ, **settings}, arguments.events)
            engine.append(rate)
    stages = {
        name.split('"')[1]: 1e6 * value / arguments.events
        for name, value in samples.items()
        if name.startswith("tenfold_stage_seconds_sum")
    }
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "events": arguments.events,
        "delivery": arguments.delivery,
        "bare_model_events_per_s": round(median(bare)),
        "scorer_events_per_s": round(median(engine)),
        "ratio": round(median(rate / limit for rate, limit in zip(engine, bare, strict=True)), 3),
        "scorer_cpu_us_per_event": round(1e6 * samples["process_cpu_seconds_total"] / arguments.events, 1),
        "scorer_resident_mb": round(samples["process_resident_memory_bytes"] / 1e6),
        "stage_us_per_event": {stage: round(value, 1) for stage, value in stages.items()},
    }
    if arguments.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:26} {value}")


if __name__ == "__main__":
    main()
