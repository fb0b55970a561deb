"""The columns of a training are gone with it, since they hold ids."""

import signal
import subprocess
import sys
from pathlib import Path

from training.scratch import scratch_in

AT_WORK = """
import sys, time
from pathlib import Path
from training.scratch import scratch_in
with scratch_in(Path(sys.argv[1])) as columns:
    (columns / "events").write_text("user-1")
    print(columns, flush=True)
    time.sleep(60)
"""

ENDED = """
import os, signal, sys
from pathlib import Path
from training.scratch import scratch_in
try:
    with scratch_in(Path(sys.argv[1])):
        os.kill(os.getpid(), signal.SIGTERM)
except SystemExit as end:
    print(f"exit {end.code}", end=", ")
print("then the default" if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL else "then something else")
"""


def at_work(parent: Path) -> "tuple[subprocess.Popen[str], Path]":
    """Start a process that has written into its directory."""
    process = subprocess.Popen([sys.executable, "-c", AT_WORK, str(parent)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_process_that_is_asked_to_end_leaves_nothing(tmp_path: Path) -> None:
    process, columns = at_work(tmp_path)
    assert (columns / "events").exists()
    process.terminate()
    process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_removed_by_the_next_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    dead, left = at_work(tmp_path)
    dead.kill()
    dead.communicate()
    assert (left / "events").exists()
    living, in_use = at_work(tmp_path)
    try:
        with scratch_in(tmp_path) as mine:
            assert {*tmp_path.iterdir()} == {in_use, mine}
            assert (in_use / "events").exists()
    finally:
        living.terminate()
        living.communicate()


def test_sigterm_means_afterwards_what_it_meant_before(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", ENDED, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "exit 143, then the default\n"
