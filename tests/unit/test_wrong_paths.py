"""A place that is not there, or holds something else, is one line that names it: nothing is done, and nothing made."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("duckdb", reason="needs the archive extra")

from models.bundle import starter

#: Commands that read an archive or mend it; each is also told of it by TENFOLD_ARCHIVE.
OF_AN_ARCHIVE = {
    "archive compact": "",
    "archive rotate-pseudonyms": "",
    "backtest": f"--model {starter('default')} --from 2026-01-01 --to 2026-02-01 --out scores.parquet",
    "evaluate": f"--model {starter('default')} --from 2026-01-01 --to 2026-02-01 --out report",
    "train": "",
    "profiles build": "",
    "profiles publish": "--force",
    "erase-user": "somebody",
    "explain": "t-1",
}
_NEEDS = {"evaluate": ("matplotlib", "jinja2", "sklearn"), "train": ("tensorflow", "matplotlib", "jinja2")}


def need(command: str) -> None:
    missing = [name for name in _NEEDS.get(command.split(maxsplit=1)[0], ()) if find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def tenfold(directory: Path, *words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    env = {name: value for name, value in os.environ.items() if not name.startswith("TENFOLD_")} | settings
    return subprocess.run(
        [sys.executable, "-m", "stream", *words],
        cwd=directory,
        env=env | {"PYTHONPATH": str(Path(__file__).parents[2]), "TENFOLD_PSEUDONYM_KEYS": "0a" * 32},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def the_one_line(ran: "subprocess.CompletedProcess[str]", code: int) -> str:
    assert (ran.returncode, ran.stdout) == (code, ""), ran.stderr
    [line] = ran.stderr.splitlines()
    return line


@pytest.mark.parametrize("command", OF_AN_ARCHIVE)
def test_a_place_without_an_archive_is_named_with_what_to_give(command: str, tmp_path: Path) -> None:
    need(command)
    (tmp_path / "empty" / "other-topic" / "date=2026-01-01").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    words = [*command.split(), *OF_AN_ARCHIVE[command].split()]
    absent = the_one_line(tenfold(tmp_path, *words, "--archive", "absent"), 2)
    empty = the_one_line(tenfold(tmp_path, *words, "--archive", "empty"), 2)

    assert "no archive at" in absent
    assert f"{tmp_path}/absent" in absent
    assert "no such directory" in absent
    assert f"{tmp_path}/empty" in empty
    assert "nothing of transactions" in empty
    assert "tenfold archive run" in absent
    assert "tenfold archive run" in empty
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        ("archive compact", 2, "--archive"),
        ("archive rotate-pseudonyms --archive archive --profiles gone", 2, "gone"),
        ("import file.csv --to file", 1, "file is a file"),
        ("import gone.csv --to archive", 1, "gone.csv cannot be read"),
        ("send --file gone.jsonl", 1, "gone.jsonl cannot be read"),
        ("train --data gone", 1, "gone"),
        ("backtest --model gone --from 2026-01-01 --to 2026-02-01 --out x.parquet --archive archive", 1, "gone"),
        ("evaluate --model gone --from 2026-01-01 --to 2026-02-01 --archive archive", 1, "gone"),
        (
            "evaluate --model MODEL --from 2026-01-01 --to 2026-02-01 --archive archive --out file",
            1,
            "file cannot be written",
        ),
        ("schema --out file", 1, "file cannot be written"),
    ],
)
def test_another_wrong_place_is_named(words: str, code: int, named: str, tmp_path: Path) -> None:
    need(words)
    (tmp_path / "file").write_text("something else")
    (tmp_path / "file.csv").write_text("transaction_id,user_id,amount,created_at\n")
    (tmp_path / "archive" / "transactions" / "date=2026-01-01").mkdir(parents=True)
    line = the_one_line(tenfold(tmp_path, *words.replace("MODEL", str(starter("default"))).split()), code)

    assert named in line
    assert (tmp_path / "file").read_text() == "something else"


@pytest.mark.parametrize(
    "words",
    [
        "train --data . --store file",
        "backtest --model x --from 2026-01-01 --to 2026-02-01 --out directory",
        "import file --to archive --reject directory",
    ],
)
def test_a_file_is_no_directory_and_a_directory_no_file(words: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("something else")
    (tmp_path / "directory").mkdir()
    ran = tenfold(tmp_path, *words.split(), TERM="dumb")

    assert ran.returncode == 2
    assert words.rsplit(maxsplit=1)[-1] in ran.stderr
