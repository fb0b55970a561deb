"""The commands answer with one clear line and the exit code that scripts go by."""

import json
import os
import shlex
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from models.bundle import starter
from stream.cli import app
from stream.settings import Settings


def tenfold(*words: str, without: tuple[str, ...] = (), **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a command; the modules named in ``without`` are as good as not installed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("TENFOLD_")} | settings
    program = f"import sys\nfor name in {without}: sys.modules[name] = None\nfrom stream.cli import main\nmain()"
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, env=env | {"TERM": "dumb"}, capture_output=True, text=True, timeout=120, check=False)


def the_one_line(ran: "subprocess.CompletedProcess[str]") -> str:
    assert ran.stdout == ""
    [line] = ran.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("demo --events 5", "--events"),
        ("demo --rate fast", "--rate"),
        ("watch --limit 0", "--limit"),
        ("simulate --users 5 --days 0 --to data", "--days"),
        ("simulate --users 5 --days 1", "--to"),
        ("train --data . --preset best", "--preset"),
        ("topics create --partitions 0", "--partitions"),
        ("scores", "scores"),
    ],
)
def test_a_wrong_option_is_named_and_exits_with_2(words: str, named: str) -> None:
    ran = CliRunner().invoke(app, words.split())

    assert ran.exit_code == 2
    assert named in ran.stderr


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("explain {}", "TRANSACTION_ID"),
        ("watch --user {}", "--user"),
        ("suppress user {} --until 7d --reason why", "ID"),
        ("suppress lift merchant {} --reason why", "ID"),
    ],
)
def test_an_id_that_is_not_utf8_is_named_and_exits_with_2(words: str, named: str) -> None:
    ran = tenfold(*words.format("caf\udce9").split())  # as a shell gives Latin-1 to Python

    assert (ran.returncode, ran.stdout) == (2, "")
    assert f"'{named}'" in ran.stderr
    assert "is not UTF-8" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("command", ["score", "watch"])
def test_an_unknown_setting_is_named_and_exits_with_2(command: str) -> None:
    ran = tenfold(*command.split(), TENFOLD_BOOTSTRAP_SERVER="here:9092")

    assert ran.returncode == 2
    assert "did you mean TENFOLD_BOOTSTRAP_SERVERS?" in the_one_line(ran)


@pytest.mark.parametrize("command", ["score", "profiles build --archive ."])
def test_a_model_that_is_not_there_is_named_with_where_it_was_named(command: str, tmp_path: Path) -> None:
    ran = tenfold(*command.split(), TENFOLD_MODEL=str(tmp_path / "gone"))

    assert ran.returncode == 1
    line = the_one_line(ran)
    assert f"TENFOLD_MODEL names {tmp_path / 'gone'}, and there is no such directory" in line
    assert "unset it" in line


def test_a_bundle_that_was_changed_is_refused(tmp_path: Path) -> None:
    for file in starter("baseline").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"something else")
    ran = tenfold("score", TENFOLD_MODEL=str(tmp_path))

    assert ran.returncode == 1
    assert "model.onnx" in the_one_line(ran)


def test_redis_that_is_away_is_named_with_what_to_do() -> None:
    ran = tenfold("score", TENFOLD_REDIS_URL="redis://user:secret@127.0.0.1:1/0")

    assert ran.returncode == 1
    line = the_one_line(ran)
    assert "TENFOLD_REDIS_URL" in line
    assert "secret" not in line


def test_simulated_files_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    asked = ["simulate", "--users", "30", "--days", "20", "--seed", "3", "--json", "--to"]
    ran, again = tenfold(*asked, str(tmp_path / "a")), tenfold(*asked, str(tmp_path / "b"))

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == again.stdout
    written = json.loads(ran.stdout)
    assert 0 < written["frauds"] < written["transactions"]
    for name in ("transactions.parquet", "labels.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("simulate --users 3 --days 2 --rate 5 --to data", "--rate"),
        ("archive compact", "--archive"),
        ("archive run", "--archive"),
        ("backtest --model m --from 2026-01-01 --to 2026-02-01 --out s", "--archive"),
        ("erase-user 4711", "--archive"),
        ("profiles build", "--archive"),
        ("profiles build --archive . --as-of today", "--as-of"),
        ("monitor --to . --label-delays none", "--label-delays"),
        ("import a.csv --to . --map user_id", "--map"),
        ("import a.csv --to . --label-delay week", "--label-delay"),
        ("send user_id=anna amuont=1", "amuont"),
        ("suppress user anna --until never --reason x", "--until"),
        ("reset --to-datetime noon", "--to-datetime"),
    ],
)
def test_what_means_nothing_where_it_stands_is_named_and_exits_with_2(words: str, named: str) -> None:
    pytest.importorskip("duckdb", reason="needs the archive extra")
    ran = tenfold(*words.split())

    assert ran.returncode == 2, ran.stderr
    assert named in the_one_line(ran)


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "file").write_text("in the way")
    ran = tenfold("simulate", "--users", "3", "--days", "2", "--to", str(tmp_path / "file"))

    assert ran.returncode == 1
    assert "cannot be written" in the_one_line(ran)


