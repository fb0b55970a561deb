"""What the repository says about itself is so."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()

HEAVY = {"dask", "duckdb", "keras", "matplotlib", "openvino", "pandas", "pyarrow", "sklearn", "tensorflow"}
BUILDS_THE_NETWORK = "models.lstm"  # the one module that may import TensorFlow

LARGEST_FILE_BYTES = 1_000_000


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def commands_in(page: str) -> list[str]:
    """Return the lines of the page's console blocks that call make or tenfold."""
    blocks = re.findall(r"^```(?:console|bash|sh)\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ").removeprefix(".venv/bin/") for block in blocks for line in block.splitlines()]
    return sorted({line for line in lines if line.startswith(("make ", "tenfold "))})


COMMANDS = [*commands_in("README.md"), *commands_in("CONTRIBUTING.md")]


def target_of(command: str) -> str:
    return next(word for word in command.split()[1:] if "=" not in word)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make ")])
def test_the_pages_name_make_targets_that_exist(command: str) -> None:
    assert re.search(rf"^{re.escape(target_of(command))}:", MAKEFILE, re.MULTILINE), f"no such target: {command}"


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("tenfold ")])
def test_the_pages_name_commands_and_options_that_exist(command: str) -> None:
    words = command.partition("#")[0].split()[1:]
    first_option = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    tenfold = Path(sys.prefix) / "bin" / "tenfold"
    asked = subprocess.run([tenfold, *words[:first_option], "--help"], capture_output=True, text=True, check=False)

    assert asked.returncode == 0, f"{command}: {asked.stderr}"
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert options <= set(re.findall(r"--[a-z][a-z-]*", asked.stdout)), command


@pytest.mark.parametrize("target", ["demo", "test", "lint", "typecheck", "bench", "bench-short"])
def test_make_knows_the_targets_that_others_script(target: str) -> None:
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


def test_ci_calls_targets_that_exist() -> None:
    called = re.findall(r"^step make ([\w-]+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)

    assert called == ["lint", "typecheck", "test", "bench-short"]
    assert all(re.search(rf"^{target}:", MAKEFILE, re.MULTILINE) for target in called)


def modules_loaded_by(package: str) -> set[str]:
    """Return the top-level modules that are loaded when each module of the package is, apart from the network's."""
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__main__.py"
    } - {BUILDS_THE_NETWORK}
    program = f"import importlib, sys\nfor name in {sorted(names)}: importlib.import_module(name)\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr
    return {name.partition(".")[0] for name in loaded.stdout.split()}


def test_serving_imports_nothing_of_the_extras() -> None:
    assert modules_loaded_by("stream") & HEAVY == set()


def test_models_import_neither_the_extras_nor_kafka_nor_redis() -> None:
    assert modules_loaded_by("models") & (HEAVY | {"confluent_kafka", "redis"}) == set()


def test_the_version_is_the_changelogs_newest() -> None:
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert newest is not None
    assert newest[1] == PYPROJECT["project"]["version"]


def test_the_license_is_the_one_that_is_declared() -> None:
    assert PYPROJECT["project"]["license"] == "Apache-2.0"
    words = " ".join((ROOT / "LICENSE").read_text().split())
    assert words.startswith("Apache License Version 2.0, January 2004")
    assert "END OF TERMS AND CONDITIONS" in words


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    somebodys = re.compile(rb"(?<![\w.~}-])/(?:work|root|Users|home)/[\w.-]+|/tmp/boot")
    others = [path for path in tracked_files() if path != Path(__file__)]
    named = {path.relative_to(ROOT).as_posix(): somebodys.findall(path.read_bytes()) for path in others}

    assert {name: places for name, places in named.items() if places} == {}


def test_no_built_or_downloaded_file_is_tracked() -> None:
    built = {".class", ".jar", ".joblib", ".pickle", ".pkl", ".pyc", ".so", ".whl"}
    tracked = {path.relative_to(ROOT).as_posix(): path for path in tracked_files()}

    assert [name for name, path in tracked.items() if path.suffix in built] == []
    assert [name for name, path in tracked.items() if path.stat().st_size > LARGEST_FILE_BYTES] == []
