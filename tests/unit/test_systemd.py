"""The systemd unit and its file of settings: what systemd, the command line and the chart make of them."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from stream.cli import app
from stream.errors import TenfoldError, UsageError
from stream.settings import PREFIX, load
from tests.pages import ROOT, blocks

UNIT = ROOT / "deploy" / "systemd" / "tenfold-score@.service"
FILE = UNIT.with_name("tenfold.env")
PAGE = ROOT / "docs" / "how-to" / "systemd.md"
PROGRAM = "/opt/tenfold/bin/tenfold"
ANALYZE = shutil.which("systemd-analyze")


def unit(key: str) -> list[str]:
    """Return the values that the unit has for a key, in order."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


def assigned(text: str) -> dict[str, str]:
    """Return the variables of a file of settings, those that wait behind a ``#`` among them."""
    return dict(re.findall(r"^#?([A-Z_]+)=(.*)$", text, re.MULTILINE))


def of_the_unit() -> dict[str, str]:
    """Return what the unit itself sets, for the scorer of port 9108 on a machine called ``payments-1``."""
    filled = "\n".join(unit("Environment")).replace("%i", "9108").replace("%H", "payments-1.example.com")
    return assigned(filled)


@pytest.fixture
def tried(tmp_path: Path) -> Path:
    """The unit, with a program that is there in place of one that is yet to be installed."""
    if ANALYZE is None:
        pytest.skip("no systemd-analyze: it comes with systemd, which need not run")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(PROGRAM, "/bin/true"))
    return copy


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ANALYZE or "", *words], capture_output=True, text=True, timeout=60, check=False)


def test_systemd_takes_the_unit_without_a_word(tried: Path) -> None:
    told = analyze("verify", str(tried))
    assert (told.returncode, told.stderr) == (0, "")

    tried.write_text(tried.read_text().replace("RestartSec=", "RestartAfter="))
    assert "Unknown key" in analyze("verify", str(tried)).stderr, "it only warns of what it does not know"


def test_the_scorer_is_exposed_to_little(tried: Path) -> None:
    """Of 10, by systemd's own count: what is left is the network, a user's rights and the files that it may read."""
    told = analyze("security", "--offline=yes", "--threshold=20", str(tried))
    if "unrecognized option" in told.stderr:
        pytest.skip("a systemd before 250 looks at units that are loaded only")
    assert told.returncode == 0, told.stdout
    assert unit("ProtectSystem") == ["strict"]
    assert not unit("ReadWritePaths")
    assert not unit("StateDirectory")


def test_it_runs_a_command_that_there_is() -> None:
    [line] = unit("ExecStart")
    program, command = line.split()

    assert program == PROGRAM
    assert command in get_command(app).commands  # type: ignore[attr-defined]


def test_what_unit_and_file_set_are_settings_that_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    given = assigned(FILE.read_text()) | of_the_unit()
    assert all(name.startswith(PREFIX) for name in given)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = load()

    assert settings.metrics_port == 9108
    assert settings.instance_id == "payments-1.example.com-9108"
    assert settings.kafka["sasl.mechanism"] == given["TENFOLD_KAFKA__SASL_MECHANISM"]


def test_the_file_says_nothing_that_the_unit_says() -> None:
    assert assigned(FILE.read_text()).keys() & of_the_unit().keys() == set(), "systemd would let the file win"


def test_what_is_set_in_the_file_as_it_stands_is_what_is_the_default_anyway() -> None:
    active = [line for line in FILE.read_text().splitlines() if line and not line.startswith("#")]

    assert assigned("\n".join(active)) == {
        "TENFOLD_BOOTSTRAP_SERVERS": load().bootstrap_servers,
        "TENFOLD_REDIS_URL": load().redis_url.get_secret_value(),
    }


def test_what_no_restart_mends_is_not_started_again() -> None:
    assert unit("Restart") == ["on-failure"], "0 is a scorer that was told to stop"
    assert unit("RestartPreventExitStatus") == [str(UsageError.exit_code)]
    assert UsageError.exit_code != TenfoldError.exit_code, "Kafka or Redis will be back"
    assert unit("StartLimitIntervalSec") == ["0"]


def test_it_may_take_as_long_and_as_much_as_in_the_chart() -> None:
    scorer: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "chart" / "values.yaml").read_text())["scorer"]

    assert unit("TimeoutStopSec") == [str(scorer["terminationGracePeriodSeconds"])]
    assert [f"{each}i" for each in unit("MemoryMax")] == [scorer["resources"]["limits"]["memory"]]
    text = PAGE.read_text()
    assert f"({scorer['terminationGracePeriodSeconds']} s; " in text
    assert "768 MiB" in text


def test_the_page_puts_the_files_where_the_unit_looks_for_them() -> None:
    page = "docs/how-to/systemd.md"
    typed = "".join(block.script for block in blocks(page) if block.language == "bash")

    [settings], [user] = unit("EnvironmentFile"), unit("User")
    assert f"install -D -m 0600 {FILE.relative_to(ROOT)} {settings}\n" in typed
    assert f"{UNIT.relative_to(ROOT)} /etc/systemd/system/\n" in typed
    assert re.search(rf"^useradd .* {user}$", typed, re.MULTILINE)
    assert f"--property=User={user} --property=EnvironmentFile={settings} {PROGRAM} doctor\n" in typed
    assert set(re.findall(r"tenfold-score@\w*", typed)) == {
        "tenfold-score@",
        "tenfold-score@9108",
        "tenfold-score@9109",
    }
