"""The wheel by itself: built as docs/releasing.md says, installed where there is no checkout, and used."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pages import ROOT, the_block

UV = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")


@dataclass(frozen=True)
class Installed:
    """A wheel, and an environment that has it, the extra ``demo`` and nothing else of the project."""

    wheel: Path
    environment: Path
    home: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in an empty home, as somebody would who has never seen the checkout."""
        env = {"HOME": str(self.home), "TMPDIR": str(self.home), "PATH": f"{self.environment / 'bin'}:/usr/bin:/bin"}
        return subprocess.run(words, cwd=self.home, env=env, capture_output=True, text=True, timeout=120, check=False)


def uv(environment: Path, *words: str) -> None:
    """Run uv on the environment; what it installs it takes from its cache, where that has it."""
    env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    env["UV_PROJECT_ENVIRONMENT"] = str(environment)
    ran = subprocess.run([UV, *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    if not Path(UV).exists():
        pytest.skip("no uv on PATH and none in .tools: make .venv/.all installs it")
    directory = tmp_path_factory.mktemp("wheel")
    environment, home = directory / "environment", directory / "home"
    home.mkdir()
    [_, *build] = the_block("docs/releasing.md", "uv build").script.split()
    uv(environment, *build, "--out-dir", str(directory))
    [wheel] = directory.glob("*.whl")
    # uv.lock's versions: those that make demo installs
    locked = ("sync", "--frozen", "--no-dev", "--extra", "demo", "--no-install-project")
    uv(environment, *locked, "--python", sys.executable)
    python = str(environment / "bin" / "python")
    uv(environment, "pip", "install", "--no-deps", "--python", python, str(wheel))
    uv(environment, "pip", "check", "--python", python)
    return Installed(wheel, environment, home)


def test_the_demo_works_from_the_wheel_alone(installed: Installed) -> None:
    where = installed.run("python", "-c", "import stream, models, training; print(stream.__file__)")
    ran = installed.run("tenfold", "demo", "--events", "500", "--rate", "1000", "--json")

    assert Path(where.stdout.strip()).is_relative_to(installed.environment), where.stderr
    assert ran.returncode == 0, ran.stderr
    summary = json.loads(ran.stdout)
    assert (summary["events"], summary["scores"] + summary["dead_letters"]) == (500, 500)
    assert summary["model_version"] == "starter-default"


def test_a_command_whose_extra_is_missing_says_which(installed: Installed) -> None:
    ran = installed.run("tenfold", "train", "--data", "data")

    assert ran.returncode != 0
    assert "pip install '.[training]' in the checkout" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_wheel_has_the_packages_with_what_they_read_and_nothing_else(installed: Installed) -> None:
    command = ["git", "ls-files", "-z", "models", "stream", "training"]
    tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    with zipfile.ZipFile(installed.wheel) as wheel:
        inside = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert {name for name in tracked if name.endswith((".py", ".sql", ".j2", ".onnx", ".json"))} <= inside
    assert {name.partition("/")[0] for name in inside} == {"models", "stream", "training"}
    assert not any(name.startswith("models/store/") for name in inside)
