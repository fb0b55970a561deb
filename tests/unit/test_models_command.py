"""``tenfold models``: the store from the command line, as text and as JSON."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from models.bundle import resolve_model, starter
from models.store import Store
from stream.cli import app, models_app
from stream.models_command import ModelsError
from tests.bundles import make_bundle

COMMANDS = ["list", "show", "verify", "diff", "promote", "rollback", "shadow", "retire"]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundles")
    make_bundle(root / "a", model_version="a")
    make_bundle(root / "b", model_version="b", threshold=0.25)
    return root


@pytest.fixture
def root(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a store of the bundles a and b, the one that the commands see; a is its champion."""
    shutil.copytree(bundles, tmp_path / "store")
    Store(tmp_path / "store").adopt_first("a")
    for name in list(os.environ):
        if name.startswith("TENFOLD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TENFOLD_MODEL_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def models(*words: str) -> Result:
    return CliRunner().invoke(app, ["models", *words])


def answer(*words: str) -> Any:
    ran = models(*words, "--json")
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    ran = models(command, "--help")

    assert ran.exit_code == 0
    assert f"tenfold models {command}" in ran.stdout.partition("Example:")[2]


def test_the_page_has_each_command() -> None:
    page = (Path(__file__).parents[2] / "docs/models.md").read_text()
    listed = re.findall(r"^\| `tenfold models (\w+)", page, re.MULTILINE)

    assert listed == COMMANDS == [command.name for command in models_app.registered_commands]


def test_the_help_of_promote_says_that_a_worse_one_is_refused() -> None:
    assert "not worse than the champion" in " ".join(models("promote", "--help").stdout.split())


def test_from_a_new_bundle_to_the_champion_and_back(root: Path) -> None:
    assert answer("shadow", "b")["after"] == "b"
    assert answer("promote", "b", "--reason", "better", "--force")["switch"]["before"] == "a"
    assert (root / "champion").read_text() == "b\n"
    assert answer("rollback", "--reason", "worse")["after"] == "a"
    assert answer("retire", "b") == {"version": "b", "kept": f"{root}/.retired/b"}

    told = answer("list")
    assert (told["champion"], told["challenger"], told["notices"]) == ("a", None, [])
    assert [row["version"] for row in told["versions"]] == ["a"]
    assert [(each["action"], each["pointer"], each["after"], each["reason"]) for each in told["history"]] == [
        ("train", "champion", "a", "the first of the store"),
        ("shadow", "challenger", "b", None),
        ("promote", "champion", "b", "better"),
        ("promote", "challenger", None, "better"),
        ("rollback", "champion", "a", "worse"),
    ]


def test_the_list_is_one_line_a_bundle_then_the_switches_then_what_does_not_fit(root: Path) -> None:
    (root / "b" / "spec.json").write_text("{", encoding="utf-8")
    (root / "champion").write_text("z\n", encoding="utf-8")
    first, second, switch, *notices = models("list").stdout.splitlines()

    assert first.split()[:4] == ["a", "2026-03-09", "baseline", "AUC"]
    assert second.startswith("b ")
    assert f"{root}/b/spec.json is not a spec of this release" in second
    assert switch.endswith("train: champion none -> a (the first of the store)")
    assert [notice[:5] for notice in notices] == ["NOTE ", "NOTE "]
    assert "written by hand" in notices[0]
    assert "no such bundle" in notices[1]


def test_an_empty_store_says_what_is_in_force(root: Path) -> None:
    shutil.rmtree(root)

    assert models("list").stdout.splitlines() == [
        f"no bundle in {root}: `tenfold train` writes one",
        "no champion: the starter is in force",
    ]
    assert answer("verify") == {}


def test_a_bundle_shows_its_spec_and_its_measures(root: Path) -> None:
    told = answer("show", "a")

    assert told["pointers"] == ["champion"]
    assert told["spec"]["threshold"] == 0.5
    assert told["metrics"] == {"auc": 0.5}
    assert f"directory              {root}/a" in models("show", "a").stdout


@pytest.mark.usefixtures("root")
def test_a_difference_names_what_differs_and_only_that() -> None:
    assert answer("diff", "a", "b") == {"threshold": {"a": 0.5, "b": 0.25}}
    assert models("diff", "b", "a").stdout.split() == ["threshold", "0.25", "->", "0.5"]
    assert models("diff", "a", "a").stdout == "no difference\n"


def test_verify_tells_of_each_bundle_and_exits_with_1_if_one_is_refused(root: Path) -> None:
    assert answer("verify") == {version: {"verified": True, "refused": None} for version in ("a", "b")}
    (root / "b" / "model.onnx").write_bytes(b"junk")
    ran = models("verify", "--json")

    assert ran.exit_code == 1
    told = json.loads(ran.stdout)
    assert told["a"]["verified"]
    assert "changed: model.onnx" in told["b"]["refused"]
    assert models("verify", "a").exit_code == 0
    assert models("verify", "b").stdout.startswith("b: REFUSED")


@pytest.mark.parametrize(
    "words",
    [
        ["promote", "a", "--reason", "why"],
        ["promote", "../a", "--reason", "why"],
        ["promote", "b", "--reason", ""],
        ["rollback", "--reason", "why"],
        ["shadow", "a"],
        ["shadow", "--off"],
        ["retire", "a"],
        ["show", "c"],
        ["diff", "a", "c"],
        ["verify", "c"],
    ],
)
def test_what_the_store_refuses_is_an_error_for_a_person(root: Path, words: list[str]) -> None:
    ran = models(*words)

    assert isinstance(ran.exception, ModelsError)
    assert (root / "champion").read_text() == "a\n"


@pytest.mark.parametrize("words", [["promote", "b"], ["rollback"], ["shadow"], ["shadow", "b", "--off"], ["retire"]])
def test_what_is_missing_from_a_command_exits_with_2(root: Path, words: list[str]) -> None:
    assert models(*words).exit_code == 2
    assert (root / "champion").read_text() == "a\n"


def test_a_refusal_is_one_line_and_exits_with_1_and_needs_no_training_library(root: Path) -> None:
    (root / "b" / "model.onnx").write_bytes(b"junk")
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'pandas', 'duckdb', 'pyarrow'): sys.modules[name] = None\n"
        "from stream.cli import main\nmain()"
    )
    command = [sys.executable, "-c", code, "models", "promote", "b", "--reason", "why"]
    ran = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=120, check=False)

    assert (ran.returncode, ran.stdout) == (1, "")
    [line] = ran.stderr.splitlines()
    assert line.startswith(f"tenfold: {root}/b is not the bundle that was written")


