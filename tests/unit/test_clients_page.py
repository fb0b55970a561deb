"""The page on clients shows the programs that are tested, and what pins their packages names no place to fetch from."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "docs" / "clients"
PAGE = (ROOT / "docs" / "how-to" / "clients.md").read_text()
PROGRAMS = ("python/payments.py", "java/Payments.java", "go/main.go", "node/payments.js")


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_page_shows_the_program_that_is_tested(program: str) -> None:
    shown = re.search(
        rf"^\[`{program}`\]\(\.\./clients/{program}\)\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
    )

    assert shown is not None
    assert shown[1] == (CLIENTS / program).read_text(), f"put docs/clients/{program} into the page as it is"


def test_what_pins_the_packages_names_no_registry() -> None:
    lock = json.loads((CLIENTS / "node" / "package-lock.json").read_text())
    wanted = json.loads((CLIENTS / "node" / "package.json").read_text())["dependencies"]

    assert lock["packages"][""]["dependencies"] == wanted
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
    assert all("integrity" in package for name, package in lock["packages"].items() if name)
    for pins in ("node/package-lock.json", "node/.npmrc", "go/go.mod", "go/go.sum"):
        assert "://" not in (CLIENTS / pins).read_text()
    assert "<repositor" not in (CLIENTS / "java" / "pom.xml").read_text()


def test_the_page_and_the_pins_name_the_same_versions() -> None:
    [version] = json.loads((CLIENTS / "node" / "package.json").read_text())["dependencies"].values()
    [needed] = re.findall(r'"(confluent-kafka>=[\d.]+)"', (ROOT / "pyproject.toml").read_text())

    assert f"| KafkaJS {version} |" in PAGE
    assert f"pip install '{needed}'" in PAGE
