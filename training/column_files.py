"""Features and context of many windows, as files that are mapped: they grow with the archive, and memory does not."""

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from models.features import step_features
from training.archive_reader import in_portions
from training.context import AT_ONCE, Contexts
from training.dataset import Part
from training.samples import Samples

_AT_ONCE = 65_536  # windows whose features are in memory


def windowed(samples: Samples, path: Path, names: Sequence[str], zone: str, bounds: tuple[int, int]) -> Part:
    """Return samples with their features, which become a file, and no context.

    Args:
        samples: some windows.
        path: where their features go.
        names: of a step's features.
        zone: in whose hours and days they are.
        bounds: begin and end of what the samples are of, in ms since the epoch.
    """
    shape = (*samples.windows.records.shape, len(names))
    with _new_column(path, shape) as file:
        for begin in range(0, len(samples), _AT_ONCE):
            rows = slice(begin, begin + _AT_ONCE)
            step_features(samples.windows.take(rows), names, zone).tofile(file)
            _forget(samples.windows.records)
    mapped = np.load(path, mmap_mode="r")
    nothing = np.empty((len(samples), 0), np.float32)
    is_fraud = samples.is_fraud.astype(np.float32)
    return Part(samples.windows, mapped, nothing, samples.users, is_fraud, *bounds)


def context_of(samples: Samples, path: Path, contexts: Contexts) -> tuple[npt.NDArray[np.float32], int]:
    """Return the context of samples, which becomes a file, and how many of its days archived scores name."""
    archived = 0
    with _new_column(path, (len(samples), len(contexts.names))) as file:
        for rows in in_portions(samples.events, AT_ONCE):
            found = contexts.of_events(rows)
            found.columns.tofile(file)
            archived += int(found.archived.sum())
    return np.load(path, mmap_mode="r"), archived


@contextmanager
def _new_column(path: Path, shape: tuple[int, ...]) -> Iterator[BinaryIO]:
    """Give a file for the float32 values of an array, in order; written so, they are not in memory as if mapped."""
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        yield file


def _forget(column: npt.NDArray[np.generic]) -> None:
    """Take a mapped column's pages out of memory; they are read again when they are looked at."""
    if isinstance(column, np.memmap):
        column._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
