"""docker-compose.yml and what belongs to it say the same. That it works is shown in ``tests/docker``."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()


def test_the_example_of_env_has_each_variable_with_its_default() -> None:
    variables = re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE)
    example = re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)

    assert len(variables) == len(re.findall(r"(?<!\$)\$\{?\w", COMPOSE)), "a variable without a default"
    assert set(variables) == set(example)


def test_every_port_is_on_loopback() -> None:
    published = re.findall(r"^ +ports: \[(.*)\]$", COMPOSE, re.MULTILINE)

    assert len(published) >= 3
    assert all(re.fullmatch(r'"127\.0\.0\.1:\$\{\w+:-\d+\}:\d+"', port) for port in published)


def test_every_image_from_elsewhere_is_pinned() -> None:
    images = re.findall(r"^ +image: (?!tenfold/)(\S+)$", COMPOSE, re.MULTILINE)

    assert len(images) >= 5
    assert all(re.search(r":v?\d+\.\d+", image) for image in images), images


def test_the_broker_is_the_one_that_the_tests_run() -> None:
    [version] = re.findall(r"<kafka\.version>(.+)</kafka\.version>", (ROOT / "tests/kafka/pom.xml").read_text())

    assert f"image: apache/kafka:{version}\n" in COMPOSE