def test_a_url_is_refused_by_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_MODEL_STORE", "s3://models/store")

    assert "only local directories" in str(models("list").exception)


def test_a_store_that_never_had_a_champion_has_none_to_go_back_to(root: Path) -> None:
    for file in ("champion", "history.jsonl"):
        (root / file).unlink()

    refused = str(models("rollback", "--reason", "worse").exception)
    assert refused.endswith("has no champion before this one: there is none, and the starter is in force")


@pytest.mark.parametrize("copied", [False, True])
def test_from_the_first_champion_two_commands_lead_to_the_starter_and_a_rollback_back(root: Path, copied: bool) -> None:
    if copied:
        shutil.copytree(starter("default"), root / "starter-default")
    refused = str(models("rollback", "--reason", "worse").exception)
    *copying, promotion = re.findall(r"`([^`]*)`", refused)
    assert len(copying) == (not copied)
    for command in copying:
        subprocess.run(["sh", "-c", command], check=True)

    assert models(*shlex.split(promotion)[2:]).exit_code == 0
    assert resolve_model(None, root) == root / "starter-default"
    assert answer("rollback", "--reason", "not better")["after"] == "a"


@pytest.mark.parametrize("preset", ["default", "baseline"])
def test_a_starter_is_not_in_the_store_and_it_is_said_where_it_is(root: Path, preset: str) -> None:
    told = str(models("show", f"starter-{preset}").exception)

    assert f"starter-{preset} ships with Tenfold, in {starter(preset)} (" in told
    assert f"no copy of it in {root}" in told
    assert (starter(preset) / "card.md").is_file()
