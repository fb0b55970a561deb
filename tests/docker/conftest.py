"""The images, built once for all tests here. Without an engine the tests are skipped; with ``CI=true`` they fail."""

import os

import pytest

from tests.docker.stack import docker, why_no_engine


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """Build the images that ``docker compose up`` runs; return the name of each target's."""
    reason = why_no_engine()
    if reason is not None and os.environ.get("CI") == "true":
        pytest.fail(f"no engine for containers: {reason}", pytrace=False)
    if reason is not None:
        pytest.skip(f"no engine for containers: {reason}")
    names = {target: f"tenfold/{target}:test" for target in ("serving", "archive")}
    for target, name in names.items():
        docker("build", "--quiet", "--file", "deploy/Dockerfile", "--target", target, "--tag", name, ".")
    return names
