"""The wheel by itself: built as docs/releasing.md says, installed where there is no checkout, and used."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pages import ROOT, the_block

UV = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")


@dataclass(frozen=True)
class Installed:
    """A wheel, the list of packages beside it, and an environment that has it, the extra ``demo`` and nothing else."""

    wheel: Path
    requirements: Path
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
    build, export = (line.split()[1:] for line in the_block("docs/releasing.md", "uv build").script.splitlines())
    uv(environment, *build, "--out-dir", str(directory))
    requirements = directory / "requirements.txt"
    uv(environment, *(str(requirements) if word == "dist/requirements.txt" else word for word in export))
    [wheel] = directory.glob("*.whl")
    # uv.lock's versions: those that make demo installs
    locked = ("sync", "--frozen", "--no-dev", "--extra", "demo", "--no-install-project")
    uv(environment, *locked, "--python", sys.executable)
    python = str(environment / "bin" / "python")
    uv(environment, "pip", "install", "--no-deps", "--python", python, str(wheel))
    uv(environment, "pip", "check", "--python", python)
    return Installed(wheel, requirements, environment, home)


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


def test_the_packages_beside_the_wheel_are_all_that_it_needs_in_the_versions_of_the_lock(installed: Installed) -> None:
    text = installed.requirements.read_text()
    pinned = dict(re.findall(r"^([\w.-]+)(?:\[\w+\])?==(\S+).*\\\n +--hash=sha256:", text, re.MULTILINE))
    listed = re.findall(r"^[\w.-]+", text, re.MULTILINE)
    lock = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    with zipfile.ZipFile(installed.wheel) as wheel:
        [name] = [each for each in wheel.namelist() if each.endswith(".dist-info/METADATA")]
        wanted = re.findall(r"^Requires-Dist: ([\w.-]+)(?!.*extra ==)", wheel.read(name).decode(), re.MULTILINE)

    assert set(listed) == set(pinned), "each has a version and a hash"
    assert pinned.items() <= {each["name"]: each.get("version") for each in lock}.items()
    assert set(wanted) <= set(pinned)
    assert "tenfold" not in pinned
