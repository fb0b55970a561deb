"""The long form: everything under ``tests/chaos``, one part after the other, and one report over all of it.

``make chaos``, or ``python -m tests.chaos --scale 0.02`` for a look at whether it would run. The seed is printed; the
same seed in ``TENFOLD_CHAOS_SEED`` repeats the faults, their order and their pauses, though not what they meet.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.ledger import LEDGER, SCALE, read
from tests.chaos.report import as_markdown

SEED = "TENFOLD_CHAOS_SEED"
_EVENTS = 7_200_000  # two hours at 1,000 a second
_ENOUGH = 1_500_000  # a shorter run is over before the scorer has grown warm


def main() -> None:
    """Run all parts and write the report; exit with 1 if one of them fails or the oracle finds anything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("chaos-report.md"))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the long form's events and faults")
    options = parser.parse_args()
    # scorers inherit this process's environment, and refuse settings that they do not know
    seed = int(os.environ.pop(SEED, "") or random.SystemRandom().randrange(10**9))
    print(f"{SEED}={seed}", flush=True)
    python, begun, failed, memory = sys.executable, time.monotonic(), [], ""
    parts = {
        "tests": [python, "-m", "pytest", "tests/chaos", "-m", "", "-n0"],
        "faults at random": [python, "-m", "tests.chaos.long", "--seed", str(seed)],
        "leaders that change": [python, "-m", "tests.chaos.leader_change"],
        "memory": [python, "-m", "tests.chaos.memory", "--events", str(max(_ENOUGH, round(_EVENTS * options.scale)))],
    }
    with tempfile.TemporaryDirectory(prefix="tenfold-chaos-") as directory:
        ledger = Path(directory) / "ledger.jsonl"
        environment = {**os.environ, LEDGER: str(ledger), SCALE: str(options.scale)}
        for name, command in parts.items():
            print(f"--- {name}", flush=True)
            said = subprocess.PIPE if name == "memory" else None
            ended = subprocess.run(command, env=environment, stdout=said, text=True, check=False)
            if ended.returncode != 0:
                failed.append(name)
            memory += ended.stdout or ""
        faults, runs = read(ledger)
    report = as_markdown(seed, time.monotonic() - begun, faults, runs, failed, memory)
    options.report.write_text(report)
    print(report)
    sys.exit(0 if runs and not failed and all(run.right for run in runs) else 1)


if __name__ == "__main__":
    main()
