"""``tenfold train --archive``: options, the steps, the bundle."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="needs the training extra")
pytest.importorskip("duckdb", reason="needs the training extra")
pytest.importorskip("tensorflow", reason="needs the training extra")

from typer.testing import CliRunner  # noqa: E402

from models.context import PRESET_CONTEXT  # noqa: E402
from stream.cli import app  # noqa: E402
from stream.errors import UsageError  # noqa: E402
from tests.archives import put, transactions  # noqa: E402
from tests.profile_archives import archive_past  # noqa: E402
from tests.profile_reference import random_past  # noqa: E402
from training import train_command  # noqa: E402
from training.archive import open_archive  # noqa: E402
from training.job import CHANCE, told_of  # noqa: E402
from training.train_command import TrainError, say_what_next, told_by  # noqa: E402


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--from", "yesterday"], "--from yesterday: give a day such as"),
        (["--label-delay", "week"], "--label-delay week: give whole days"),
        (["--timezone", "Europe"], "--timezone Europe: no such IANA zone"),
        (["--timezone", "../etc"], r"--timezone ../etc: no such IANA zone"),
        (["--timezone", "localtime"], "--timezone localtime: no such IANA zone"),
        (["--alert-budget", "1"], "an alert budget of 1: give a share of the payments"),
        (["--cost-of-missed", "0"], "a missed fraud that costs 0 reviews: give more than 0"),
    ],
)
def test_options_that_mean_nothing_are_said(options: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", "--archive", str(tmp_path), "--store", str(tmp_path / "s"), *options])
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)


@pytest.mark.parametrize(("given", "store"), [([], "models"), (["--store", "other"], "other")])
def test_a_bundle_goes_into_the_store_that_the_scorers_read(
    given: list[str], store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENFOLD_MODEL_STORE", "models")
    monkeypatch.setattr(train_command, "run_on_archive", lambda *_, **options: {"store": str(options["store"])})

    result = CliRunner().invoke(app, ["train", "--archive", "archive", "--json", *given])

    assert json.loads(result.stdout) == {"store": store}


def test_a_store_that_cannot_be_written_is_said_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "archive" / "transactions" / "date=2026-01-01").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    for name in ("transactions", "labels"):
        (tmp_path / "data" / f"{name}.parquet").write_bytes(b"not looked at")
    for source in (["--archive", str(tmp_path / "archive")], ["--data", str(tmp_path / "data")]):
        result = CliRunner().invoke(app, ["train", *source, "--store", str(tmp_path / "file" / "store")])
        assert isinstance(result.exception, TrainError)
        assert "file/store cannot be written: Not a directory; see --store" in str(result.exception)


def test_a_file_in_place_of_the_datas_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "transactions.parquet").touch()
    result = CliRunner().invoke(app, ["train", "--data", str(tmp_path / "transactions.parquet")])
    assert "transactions.parquet is a file: give the directory" in str(result.exception)


def test_days_that_the_archive_does_not_have_are_told_with_those_that_it_has(tmp_path: Path) -> None:
    put(open_archive(str(tmp_path / "archive")), transactions([0, 1]))
    options = ["--store", str(tmp_path / "store"), "--from", "2099-01-01"]
    result = CliRunner().invoke(app, ["train", "--archive", str(tmp_path / "archive"), *options])
    [name] = open_archive(str(tmp_path / "archive")).files("transactions")
    assert str(result.exception).endswith(
        f"holds no transaction from 2099-01-01 on: its files are of what arrived from {name.day} to {name.day}"
    )


def test_a_model_that_scores_for_long_tells_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    scored = np.zeros((30, 10, 2), np.float32)

    def predict(features: Any, *_: Any) -> Any:
        nonlocal now
        now += 2
        return features[:, 0, 0]

    telling = told_of(predict, 200, lambda: now)
    for _ in range(6):
        assert len(telling(scored, np.ones(30, np.int64), scored)) == 30
    assert capsys.readouterr().out.splitlines() == ["90 of 200 windows scored", "180 of 200 windows scored"]


def test_many_partitions_that_are_replayed_are_few_lines() -> None:
    now, said = 0.0, list[str]()
    tell = told_by(said.append, lambda: now)
    for _ in range(12):
        now += 1
        tell(1)

    assert said == ["Replayed 5 partitions", "Replayed 10 partitions"]


def test_the_command_that_makes_a_bundle_champion_is_told_where_there_is_one_already(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is typed as it is told: the options are there, and a store with a space in its path is one word."""
    root = tmp_path / "my store"
    root.mkdir()
    say_what_next(root / "first", "time")
    (root / "champion").write_text("first\n")
    for name, split in (("first", "time"), ("rows", "rows"), ("second", "time")):
        say_what_next(root / name, split)
    say_what_next(root / "second", "time", "/srv/my archive")
    promote = f"TENFOLD_MODEL_STORE='{root}' tenfold models promote"
    assert capsys.readouterr().out.splitlines() == [
        f"To make it champion: {promote} first --reason WHY",
        f"To make it champion, compared with nothing: {promote} second --reason WHY --force",
        "To compare it first, with an archive: --archive DIR|URL in place of --force",
        f"To make it champion, if it is not worse: {promote} second --reason WHY --archive '/srv/my archive'",
    ]


