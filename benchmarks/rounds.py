"""Measuring again: variants take turns, and the median counts."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from benchmarks.harness import Run

T = TypeVar("T")


def interleaved(variants: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Measure variants in turns, so that what else the machine does meets all of them; return each one's results."""
    found: dict[str, list[T]] = {name: [] for name in variants}
    for number in range(rounds):
        for name, measure in variants.items():
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            found[name].append(measure())
    return found


def middle(runs: Sequence[Run]) -> Run:
    """Return the run of the median rate; of an even number the slower one in the middle."""
    return sorted(runs, key=lambda each: each.events_per_s)[(len(runs) - 1) // 2]
