"""What the images promise to whoever runs them elsewhere."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from textwrap import dedent

import pytest

from tests.docker.conftest import SAID
from tests.docker.stack import docker, shell
from tests.pages import ROOT, the_block

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

LARGEST_SERVING_BYTES = 450_000_000  # on top of the base image

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
[BASE] = set(re.findall(r"^FROM (python:\S+)", DOCKERFILE, re.MULTILINE))

VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

TARGETS = ["serving", "archive", "training"]


def size_of(image: str) -> int:
    return int(docker("image", "inspect", "--format", "{{.Size}}", image))


def config_of(image: str) -> dict[str, object]:
    config: dict[str, object] = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image))
    return config


def installed_in(image: str, modules: list[str]) -> list[str]:
    """Return which of the modules the image has, asked as it runs: without rights, without a place to write to."""
    program = f"from importlib.util import find_spec; print(*[name for name in {modules} if find_spec(name)])"
    confined = ["--rm", "--read-only", "--network", "none", "--cap-drop", "ALL"]
    return docker("run", *confined, "--entrypoint", "python", image, "-c", program).split()


def test_serving_is_small(images: dict[str, str]) -> None:
    assert size_of(images["serving"]) - size_of(BASE) <= LARGEST_SERVING_BYTES


def test_each_image_has_what_its_commands_import_and_no_more(all_images: dict[str, str]) -> None:
    asked = ["onnxruntime", "duckdb", "pyarrow", "tensorflow", "pandas", "pytest"]

    assert installed_in(all_images["serving"], asked) == asked[:1]
    assert installed_in(all_images["archive"], asked) == asked[:3]
    assert installed_in(all_images["training"], asked) == asked[:5]


@pytest.mark.parametrize("target", TARGETS)
def test_what_runs_is_the_command_itself_as_nobody_in_particular(all_images: dict[str, str], target: str) -> None:
    config = config_of(all_images[target])

    assert config["Entrypoint"] == ["tenfold"]  # no shell in between: SIGTERM arrives
    assert config["StopSignal"] == "SIGTERM"
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", str(config["User"]))  # by number: Kubernetes can see that it is not root
    assert ("/healthz" in str(config["Healthcheck"])) == (target != "training")  # a training ends, and answers nothing


@pytest.mark.parametrize("target", TARGETS)
def test_labels_say_what_it_is_and_where_it_is_from(all_images: dict[str, str], target: str) -> None:
    labels = config_of(all_images[target])["Labels"]

    assert isinstance(labels, dict)
    assert labels["org.opencontainers.image.version"] == VERSION
    assert {name: labels[f"org.opencontainers.image.{name.lower()}"] for name in SAID} == SAID
    assert {"title", "description", "licenses"} <= {name.rpartition(".")[2] for name in labels}


@pytest.mark.usefixtures("images")
def test_the_build_of_the_page_says_where_its_source_is_and_when_it_was_made(tmp_path: Path) -> None:
    block, name = the_block("docs/compose.md", "--build-arg SOURCE"), "tenfold/serving:test-labelled"
    shell(f"git clone --quiet --no-checkout '{ROOT}' '{tmp_path}'")
    clone = {"GIT_DIR": str(tmp_path / ".git")}  # which has an origin, as not every checkout has
    shell(block.script.replace("-t tenfold/serving", f"-t {name}"), **clone)
    labels = config_of(name)["Labels"]
    docker("image", "rm", name)

    asked = {
        "source": "git remote get-url origin",
        "revision": "git rev-parse HEAD",
        "created": "git log -1 --format=%cI",
    }
    assert isinstance(labels, dict)
    for label, question in asked.items():
        assert labels[f"org.opencontainers.image.{label}"] == shell(question, **clone).strip()


@pytest.mark.usefixtures("images")
def test_the_base_can_be_pinned_as_the_page_says() -> None:
    block, name = the_block("docs/compose.md", "sed 's"), "tenfold/serving:test-pinned"
    pinned = shell(block.script.partition(" | ")[0].replace("…", "0" * 64))

    assert pinned == DOCKERFILE.replace(f"FROM {BASE}", f"FROM {BASE}@sha256:{'0' * 64}")
    assert pinned.count("@sha256:") == DOCKERFILE.count(f"FROM {BASE}") >= 2
    # what was built here has no digest: the rest of the line is tried without one, and builds what is there already
    said = " ".join(f"--build-arg {argument}={value}" for argument, value in SAID.items())
    shell(block.script.replace("@sha256:…", "").replace("-t tenfold/serving", f"-t {name} {said}"))
    docker("image", "rm", name)


@pytest.fixture(scope="module")
def listed() -> dict[str, set[tuple[str, str]]]:
    """What ``make sbom`` says that each image is made of: names and versions."""
    subprocess.run(["make", "sbom"], cwd=ROOT, capture_output=True, check=True)
    lists = {target: json.loads((ROOT / "dist" / f"{target}.cdx.json").read_text()) for target in TARGETS}
    return {target: {(part["name"], part["version"]) for part in each["components"]} for target, each in lists.items()}


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_installed_is_what_the_list_of_packages_says(
    all_images: dict[str, str], listed: dict[str, set[tuple[str, str]]], target: str
) -> None:
    program = """
        import re
        from importlib.metadata import distributions
        for each in distributions(path=["/opt/tenfold/lib/python3.11/site-packages"]):
            print(re.sub("[-_.]+", "-", each.name).lower(), each.version)
    """
    printed = docker("run", "--rm", "--entrypoint", "python", all_images[target], "-c", dedent(program))
    installed = {(name, version) for name, version in (line.split() for line in printed.splitlines())}

    assert len(installed) >= 10
    assert installed - listed[target] == {("tenfold", VERSION)}  # itself


def test_serving_loads_its_model_without_a_place_to_write_to(images: dict[str, str]) -> None:
    program = "from models.bundle import load_bundle, starter; print(load_bundle(starter('default')).spec.preset)"
    printed = docker("run", "--rm", "--read-only", "--entrypoint", "python", images["serving"], "-c", program)

    assert printed.strip() == "default"
