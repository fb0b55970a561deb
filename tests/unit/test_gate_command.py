"""The gate before ``tenfold models promote``: which days, whose figures, what is kept, what does not pass."""

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("duckdb", reason="needs the training extra")
pytest.importorskip("matplotlib", reason="needs the training extra")

from click.testing import Result
from typer.testing import CliRunner

from models.bundle import Bundle, starter
from models.checksums import write_sums
from models.decisions import Decision
from models.store import Store, StoreError
from models.switches import HistoryError
from stream.cli import app
from stream.errors import TenfoldError
from stream.settings import load
from tests.bundles import bundle_spec, make_bundle
from tests.simulated_archive import TOPICS, put_simulated
from tests.wanted import NOW_MS
from training.archive import open_archive
from training.gate_command import held_out, promote_if_better

pytestmark = pytest.mark.timeout(900)

FIRST, DAYS = date(2025, 1, 1), 40  # of the simulated payments


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = str(tmp_path_factory.mktemp("archive"))
    put_simulated(open_archive(url), users=800, days=DAYS, partitions=2)
    return url


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return good, a starter, its twin, and bad, of random weights; all have learned until January 10."""
    root = tmp_path_factory.mktemp("bundles")
    for version in ("good", "twin"):
        shutil.copytree(starter("baseline"), root / version)
        rewrite(root / version, "spec.json", model_version=version)
    make_bundle(root / "bad", "default", model_version="bad")
    for version in ("good", "twin", "bad"):
        rewrite(root / version, "metrics.json", days={"test": ["2025-01-10", "2025-01-20"]})
    return root


@pytest.fixture
def root(bundles: Path, archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a store whose champion is good; the commands see it and the archive."""
    shutil.copytree(bundles, tmp_path / "store")
    Store(tmp_path / "store").adopt_first("good")
    for name in list(os.environ):
        if name.startswith("TENFOLD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TENFOLD_MODEL_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("TENFOLD_ARCHIVE", archive)
    return tmp_path / "store"


def rewrite(directory: Path, file: str, **changes: Any) -> None:
    path = directory / file
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes), encoding="utf-8")
    write_sums(directory)


def models(*words: str) -> Result:
    return CliRunner().invoke(app, ["models", *words])


def promote(version: str, *words: str) -> Any:
    ran = models("promote", version, "--reason", "why", *words, "--json")
    assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
    return json.loads(ran.stdout) | {"exit_code": ran.exit_code}


def test_a_twin_passes_without_being_better_and_the_decision_is_kept_and_shown(root: Path) -> None:
    told = promote("twin")

    assert (told["exit_code"], told["switch"]["after"], told["decision"]["outcome"]) == (0, "twin", "passed")
    measures = told["decision"]["comparison"]["measures"]
    assert {(each["finding"], each["gain"]) for each in measures.values()} == {("not worse", 0)}
    assert (root / "champion").read_text() == "twin\n"
    for words in (["list"], ["show", "twin"], ["show", "good"], ["diff", "good", "twin"]):
        assert json.loads(models(*words, "--json").stdout)["decisions"] == [told["decision"]]
        assert "gate: twin: not worse than good (why)" in models(*words).stdout
    assert json.loads(models("show", "bad", "--json").stdout)["decisions"] == []
    assert "decisions" not in json.loads(models("diff", "good", "bad", "--json").stdout)
    assert "average precision" in models("show", "good").stdout
    assert not [path for path in root.iterdir() if path.name.startswith(".")], "no column is left"


def test_the_figures_are_those_of_an_evaluation_of_the_same_days(root: Path, archive: str) -> None:
    rewrite(root / "good", "metrics.json", days={"test": ["2025-02-03", "2025-02-05"]})
    ran = models("promote", "bad", "--reason", "why", "--json")
    comparison = json.loads(ran.stdout)["decision"]["comparison"]
    assert comparison["first_day"] == "2025-02-03"
    assert f"comparing good with bad on 2025-02-03 to {comparison['last_day']}" in ran.stderr
    until = date.fromisoformat(comparison["last_day"]) + timedelta(days=1)
    days = ["--archive", archive, "--from", comparison["first_day"], "--to", until.isoformat(), "--json"]

    for version, role in (("good", "champion"), ("bad", "challenger")):
        evaluated = json.loads(CliRunner().invoke(app, ["evaluate", "--model", str(root / version), *days]).stdout)
        measures = {name: each[role] for name, each in comparison["measures"].items()}
        # the gate looks at whole probabilities, an evaluation at published ones: ties may differ
        assert measures["average_precision"] == pytest.approx(evaluated["protocol_average_precision"], rel=1e-4)
        assert measures["card_precision_at_100"] == pytest.approx(evaluated["card_precision_at_100"])
        assert (comparison["payments"], comparison["frauds"]) == (evaluated["protocol_n"], evaluated["protocol_frauds"])


