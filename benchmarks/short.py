"""``make bench-short``: one scorer, exactly once, beside the bare model, in less than two minutes; CI runs it.

The two take turns, and what counts is the median of their ratios: absolute figures are a machine's, the ratio is the
engine's. It is held against the one in ``recorded.json``. A fall of more than a quarter is said, below half fails.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.bare import bare_model
from benchmarks.harness import Run, backlog, parts, run
from benchmarks.machine import described
from models.bundle import load_bundle, starter

RECORDED = Path(__file__).parent / "recorded.json"
ROUNDS, EVENTS, USERS, BARE_EVENTS = 3, 60_000, 5_000, 30_000
_WARN_BELOW, _FAIL_BELOW = 0.75, 0.5  # of the recorded ratio


class Verdict(NamedTuple):
    """What a ratio means beside the recorded one."""

    fails: bool
    text: str


def judge(ratio: float, recorded: float) -> Verdict:
    """Hold a ratio against the recorded one."""
    beside = f"engine / bare model is {ratio:.3f}, recorded is {recorded:.3f}"
    if ratio < _FAIL_BELOW * recorded:
        return Verdict(True, f"{beside}: less than half. Something costs each event much more than it did")
    if ratio < _WARN_BELOW * recorded:
        return Verdict(False, f"warning: {beside}: a fall of {1 - ratio / recorded:.0%}")
    return Verdict(False, f"{beside}: as it was")


def measure() -> dict[str, Any]:
    """Return median ratio and figures of a few rounds, for JSON."""
    bundle = load_bundle(starter("default"), "onnxruntime", threads=1)
    bare: list[float] = []
    runs: list[Run] = []
    before = described()
    with parts() as on:
        waiting = backlog(on, EVENTS, USERS, partitions=3)
        run(on, waiting)  # until Java has compiled the broker, it takes two to four times the CPU
        for _ in range(ROUNDS):
            bare.append(bare_model(bundle, BARE_EVENTS))
            runs.append(run(on, waiting, TENFOLD_RUNTIME="onnxruntime", TENFOLD_RUNTIME_THREADS="1"))
    ratios = [each.events_per_s / limit for each, limit in zip(runs, bare, strict=True)]
    return {
        "ratio": round(median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "engine_events_per_s": round(median(each.events_per_s for each in runs)),
        "bare_model_events_per_s": round(median(bare)),
        "scorer_cpu_us_per_event": round(median(each.cpu_us["scorer"] for each in runs), 1),
        "conditions": before,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the figures, and return 1 if the ratio is too far below the recorded one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help=f"keep the result in {RECORDED.name}: on a quiet machine")
    record = parser.parse_args(arguments).record
    found = measure()
    print(json.dumps(found, indent=2))
    if record:
        RECORDED.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        return 0
    verdict = judge(found["ratio"], json.loads(RECORDED.read_bytes())["ratio"])
    print(verdict.text, file=sys.stderr)
    return int(verdict.fails)


if __name__ == "__main__":
    sys.exit(main())
