"""Section 1, continued: the same topic scored by what others would build (``benchmarks/peers``)."""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.section import Row, Size, Table

_EVENTS_A_USER = 30


def measure(size: Size) -> list[Table]:
    """Run the peers, in an environment of their own, and Tenfold beside them."""
    options = {"events": size.events, "users": size.events // _EVENTS_A_USER, "rounds": size.rounds}
    command = [sys.executable, "-m", "benchmarks.peers"]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [Table("Events/s, exactly once", ratios([json.loads(line) for line in done.stdout.splitlines()]), _NOTE)]


_NOTE = (
    "Medians. All begin without windows, and every score is compared with Tenfold's own replay. The second ratio is "
    "against the fastest row of Tenfold."
)


def ratios(results: Sequence[dict[str, Any]]) -> list[Row]:
    """Return a row for each engine, variant and number of processes, with how much faster Tenfold is.

    Tenfold is the first row of its name with so many processes, else with one.
    """
    rounds: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        rounds[f"{result['engine']} {result['version']}", result["variant"], result["processes"]].append(result)
    rates = {key: median(each["events_per_s"] for each in found) for key, found in rounds.items()}
    own: dict[int, float] = {}
    for (engine, _, processes), rate in rates.items():
        if engine.startswith("Tenfold "):
            own.setdefault(processes, rate)
    best = max(rate for (engine, _, _), rate in rates.items() if engine.startswith("Tenfold "))
    return [
        {
            "engine": engine,
            "variant": variant,
            "processes": processes,
            "events/s": round(rates[engine, variant, processes], 1),
            "CPU µs": round(median(each["cpu_us_per_event"] for each in found), 1),
            "Tenfold is faster": round(own.get(processes, own[1]) / rates[engine, variant, processes], 2),
            "its best is": round(best / rates[engine, variant, processes], 2),
        }
        for (engine, variant, processes), found in rounds.items()
    ]