@pytest.mark.parametrize(
    ("words", "missing", "extra"),
    [
        ("simulate --users 3 --days 2 --to data", "pyarrow", ".[archive]"),
        ("train --data data", "tensorflow", ".[training]"),
        ("train --data data", "pandas", ".[training]"),
    ],
)
def test_a_missing_extra_is_named(words: str, missing: str, extra: str) -> None:
    ran = tenfold(*words.split(), without=(missing,))

    assert ran.returncode == 1
    line = the_one_line(ran)
    assert missing in line
    assert f"pip install '{extra}' in the checkout" in line


@pytest.mark.training
@pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs the training extra")
def test_training_without_data_is_one_line(tmp_path: Path) -> None:
    ran = tenfold("train", "--data", str(tmp_path), "--store", str(tmp_path / "store"))

    assert ran.returncode == 1
    line = the_one_line(ran)
    assert "transactions.parquet" in line
    assert str(tmp_path) in line


@pytest.mark.training
@pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs the training extra")
def test_what_is_wrong_with_the_data_is_said_before_tensorflow_is_imported(tmp_path: Path) -> None:
    tenfold("simulate", "--users", "3", "--days", "2", "--to", str(tmp_path))
    program = (
        "import sys\nfrom stream.cli import main\n"
        "try: main()\nfinally: print(*{'tensorflow', 'sklearn', 'matplotlib'} & set(sys.modules))"
    )
    words = ["train", "--data", str(tmp_path), "--store", str(tmp_path / "store")]
    ran = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)

    assert ran.returncode == 1
    assert ran.stderr.startswith("tenfold: too little history")
    assert ran.stdout.splitlines()[-1] == ""


