"""README and CONTRIBUTING, typed by somebody who has never been here: a fresh clone, an empty home, no package yet.

What is installed comes from the package registry that this machine reaches. The clone has what is committed.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.pages import ROOT, the_block
from tests.processes import ChildProcess, free_port, http_get

pytestmark = [pytest.mark.newcomer, pytest.mark.timeout(3600)]

#: Of this machine's environment: how its package clients reach a registry, and which Kafka and Redis the tests take.
KEPT = re.compile(r"(UV|PIP|SSL|TENFOLD_TEST)_\w+|\w+_(PROXY|CA_BUNDLE)|CI", re.IGNORECASE)

#: Set, `make test` runs all that the machine allows and not only these; that takes as long as it does elsewhere.
WHOLE = "TENFOLD_TEST_WHOLE"
SOME = "tests/unit/test_window.py tests/unit/test_repository.py"
PASSED = re.compile(r"^=+ (?!.*failed).*\d+ passed", re.MULTILINE)

INSTALL_S = 900.0  # on a slow line


class Newcomer:
    """Somebody with a clone and an empty home; each command that is typed says how long it took."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.home, self.clone = directory, directory / "home", directory / "tenfold"
        self.scratch = directory / "tmp"
        self.home.mkdir()
        self.scratch.mkdir()
        path = [f"{sys.base_prefix}/bin", "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        self.environment = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
        self.environment |= {"HOME": str(self.home), "TMPDIR": str(self.scratch), "LANG": "C.UTF-8"}
        self.environment["PATH"] = ":".join(path)

    def types(self, script: str, directory: Path | None = None, **settings: str) -> str:
        """Run what is typed, which must succeed, its output a pipe; return that."""
        ran = self.tries(script, directory, **settings)
        assert ran.returncode == 0, f"{script}\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
        return ran.stdout

    def tries(self, script: str, directory: Path | None = None, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run what is typed; whether it succeeded is for the caller to see."""
        begun = time.monotonic()
        ran = subprocess.run(
            ["bash", "-euc", script],
            cwd=directory or self.clone,
            env=self.environment | settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        told(begun, script)
        return ran

    def starts(self, script: str, **settings: str) -> ChildProcess:
        """Run what is typed, of which the last command goes on."""
        *before, last = script.strip().splitlines()
        assignments = [f"{name}={value}" for name, value in (self.environment | settings).items()]
        words = ["env", "-i", "-C", self.clone, *assignments, "bash", "-euc", "\n".join([*before, f"exec {last}"])]
        return ChildProcess(words, self.directory / f"{last.split()[-1]}.log")

    def left(self) -> tuple[str, set[str], list[str]]:
        """Return what git sees in the clone, what is in the home, and what temporary files are left but uv's locks."""
        status = self.types("git status --porcelain")
        home, scratch = ({each.name for each in folder.iterdir()} for folder in (self.home, self.scratch))
        return status, home, sorted(name for name in scratch if not re.fullmatch(r"uv-\w+\.lock", name))


def told(begun: float, script: str) -> None:
    """Print how long something took, unless it took no time."""
    if (seconds := time.monotonic() - begun) >= 0.1:
        print(f"\n{seconds:7.1f} s  {'; '.join(script.strip().splitlines())}", flush=True)


@pytest.fixture(scope="module")
def newcomer() -> Iterator[Newcomer]:
    """Somebody who has cloned what is published, a bare repository; what they install is gigabytes, and goes again."""
    with tempfile.TemporaryDirectory(prefix="tenfold-newcomer-") as directory:
        came = Newcomer(Path(directory))
        came.types(f"git clone --quiet --bare '{ROOT}' published.git", came.directory)
        came.types("git clone --quiet published.git tenfold", came.directory)
        for page in ("README.md", "CONTRIBUTING.md"):
            assert (came.clone / page).read_text() == (ROOT / page).read_text(), f"commit {page}: a clone has no other"
        yield came


@pytest.fixture(scope="module")
def pip(newcomer: Newcomer) -> dict[str, str]:
    """A Python that packages may be installed into, as ``pip`` on PATH."""
    newcomer.types("python3 -m venv ~/environment")
    return {"PATH": f"{newcomer.home}/environment/bin:{newcomer.environment['PATH']}"}


@pytest.fixture
def uv(newcomer: Newcomer) -> dict[str, str]:
    """The ``uv`` that ``make`` has installed into the clone, where there was none, on PATH."""
    return {"PATH": f"{newcomer.clone}/.tools/bin:{newcomer.environment['PATH']}"}


def counts(printed: str, words: Sequence[str]) -> list[int]:
    """Return the number before each of the words that stand behind one."""
    return [int(re.findall(rf"([\d,]+) {word}", printed)[-1].replace(",", "")) for word in words]


def test_the_demo_scores_and_leaves_nothing_behind(newcomer: Newcomer) -> None:
    printed = newcomer.types(the_block("README.md", "make demo").script)
    events, scores, letters = counts(printed, ["events,", "scores", "dead letters:"])

    assert events == 20_000
    assert scores == events - letters
    shown = the_block("README.md", "What next:").text
    assert printed.partition("What next:")[2] == shown.partition("What next:")[2]
    assert newcomer.left() == ("", {".cache"}, [])
    assert {each.name for each in newcomer.directory.iterdir()} == {"home", "published.git", "tenfold", "tmp"}


def test_make_test_runs_tests(newcomer: Newcomer) -> None:
    chosen = {} if os.environ.get(WHOLE) else {"PYTEST_ADDOPTS": SOME}
    printed = newcomer.types(the_block("README.md", "make test").script, **chosen)

    assert re.search(PASSED, printed), printed[-2000:]
    assert newcomer.left()[0] == ""


@pytest.fixture
def lent(newcomer: Newcomer) -> Iterator[str]:
    """What `make kafka` says to type, in a terminal where it goes on."""
    [command] = re.findall(r"`(make kafka)`", (ROOT / "README.md").read_text())
    there = newcomer.left()
    begun, kafka = time.monotonic(), newcomer.starts(command)
    try:
        kafka.wait_until(lambda: "Ctrl-C stops both" in kafka.log.read_text(), INSTALL_S)
        told(begun, command)
        yield "\n".join(re.findall(r"^export .*$", kafka.log.read_text(), re.MULTILINE))
    finally:
        kafka.end(signal.SIGTERM)
    assert newcomer.left()[::2] == there[::2]


@pytest.mark.usefixtures("kafka", "redis_server")
def test_a_scorer_scores_on_ones_own_kafka(newcomer: Newcomer, pip: dict[str, str], lent: str) -> None:
    typed = the_block("README.md", "pip install .\n").script
    script = f"{lent}\n" + re.sub(r"^export .*\n", "", typed, flags=re.MULTILINE)
    port, begun = free_port(), time.monotonic()
    scorer = newcomer.starts(script, TENFOLD_METRICS_PORT=str(port), **pip)
    try:
        scorer.wait_until(lambda: http_get(port, "/readyz")[0] == 200, INSTALL_S)
        told(begun, script)
        newcomer.types(f"{lent}\ntenfold send user_id=anna amount=19.90", **pip)
        score = newcomer.types(f"{lent}\ntenfold watch --from-beginning --limit 1 --json", **pip)
    finally:
        code = scorer.end(signal.SIGTERM)

    assert json.loads(score)["user_id"] == "anna"
    assert code == 0, scorer.log.read_text()


def test_a_model_is_trained_on_ones_own_payments(newcomer: Newcomer, pip: dict[str, str]) -> None:
    install, simulate, train = the_block("README.md", "tenfold train --data").script.splitlines()
    newcomer.types(install, **pip)
    newcomer.types(simulate.replace("--users 2000", "--users 200"), **pip)  # else it takes minutes
    printed = newcomer.types(train, **pip)

    store = newcomer.clone / "models" / "store"
    assert re.search(r"^Test AUC: 0\.\d+$", printed, re.MULTILINE)
    [bundle] = re.findall(r"^Bundle models/store/([^,\n]+)", printed, re.MULTILINE)
    assert (store / bundle / "SHA256SUMS").is_file()
    assert newcomer.left()[0] == ""


@pytest.fixture
def changed(newcomer: Newcomer) -> Iterator[None]:
    """The change that CONTRIBUTING makes first, until the command that it takes it back with."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    [(file, name, value)] = re.findall(r"in `(\S+)` let `(\w+)` be (\d+)", page)
    [back] = re.findall(r"`(git checkout [^`]+)`", page)
    text = (newcomer.clone / file).read_text()
    other, found = re.subn(rf"^({name}\b[^=\n]*= )\d+", rf"\g<1>{value}", text, flags=re.MULTILINE)
    assert found == 1
    (newcomer.clone / file).write_text(other)
    yield
    newcomer.types(back)
    assert (newcomer.clone / file).read_text() == text


def test_the_first_ten_minutes_end_with_a_green_test(newcomer: Newcomer) -> None:
    printed = newcomer.types(the_block("CONTRIBUTING.md", "make lint\n.venv/bin/pytest").script)

    assert re.search(PASSED, printed), printed[-2000:]


@pytest.mark.usefixtures("changed")
def test_the_first_change_is_refused(newcomer: Newcomer) -> None:
    refused = newcomer.tries(the_block("CONTRIBUTING.md", "-k verifies").script)

    assert refused.returncode == 1
    assert "computes is_night differently" in refused.stdout


def test_the_commands_that_run_less_pick_tests_and_the_last_those_that_failed(newcomer: Newcomer) -> None:
    script = the_block("CONTRIBUTING.md", "pytest --lf").script
    printed = newcomer.types(script, PYTEST_ADDOPTS="--collect-only --quiet")  # run, they take as long as all tests
    *picked, end = re.split(r"^.*[1-9]\d* tests? collected.*$", printed, flags=re.MULTILINE)
    [failed] = picked[-1].split()

    assert len(picked) == len(script.splitlines()), end
    assert re.search(r"test_starter\.py::\w+verifies", failed), "the first change has made that one fail"


def test_what_a_change_must_pass_is_passed(newcomer: Newcomer) -> None:
    printed = newcomer.types(the_block("CONTRIBUTING.md", "make typecheck").script, PYTEST_ADDOPTS=SOME)

    assert "Success: no issues found" in printed
    assert re.search(PASSED, printed), printed[-2000:]


def test_the_peers_are_pinned_anew(newcomer: Newcomer, uv: dict[str, str]) -> None:
    newcomer.types(the_block("benchmarks/peers/README.md", "uv pip compile").script, **uv)
    pinned = (newcomer.clone / "benchmarks/peers/requirements.txt").read_text()
    newcomer.types("git checkout --quiet benchmarks/peers/requirements.txt")

    wanted = re.findall(r"^([\w-]+)", (newcomer.clone / "benchmarks/peers/requirements.in").read_text(), re.MULTILINE)
    assert set(wanted) <= set(re.findall(r"^([\w-]+)==.* \\\n +--hash=sha256:", pinned, re.MULTILINE))


def test_a_wheel_is_installed_and_shows_the_demo(newcomer: Newcomer, uv: dict[str, str]) -> None:
    newcomer.types(the_block("docs/releasing.md", "uv build").script, **uv)
    typed = the_block("docs/releasing.md", "pip install").script
    printed = newcomer.types(re.sub(r"/tmp/\w+", "~/installed", typed))  # noqa: S108 - the page names it
    events, scores, letters = counts(printed, ["events,", "scores", "dead letters:"])

    assert (events, scores) == (20_000, events - letters)
    assert newcomer.left()[0] == ""


def test_a_fixed_version_has_the_packages_of_the_lock(newcomer: Newcomer, uv: dict[str, str]) -> None:
    newcomer.types(the_block("docs/releasing.md", "uv build").script, **uv)
    typed = the_block("docs/how-to/systemd.md", "--require-hashes").script
    newcomer.types(typed.replace("/opt/tenfold", "~/fixed"))
    newcomer.types("~/fixed/bin/pip check")
    installed = newcomer.types("~/fixed/bin/pip freeze --exclude tenfold").lower().replace("_", "-").split()
    locked = tomllib.loads((newcomer.clone / "uv.lock").read_text())["package"]

    assert "redis" in {each.partition("==")[0] for each in installed}
    assert set(installed) <= {f"{each['name']}=={each.get('version')}" for each in locked}
    assert "group_id" in newcomer.types("~/fixed/bin/tenfold config")

    listed = newcomer.clone / "dist" / "requirements.txt"
    listed.write_text(re.sub(r"(?<=sha256:)\w{8}", "0" * 8, listed.read_text()))
    refused = newcomer.tries(typed.replace("/opt/tenfold", "~/other"))
    assert refused.returncode != 0
    assert "HASHES" in refused.stderr