def test_a_worse_one_is_refused_which_is_kept_and_goes_past_the_gate_by_force_only(root: Path) -> None:
    ran = models("promote", "bad", "--reason", "looks fine")

    assert ran.exit_code == 1
    assert "gate: bad: REFUSED against good (looks fine)" in ran.stdout
    assert re.search(r"average precision .* -> .* gain -.*: worse", ran.stdout)
    assert "nothing was switched" in ran.stdout
    assert (root / "champion").read_text() == "good\n"

    told = promote("bad", "--force")

    assert (told["exit_code"], told["decision"]["outcome"], told["decision"]["comparison"]) == (0, "forced", None)
    assert (root / "champion").read_text() == "bad\n"

    told = promote("good")

    assert (told["exit_code"], told["decision"]["outcome"]) == (0, "passed")
    assert told["decision"]["comparison"]["measures"]["average_precision"]["finding"] == "better"
    kept = [(each.challenger, each.champion, each.outcome) for each in Store(root).decisions()]
    assert kept == [("bad", "good", "refused"), ("bad", "good", "forced"), ("good", "bad", "passed")]


def test_without_a_champion_there_is_nothing_to_compare_with(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "champion").unlink()
    monkeypatch.delenv("TENFOLD_ARCHIVE")

    assert promote("bad")["decision"]["outcome"] == "no champion"