def test_data_or_an_archive_but_not_both(tmp_path: Path) -> None:
    for options in ([], ["--data", str(tmp_path), "--archive", str(tmp_path)]):
        assert CliRunner().invoke(app, ["train", *options]).exit_code == 2


@pytest.mark.training
def test_an_archive_becomes_a_bundle_that_says_what_it_was_made_of(tmp_path: Path) -> None:
    from models.bundle import load_bundle  # noqa: PLC0415

    past = random_past(1, "UTC", 7, date(2026, 2, 20), 45, 1500)
    archive_past(past, open_archive(str(tmp_path / "archive")))
    store = tmp_path / "store"
    arguments = ["--archive", str(tmp_path / "archive"), "--store", str(store), "--to", "2026-04-01", "--honest", "1"]
    few = ["--epochs", "1", "--batch-size", "256", "--validation-days", "5", "--test-days", "6", "--json"]

    result = CliRunner().invoke(app, ["train", *arguments, *few, "--timezone", "Europe/Paris", "--cost-of-missed", "5"])

    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    bundle = load_bundle(Path(told["bundle"])).bundle
    assert bundle.metrics["days"] == told["days"]
    assert told["days"]["test"] == ["2026-03-26", "2026-03-31"]
    assert told["archive"]["transactions"] == len({payment.transaction for payment in past.payments})
    assert bundle.metrics["n"] > 100
    assert bundle.metrics["profile_days"] == told["profile_days"]
    assert f"{told['profile_days']['by_rule']:,} have no such score, and get those of the day that" in result.stderr
    assert bundle.spec.context == PRESET_CONTEXT["default"]
    assert (bundle.spec.zone, bundle.spec.label_delay_days) == ("Europe/Paris", 7)
    assert bundle.spec.threshold_rule is not None
    assert "a missed fraud as much as 5 reviews" in bundle.spec.threshold_rule
    card = (bundle.directory / "card.md").read_text()
    assert bundle.spec.threshold_rule in card
    assert f"| {told['metrics']['auc']:.3f} |" in card
    for measured in ("By week", "Beside gradient boosting on the same features", "What it looks at"):
        assert f"### {measured}" in card
    assert "Of the training windows that are no fraud one in" in card
    assert "`merchant_fraud_rate_7d`" in card
    first = {"champion", "history.jsonl", "lock"} if told["metrics"]["auc"] > CHANCE else set()
    assert {path.name for path in store.iterdir()} == {bundle.directory.name} | first
