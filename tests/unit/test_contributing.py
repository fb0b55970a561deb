"""What a newcomer is told to do can be done: paths, targets, markers and the first change of the pages are there."""

import re
from pathlib import Path

import pytest

from models import features
from models.bundle import BundleError, load_bundle, starter
from tests.unit.test_repository import MAKEFILE, PYPROJECT, ROOT, tracked_files

PAGES = ("CONTRIBUTING.md", "docs/map.md", "docs/how-to/extend.md", "docs/releasing.md")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
NOT_IN_GIT = {"models/store"}
TRACKED = [path.relative_to(ROOT) for path in tracked_files()]
FOLDERS = {parent for path in TRACKED for parent in path.parents}


def code_of(page: str) -> list[str]:
    """Return what stands in backticks, outside of blocks."""
    without_blocks = re.sub(r"^ *```.*?^ *```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", without_blocks)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_files_and_folders_that_exist(page: str) -> None:
    tops = "|".join(sorted({re.escape(path.parts[0]) for path in TRACKED if len(path.parts) > 1}))
    named = {code for code in code_of(page) if re.fullmatch(rf"(?:{tops})/[\w./-]+", code)} - NOT_IN_GIT

    assert named
    assert {name for name in named if Path(name) not in {*TRACKED, *FOLDERS}} == set()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_make_targets_that_exist(page: str) -> None:
    targets = {code.split()[-1] for code in code_of(page) if re.fullmatch(r"make [\w-]+", code)}

    assert {target for target in targets if not re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)} == set()


def test_the_markers_are_those_of_the_project() -> None:
    table = CONTRIBUTING.partition("| marker |")[2].partition("\n\n")[0]
    markers = {marker.partition(":")[0] for marker in PYPROJECT["tool"]["pytest"]["ini_options"]["markers"]}

    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == markers


def test_each_folder_of_tests_is_listed() -> None:
    table = CONTRIBUTING.partition("| folder |")[2].partition("\n\n")[0]
    folders = {path.parent.as_posix() for path in TRACKED if path.parts[0] == "tests" and path.match("test_*.py")}

    assert set(re.findall(r"^\| `([\w/]+)`", table, re.MULTILINE)) == folders


@pytest.mark.parametrize("command", re.findall(r"^\.venv/bin/pytest (.*)$", CONTRIBUTING, re.MULTILINE))
def test_a_command_picks_tests_that_exist(command: str) -> None:
    for name in re.findall(r"tests/\S+", command):
        assert Path(name) in {*TRACKED, *FOLDERS}
    for file, word in re.findall(r"(tests/\S+\.py) -k (\w+)", command):
        assert re.search(rf"^def test_\w*{word}", (ROOT / file).read_text(), re.MULTILINE)
    if markers := re.search(r'-m "(.+?)"', command):
        declared = {marker.partition(":")[0] for marker in PYPROJECT["tool"]["pytest"]["ini_options"]["markers"]}
        assert set(markers[1].split()) - {"and", "or", "not"} <= declared


def test_the_first_change_is_refused_as_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    [begins] = re.findall(r"let `NIGHT_BEGINS` be (\d+)", CONTRIBUTING)
    assert "computes `is_night` differently" in CONTRIBUTING
    load_bundle(starter("default"))

    monkeypatch.setattr(features, "NIGHT_BEGINS", int(begins))
    with pytest.raises(BundleError, match="computes is_night differently"):
        load_bundle(starter("default"))
