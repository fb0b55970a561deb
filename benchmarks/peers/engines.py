"""Tenfold, Quix Streams and the per-event Keras consumer, each as processes that score a topic."""

import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from benchmarks.peers.environment import ROOT, version_of
from benchmarks.peers.run import Command, Engine, Place
from tests.processes import free_port

#: Of the peers' processes: the checkout's modules, and a TensorFlow that keeps to the CPU and to itself.
_ENVIRONMENT = {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}


def tenfold(processes: int, variant: str = "ONNX Runtime", settings: Mapping[str, str] | None = None) -> Engine:
    """Return Tenfold, exactly once, with ``settings`` (TENFOLD_...) beside the defaults; ``variant`` names them."""

    def command(place: Place, _: int) -> Command:
        environment = {
            "TENFOLD_BOOTSTRAP_SERVERS": place.bootstrap,
            "TENFOLD_REDIS_URL": place.redis_url,
            "TENFOLD_GROUP_ID": place.group,
            "TENFOLD_INPUT_TOPIC": place.input,
            "TENFOLD_OUTPUT_TOPIC": place.output,
            "TENFOLD_DLQ_TOPIC": place.dead_letters,
            "TENFOLD_METRICS_PORT": str(free_port()),
            "TENFOLD_LOG_LEVEL": "warning",
        }
        return Command([sys.executable, "-m", "stream", "score"], environment | dict(settings or {}))

    return Engine("Tenfold", version("tenfold"), variant, processes, command)


def quix(python: Path, processes: int, commit_interval_s: float) -> Engine:
    """Return Quix Streams, exactly once, with a commit every so many seconds."""

    def command(place: Place, number: int) -> Command:
        arguments = [python, "-m", "benchmarks.peers.quix_scorer", "--bootstrap", place.bootstrap]
        arguments += ["--group", place.group, "--input", place.input, "--output", place.output]
        arguments += ["--state-dir", place.directory / f"state-{number}", "--commit-interval", str(commit_interval_s)]
        return Command(arguments, _ENVIRONMENT)

    variant = f"commit every {1000 * commit_interval_s:g} ms"
    return Engine("Quix Streams", version_of("quixstreams"), variant, processes, command)


def keras_loop(python: Path) -> Engine:
    """Return the per-event consumer, on an excerpt: the whole backlog would take it hours."""

    def command(place: Place, _: int) -> Command:
        arguments = [python, "-m", "benchmarks.peers.keras_loop", "--bootstrap", place.bootstrap]
        arguments += ["--redis-url", place.redis_url, "--group", place.group]
        return Command([*arguments, "--input", place.input, "--output", place.output], _ENVIRONMENT)

    return Engine("Keras loop", version_of("keras"), "model.predict per event", 1, command, excerpt=160)
