"""The images, each built once. Without an engine these tests are skipped; with ``CI=true`` they fail."""

import os

import pytest

from tests.docker.stack import docker, why_no_engine

#: What whoever builds an image says of it.
SAID = {
    "REVISION": "0" * 40,
    "SOURCE": "https://example.com/tenfold",
    "CREATED": "2026-03-01T18:21:07+01:00",
}


def build(target: str) -> str:
    """Build a target of the Dockerfile; return the image's name."""
    name = f"tenfold/{target}:test"
    said = [part for argument, value in SAID.items() for part in ("--build-arg", f"{argument}={value}")]
    docker("build", "--quiet", "--file", "deploy/Dockerfile", "--target", target, *said, "--tag", name, ".")
    return name


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """Build the images that ``docker compose up`` runs; return the name of each target's."""
    reason = why_no_engine()
    if reason is not None and os.environ.get("CI") == "true":
        pytest.fail(f"no engine for containers: {reason}", pytrace=False)
    if reason is not None:
        pytest.skip(f"no engine for containers: {reason}")
    return {target: build(target) for target in ("serving", "archive")}


@pytest.fixture(scope="session")
def all_images(images: dict[str, str]) -> dict[str, str]:
    """Build that of the profile ``train`` as well, which is several times as large; return them all."""
    return images | {"training": build("training")}