def test_what_cannot_be_compared_is_refused_with_the_way_out(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refusal(*words: str, exit_code: int = 1) -> str:
        ran = models("promote", "twin", "--reason", "why", *words)
        assert isinstance(ran.exception, TenfoldError)
        assert ran.exception.exit_code == exit_code
        assert str(ran.exception).endswith("to promote it uncompared: --force, with the reason why")
        return str(ran.exception)

    assert f"there is no archive at {tmp_path}" in refusal("--archive", str(tmp_path), exit_code=2)
    rewrite(root / "good", "metrics.json", days={"test": ["2025-04-01", "2025-04-07"]})
    assert "no transaction since 2025-03-31" in refusal()
    rewrite(root / "good", "metrics.json", days={"test": ["2025-02-10", "2025-02-20"]})
    assert "no day is left to compare twin with good: until 2025-02-09 one of them has learned" in refusal()
    rewrite(root / "twin", "metrics.json", days=None)
    rewrite(root / "twin", "spec.json", trained_to=None)
    assert "twin does not say until when it was trained" in refusal()
    monkeypatch.delenv("TENFOLD_ARCHIVE")
    assert "which archive? Give --archive, or set TENFOLD_ARCHIVE" in refusal(exit_code=2)
    (root / "good" / "model.onnx").write_bytes(b"junk")
    monkeypatch.setenv("TENFOLD_ARCHIVE", str(tmp_path))
    assert "good is not the bundle that was written" in refusal()
    assert Store(root).decisions() == []
    assert (root / "champion").read_text() == "good\n"


def test_where_archives_cannot_be_read_it_says_what_to_install_and_force_needs_none_of_it(root: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'pandas', 'duckdb', 'pyarrow'): sys.modules[name] = None\n"
        "from stream.cli import main\nmain()"
    )
    command = [sys.executable, "-c", code, "models", "promote", "twin", "--reason", "why"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert (ran.returncode, ran.stdout) == (1, "")
    [line] = ran.stderr.splitlines()
    assert "the archive needs duckdb, pyarrow: pip install '.[archive]' in the checkout" in line
    assert "--force" in line
    forced = subprocess.run([*command, "--force"], capture_output=True, text=True, timeout=120, check=False)
    assert (forced.returncode, forced.stderr) == (0, "")
    assert (root / "champion").read_text() == "twin\n"


@pytest.mark.parametrize(
    ("champion", "challenger", "first"),
    [
        ({"days": {"test": ["2025-01-20", "2025-01-26"]}}, {"days": {"test": ["2025-01-28", "2025-02-01"]}}, "01-28"),
        ({"days": {"test": ["2025-01-28", "2025-02-01"]}}, {"days": {"test": ["2025-01-20", "2025-01-26"]}}, "01-28"),
        ({"days": {"test": ["2025-01-05", "2025-01-06"]}}, {"days": {"test": ["2025-01-06", "2025-01-07"]}}, "01-13"),
        ({}, {"days": {"test": ["2025-01-20", "2025-01-26"]}}, "01-25"),
        ({"days": {"all": ["2025-01-01", "2025-02-01"]}}, {}, "01-25"),
    ],
)
def test_held_out_are_days_that_neither_has_learned_from(
    champion: dict[str, Any], challenger: dict[str, Any], first: str, archive: str
) -> None:
    """They are four weeks at most. A bundle that does not say when its test was has learned until ``trained_to``."""
    trained_to = datetime(2025, 1, 24, 9, tzinfo=UTC)
    pair = [
        Bundle(Path(name), bundle_spec(model_version=name, trained_to=trained_to), metrics)
        for name, metrics in (("one", champion), ("other", challenger))
    ]
    begin, until, notes = held_out(open_archive(archive), TOPICS, *pair, NOW_MS)

    assert begin == date.fromisoformat(f"2025-{first}")
    assert until == FIRST + timedelta(days=DAYS)
    assert [note.split()[0] for note in notes] == [
        bundle.spec.model_version for bundle in pair if "test" not in bundle.metrics.get("days", {})
    ]


def decision(**changes: Any) -> Decision:
    fields = {
        "at": datetime(2026, 3, 1, tzinfo=UTC),
        "challenger": "twin",
        "champion": "good",
        "outcome": "forced",
        "reason": "why",
        "comparison": None,
    }
    return Decision.model_validate(fields | changes)


def test_a_decision_about_another_champion_switches_nothing(root: Path) -> None:
    with pytest.raises(StoreError, match="the champion is good now, and twin was judged beside bad"):
        Store(root).promote("twin", "why", decision=decision(champion="bad"))
    assert (root / "champion").read_text() == "good\n"
    assert Store(root).decisions() == []


def test_what_a_crash_left_of_a_decision_is_told_and_a_line_that_nobody_wrote_is_refused(root: Path) -> None:
    store = Store(root)
    store.keep(decision())
    kept = root / "decisions.jsonl"
    whole = kept.read_bytes()
    kept.write_bytes(whole + whole[:40])

    assert store.decisions() == [decision()]
    [notice] = store.history()[1]
    assert "decisions.jsonl ends within a line" in notice
    store.promote("twin", "why", decision=decision(reason="after it"))
    assert [each.reason for each in store.decisions()] == ["why", "after it"]
    assert store.history()[1] == []

    kept.write_bytes(whole + b"{}\n")
    for command in (store.decisions, store.history):
        with pytest.raises(HistoryError, match=r"decisions.jsonl line 2 is not a decision"):
            command()


def test_a_nightly_job_leaves_a_model_that_is_only_as_good_where_it_is(root: Path, archive: str) -> None:
    store, told = Store(root), []
    decided = promote_if_better(store, load(), archive, "twin", told.append)

    assert decided.outcome == "not better"
    assert decided.comparison is not None
    assert (decided.comparison.passed, decided.comparison.better) == (True, False)
    assert store.decisions() == [decided]
    assert store.named("champion") == "good"
    assert "twin: not better than good (tenfold train --promote-if-better)" in models("list").stdout
    assert len(told) == 1


def test_labels_that_land_later_than_the_clock_says_are_not_known_and_that_is_noted(root: Path, archive: str) -> None:
    now = datetime(2025, 2, 8, tzinfo=UTC)  # what is archived goes on
    decided = promote_if_better(Store(root, now=lambda: now), load(), archive, "twin", [].append)

    assert decided.comparison is not None
    assert decided.comparison.last_day == date(2025, 1, 31)
    assert "with a Kafka timestamp later than the clock" in decided.comparison.notes[-1]
