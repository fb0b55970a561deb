"""What is released together says the same version."""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def locked(text: str) -> list[str]:
    return [package["version"] for package in tomllib.loads(text)["package"] if package["name"] == "tenfold"]


def chart(text: str) -> list[str]:
    said = yaml.safe_load(text)
    return [said["version"], said["appVersion"]]


SAYS: dict[str, Callable[[str], list[str]]] = {
    "CHANGELOG.md": lambda text: re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)[:1],
    "uv.lock": locked,
    "docs/schemas/asyncapi.json": lambda text: [json.loads(text)["info"]["version"]],
    "deploy/Dockerfile": lambda text: re.findall(r"^ARG VERSION=(.+)$", text, re.MULTILINE),
    "deploy/chart/Chart.yaml": chart,
}


@pytest.mark.parametrize("file", SAYS)
def test_the_version_is_the_packages(file: str) -> None:
    assert set(SAYS[file]((ROOT / file).read_text())) == {VERSION}


def test_the_page_lists_where_the_version_stands() -> None:
    page = (ROOT / "docs" / "releasing.md").read_text()

    assert re.findall(r"^\| `([\w./]+)`", page, re.MULTILINE) == list(SAYS)
