"""The peers' own virtual environment, ``.peers/``: what they need is never installed beside the project's packages."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIREMENTS = Path(__file__).with_name("requirements.txt")

_ENVIRONMENT = ROOT / ".peers"


class NoUvError(RuntimeError):
    """There is no uv to install the peers with."""


def make_environment() -> Path:
    """Install the peers as ``requirements.txt`` pins them, by hash, and return their Python; at once if they are there.

    Raises:
        NoUvError: uv is neither on PATH nor in .tools.
        subprocess.CalledProcessError: uv failed, and has said why.
    """
    uv, python = _find_uv(), _ENVIRONMENT / "bin" / "python"
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    if not python.exists():
        create = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, _ENVIRONMENT]
        subprocess.run(create, check=True, env=environment)
    install = [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", python, REQUIREMENTS]
    subprocess.run(install, check=True, env=environment)
    return python


def version_of(package: str) -> str:
    """Return the version that ``requirements.txt`` pins a package at.

    Raises:
        KeyError: it does not.
    """
    versions = dict(re.findall(r"^([\w.-]+)==([\w.]+)", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE))
    return versions[package]


def _find_uv() -> Path:
    found = shutil.which("uv", path=os.pathsep.join([os.environ.get("PATH", os.defpath), str(ROOT / ".tools" / "bin")]))
    if found is None:
        raise NoUvError(
            "the peers are installed with uv, which is neither on PATH nor in .tools/bin: make .tools/bin/uv"
        )
    return Path(found)
