"""The wheel by itself, in a clean environment: nothing of a checkout is needed to try Tenfold out."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def uv() -> str:
    """Return the uv that the Makefile uses."""
    found = shutil.which("uv") or shutil.which("uv", path=ROOT / ".tools" / "bin")
    if found is None:
        pytest.skip("no uv: `make lint` installs one into the checkout")
    return found


def done(*command: str | Path, at: Path) -> str:
    """Run in a directory as somebody who has set nothing, and return what was printed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TENFOLD_", "PYTHON", "VIRTUAL"))}
    ran = subprocess.run(command, cwd=at, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_demo_works_from_the_wheel_alone(tmp_path: Path) -> None:
    environment, nowhere = tmp_path / "environment", tmp_path / "nowhere"
    nowhere.mkdir()
    done(uv(), "build", "--wheel", "--quiet", "--out-dir", tmp_path / "dist", at=ROOT)
    [wheel] = (tmp_path / "dist").glob("*.whl")
    python = environment / "bin" / "python"
    done(uv(), "venv", "--quiet", "--python", sys.executable, environment, at=nowhere)
    # the versions that uv.lock pins, so that what is tested is what was built
    extra = ["--no-dev", "--no-emit-project", "--extra", "demo", "--no-hashes", "--quiet"]
    done(uv(), "export", "--frozen", *extra, "--output-file", tmp_path / "pins.txt", at=ROOT)
    done(
        uv(), "pip", "install", "--quiet", "--python", python, f"{wheel}[demo]", "-c", tmp_path / "pins.txt", at=nowhere
    )
    tenfold = environment / "bin" / "tenfold"
    summary = json.loads(done(tenfold, "demo", "--events", "2000", "--rate", "1000", "--json", at=nowhere))

    assert summary["scores"] + summary["dead_letters"] == summary["events"] == 2000
    assert summary["model_version"] == "starter-default"
    assert done(tenfold, "schema", at=nowhere).startswith("{")
    assert list(nowhere.iterdir()) == []
