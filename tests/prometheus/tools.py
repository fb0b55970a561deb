"""Prometheus' own programs, and where the deployment's files for it are."""

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"


def require_program(name: str) -> str:
    """Return the path of ``prometheus`` or ``promtool``; without it the test is skipped, in CI it fails."""
    found = shutil.which(name)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(f"CI needs {name}: apt-get install prometheus", pytrace=False)
    if found is None:
        pytest.skip(f"there is no {name}: apt-get install prometheus")
    return found
