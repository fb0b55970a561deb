"""What a figure was measured on: the machine, the versions, the commit."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import confluent_kafka

from tests.brokers import find_redis_server
from tests.kafka_jars import kafka_jars

_PACKAGES = ("confluent-kafka", "redis", "hiredis", "numpy", "msgspec", "onnxruntime", "openvino")
_ROOT = Path(__file__).parents[1]


def described() -> dict[str, Any]:
    """Return machine, versions and commit, for JSON; the load is that of the last minute."""
    return {
        "machine": {
            "cpu": _cpu(),
            "architecture": platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
            "load_before": round(os.getloadavg()[0], 2),
        },
        "versions": {
            "python": platform.python_version(),
            "librdkafka": confluent_kafka.libversion()[0],
            **{package: _version(package) for package in _PACKAGES},
            "redis-server": _output(find_redis_server(), "--version").split("v=")[1].split()[0],
            "kafka": _kafka_version(),
        },
        "commit": _commit(),
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _kafka_version() -> str:
    [jar] = kafka_jars().glob("kafka_2.13-*.jar")
    return jar.stem.partition("-")[2]


def _commit() -> str:
    """Return the commit; a ``+`` says that the checkout is not what was committed."""
    changed = _output("git", "-C", str(_ROOT), "status", "--porcelain", "--untracked-files=no")
    return _output("git", "-C", str(_ROOT), "rev-parse", "--short", "HEAD") + ("+" if changed else "")


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
