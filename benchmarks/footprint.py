"""Section 6: from start to the first score, memory, and what an installation takes on disk."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from statistics import median

from confluent_kafka import Consumer

from benchmarks.harness import Backlog, Parts, backlog, deployment, parts
from benchmarks.section import Row, Size, Table
from benchmarks.used import peak_resident_mb
from benchmarks.windows import fill

_ROOT = Path(__file__).parents[1]
_STARTS = 5
_PATIENCE_S = 120.0


def measure(size: Size) -> list[Table]:
    """Start a scorer a few times, and install Tenfold once."""
    with parts() as on:
        waiting = backlog(on, events=1000, users=1000)
        starts = [_start(on, waiting) for _ in range(max(size.rounds, min(_STARTS, 2 * size.rounds)))]
    rows: list[Row] = [
        {"what": "from start to first score readable, s", "figure": round(median(each[0] for each in starts), 2)},
        {"what": "memory of a scorer with its first thousand scored, MB", "figure": round(max(s[1] for s in starts))},
    ]
    return [Table("Start and memory", rows, "Topics are there, and the group begins at once."), _installed()]


def _start(on: Parts, waiting: Backlog) -> tuple[float, float]:
    """Return seconds from starting a scorer until a score can be read, and its memory in MB after all of them."""
    with tempfile.TemporaryDirectory() as directory:
        group = deployment(on, waiting, Path(directory))
        fill(on.redis.url, on.kafka.bootstrap, group.group_id, waiting.topic, waiting.users)
        reader = Consumer(
            {
                "bootstrap.servers": on.kafka.bootstrap,
                "group.id": f"first-{uuid.uuid4().hex}",
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 10,
            }
        )
        joined: list[int] = []
        reader.subscribe([group.output_topic], on_assign=lambda *_: joined.append(1))
        try:
            while not joined:
                reader.poll(0.1)
            begun = time.monotonic()
            scorer = group.scorer()
            while (message := reader.poll(0.1)) is None or message.error():
                if time.monotonic() - begun > _PATIENCE_S:
                    raise RuntimeError(f"no score after {_PATIENCE_S:g} s:\n{scorer.log_text[-3000:]}")
            seconds = time.monotonic() - begun
            group.wait_until_scored([scorer])
            return seconds, peak_resident_mb(scorer.process.pid)
        finally:
            reader.close()
            for scorer in group.scorers:
                scorer.stop()


def _installed() -> Table:
    """Install what serving needs, as the image does, and see what it takes."""
    uv = shutil.which("uv") or str(_ROOT / ".tools" / "bin" / "uv")
    with tempfile.TemporaryDirectory() as directory:
        environment = Path(directory) / "environment"
        subprocess.run(
            [uv, "sync", "--frozen", "--no-dev", "--no-editable", "--quiet", "--python", sys.executable],
            cwd=_ROOT,
            env={**os.environ, "UV_PROJECT_ENVIRONMENT": str(environment), "UV_LINK_MODE": "copy"},
            check=True,
        )
        [packages] = environment.glob("lib/python*/site-packages")
        sizes = {each.name: _bytes(each) for each in packages.iterdir()}
        whole = _bytes(environment)
        subprocess.run([sys.executable, "-m", "compileall", "-q", "-j", "1", packages], check=False)
        compiled = _bytes(environment)
    largest = sorted(sizes.items(), key=lambda each: -each[1])[:6]
    rows: list[Row] = [
        {"what": "installation for serving, MB", "figure": round(whole / 1e6)},
        {"what": "the same with bytecode: the image's Python part, MB", "figure": round(compiled / 1e6)},
    ]
    rows += [{"what": f"of it {name}, MB", "figure": round(size / 1e6)} for name, size in largest]
    note = (
        "`uv sync --frozen --no-dev` into an environment of its own, files added up. The image runs the same command "
        "and compiles, so its Python part is the second figure; Python itself and Debian come with the base image."
    )
    return Table("Size", rows, note)


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file() and not each.is_symlink()]
    return sum(each.stat().st_size for each in files)
