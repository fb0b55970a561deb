"""The map has every module, says of it what it says of itself, and leads to what is there."""

import ast
import re
from pathlib import Path

import pytest

from tests.unit.test_repository import tracked_files

ROOT = Path(__file__).parents[2]
PACKAGES = ("models", "stream", "training")
MAP = (ROOT / "docs" / "map.md").read_text()


def modules(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / package).rglob("*.py") if not path.stem.startswith("__"))


def row(module: Path) -> str:
    """Return the module's line in the map: its docstring up to the first empty line, as Markdown."""
    first = (ast.get_docstring(ast.parse(module.read_text())) or "").partition("\n\n")[0]
    plain = re.sub(r":\w+:`([^`]+)`", r"`\1`", " ".join(first.split())).replace("``", "`").replace("|", r"\|")
    return f"| `{module.relative_to(ROOT).as_posix()}` | {plain.rstrip('.:')}. |"


def imported(module: Path) -> set[str]:
    """Return the top-level packages that a module imports, at its head or when it runs."""
    nodes = list(ast.walk(ast.parse(module.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_map_has_each_module_once_as_it_describes_itself(package: str) -> None:
    listed = [line for line in MAP.splitlines() if line.startswith(f"| `{package}/")]
    expected = [row(module) for module in modules(package)]

    assert [line for line in expected if line not in listed] == [], "docs/map.md lacks these"
    assert [line for line in listed if line not in expected] == [], "docs/map.md has these, and they are gone"
    assert len(listed) == len(expected)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_module_is_listed_under_its_package(package: str) -> None:
    section = MAP.partition(f"\n## {package}\n")[2].partition("\n## ")[0]

    assert all(row(module) in section for module in modules(package))


def test_the_map_has_each_folder() -> None:
    tracked = [path.relative_to(ROOT) for path in tracked_files()]
    listed = re.findall(r"^\| (?:\[|`)([\w.]+)", MAP.partition("\n## ")[0], re.MULTILINE)

    assert sorted(listed) == sorted({path.parts[0] for path in tracked if len(path.parts) > 1})


def test_models_import_nothing_of_the_scorer_or_the_trainer() -> None:
    found = {module.name: imported(module) & {"stream", "training"} for module in modules("models")}

    assert {name: packages for name, packages in found.items() if packages} == {}
