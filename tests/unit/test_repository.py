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

LARGEST_FILE_BYTES = 1_000_000


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize(
    "target", ["demo", "kafka", "docs", "test", "readme-test", "lint", "typecheck", "bench", "bench-short"]
)
def test_make_knows_the_targets_that_others_script(target: str) -> None:
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


def test_kafka_comes_up_beside_the_demo_without_installing_anything() -> None:
    needed = dict(re.findall(r"^(demo|kafka): (\S+)", MAKEFILE, re.MULTILINE))
    [installs] = re.findall(rf"^{re.escape(needed['demo'])}:.*\n\t(.*)$", MAKEFILE, re.MULTILINE)

    assert needed["kafka"] == needed["demo"]
    assert installs.split()[-4:] == ["--extra", "demo", "--group", "kafka"]


def test_ci_calls_targets_that_exist() -> None:
    called = re.findall(r"^step make ([\w-]+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)

    assert called == ["lint", "typecheck", "docs", "test", "readme-test", "bench-short"]
    assert all(re.search(rf"^{target}:", MAKEFILE, re.MULTILINE) for target in called)


def modules_loaded_by(package: str) -> set[str]:
    """Return the top-level modules that are loaded when each module of the package is."""
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__main__.py"
    }
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
