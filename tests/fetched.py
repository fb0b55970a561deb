"""Tools of other languages where this machine has them, and packages that they fetch."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest


def without(missing: str) -> NoReturn:
    """Skip: tools of other languages are not among what the project needs."""
    pytest.skip(f"not tried, {missing}")


def tool(name: str) -> str:
    """Return where a program is."""
    return shutil.which(name) or without(f"there is no {name} on PATH")


def not_fetched(why: str) -> NoReturn:
    """Skip, but not in CI: who has the tools there can fetch what they need."""
    if os.environ.get("CI") == "true":
        pytest.fail(why, pytrace=False)
    without(why)


def fetch(*command: str | Path, into: Path) -> None:
    """Run what fetches packages."""
    ran = subprocess.run(command, cwd=into, capture_output=True, text=True, timeout=300, check=False)
    if ran.returncode != 0:
        not_fetched(f"{command[0]} failed in {into}:\n{(ran.stdout + ran.stderr)[-2000:]}")


def go_for(module: Path) -> str:
    """Return where a Go is that is new enough for the module in a folder, whose packages are there then."""
    go = tool("go")
    wanted = re.search(r"^go (\d+)\.(\d+)", (module / "go.mod").read_text(), re.MULTILINE)
    told = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"go(\d+)\.(\d+)", told)
    assert wanted is not None
    if found is None or tuple(map(int, found.groups())) < tuple(map(int, wanted.groups())):
        without(f"it needs Go {'.'.join(wanted.groups())}, {go} is {told.strip()}")
    fetch(go, "mod", "download", into=module)
    return go