@pytest.mark.training
@pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs the training extra")
def test_a_training_tells_its_steps_and_tensorflow_nothing(tmp_path: Path) -> None:
    tenfold("simulate", "--users", "150", "--days", "40", "--to", str(tmp_path))
    program = (
        "import sys\nfrom pathlib import Path\nfrom training.train_lstm_model import train\n"
        "train(Path(sys.argv[1]), epochs=1, batch_size=512, store=Path(sys.argv[1]) / 'store', h5=None)"
    )
    env = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    words = [sys.executable, "-c", program, str(tmp_path)]
    ran = subprocess.run(words, env=env, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    assert "Test AUC: " in ran.stdout
    assert "Layer (type)" not in ran.stdout, "Keras' box of layers"


@pytest.mark.training
def test_the_commands_defaults_are_the_training_jobs() -> None:
    pytest.importorskip("tensorflow")
    import inspect  # noqa: PLC0415

    from stream.commands.learning import train as command  # noqa: PLC0415
    from training.train_lstm_model import train  # noqa: PLC0415

    offered, job = inspect.signature(command).parameters, inspect.signature(train).parameters
    shared = {"preset", "epochs", "batch_size", "seed"}
    assert {name: offered[name].default for name in shared} == {name: job[name].default for name in shared}
    assert job["store"].default == Settings.model_fields["model_store"].default


def commands_of(group: Any, *before: str) -> dict[str, Any]:
    """Return every command by the words that run it."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= commands_of(command, *before, name)
        else:
            found[" ".join([*before, name])] = command
    return found


EVERY = commands_of(get_command(app))

LONGER = {"train", "import", "models promote"}  # than a screen

#: These run until they are stopped, or print a document that is JSON, or a script.
WITHOUT_JSON = {"score", "monitor", "archive run", "profiles run", "schema", "completion"}


@pytest.mark.parametrize("words", sorted(EVERY))
def test_every_command_has_an_example_of_its_own_options(words: str) -> None:
    shown = CliRunner().invoke(app, [*words.split(), "--help"])
    example = (EVERY[words].help or "").partition("Example: ")[2].strip()
    asked = shlex.split(example.partition(f"tenfold {words}")[2])

    assert shown.exit_code == 0
    assert "Example:" in shown.stdout
    assert f"tenfold {words}" in example
    known = {option for parameter in EVERY[words].params for option in parameter.opts}
    assert {word for word in asked if word.startswith("--")} <= known


@pytest.mark.parametrize("words", sorted(EVERY))
def test_help_has_words_for_what_an_option_takes_and_fits_a_screen_of_80_columns(words: str) -> None:
    shown = CliRunner().invoke(app, [*words.split(), "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}).stdout
    lines = shown.splitlines()

    assert max(map(len, lines)) <= 80
    assert len(lines) < 24 or words in LONGER
    assert [word for word in ("<", "{", "x>=", "<=x", " range", "INTEGER", "TEXT", "PATH") if word in shown] == []
    told = " ".join(shown.split())
    for each in EVERY[words].params:
        assert each.hidden or " ".join((each.help or "").split()) in told


def test_help_tells_what_is_taken_what_is_the_default_and_the_least() -> None:
    shown = CliRunner().invoke(app, ["topics", "create", "--help"]).stdout

    assert "--partitions N" in shown
    assert "--keep-days DAYS" in shown
    assert "Partitions of each topic.  [default: 12; 1 or more]" in shown
    assert "How long Kafka keeps records.  [default: the broker's]" in shown
    assert "[0 to 1]" in CliRunner().invoke(app, ["watch", "--help"]).stdout


@pytest.mark.parametrize("group", ["archive", "models", "profiles", "suppress", "topics"])
def test_commands_below_a_word_are_told_by_whole_sentences(group: str) -> None:
    shown = CliRunner().invoke(app, [group, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}).stdout
    told = " ".join(shown.split())

    for words, command in EVERY.items():
        if words.startswith(f"{group} "):
            assert f"{words.split()[-1]} {command.help.partition(chr(10))[0]}" in told


@pytest.mark.parametrize("words", sorted(EVERY))
def test_what_prints_a_result_prints_it_as_json_too(words: str) -> None:
    options = {option for parameter in EVERY[words].params for option in parameter.opts}

    assert ("--json" in options) != (words in WITHOUT_JSON)


def test_the_help_fits_a_screen_of_80_columns_and_24_lines_with_every_command_under_a_task() -> None:
    ran = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    lines = ran.stdout.splitlines()
    shown = [name for line in lines for name in line[7:24].strip().split(", ") if line[24:].strip()]

    assert ran.exit_code == 0
    assert len(lines) < 24  # and the prompt
    assert max(map(len, lines)) <= 80
    assert set(get_command(app).commands) <= set(shown)  # type: ignore[attr-defined]
    assert [line[:7].strip() for line in lines if line[:7].strip()][1:-1] == ["Score", "Look", "Learn"]
    assert "docs/operations.md" in lines[-1]
    assert CliRunner().invoke(app, []).stdout == ran.stdout


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("scroe", "score"),
        ("models lst", "list"),
        ("model list", "models"),
        ("erase 4711", "erase-user"),
        ("rollback", "models rollback"),
        ("compact", "archive compact"),
        ("send --lables", "--labels"),
        ("train --prest default", "--preset"),
        ("train --data . --preset defualt", "default"),
        ("suppress lift usr anna --reason x", "user"),
        ("completion zhs", "zsh"),
        ("watch --evnets", ""),
    ],
)
def test_a_mistyped_word_is_named_with_what_is_close(words: str, hint: str) -> None:
    ran = CliRunner().invoke(app, words.split())

    assert ran.exit_code == 2
    assert hint in ran.stderr


def test_help_of_a_command_can_be_asked_for_as_of_git_and_docker() -> None:
    asked = [CliRunner().invoke(app, words.split()) for words in ("help", "help watch", "watch --help")]

    assert [ran.exit_code for ran in asked] == [0, 0, 0]
    assert asked[0].stdout == CliRunner().invoke(app, ["--help"]).stdout
    assert asked[1].stdout == asked[2].stdout


def test_the_version_is_that_of_the_package() -> None:
    ran = CliRunner().invoke(app, ["--version"])

    assert (ran.exit_code, ran.stdout) == (0, f"tenfold {version('tenfold')}\n")
