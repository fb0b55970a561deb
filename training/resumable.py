"""Where a training keeps its state, so that the same one, repeated after it was killed, goes on from there."""

import hashlib
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.durable import one_writer
from training.dataset import Dataset, Part

_AT_ONCE = 65_536  # windows: they may be mapped from disk, and more than memory holds


class AtWorkError(RuntimeError):
    """The very same training is at work; the message says where."""


@contextmanager
def resumable(store: Path, options: Sequence[object], dataset: Dataset) -> Iterator[Path]:
    """Give the directory in ``store`` of this very training: same options, same data. It is gone if the block succeeds.

    Raises:
        AtWorkError: another process is at the same training.
    """
    parts = [
        (part.begin_ms, part.end_ms, part.honest_weight, _sums(part)) for part in (dataset.train, dataset.validation)
    ]
    directory = store / f".interrupted-{hashlib.sha256(repr((*options, parts)).encode()).hexdigest()[:16]}"
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with one_writer(directory, wait=False):
            yield directory
            shutil.rmtree(directory)
    except BlockingIOError:
        raise AtWorkError(
            f"the same training, of the same options and data, is at work in {directory}: wait for it, or change an "
            "option"
        ) from None


def _sums(part: Part) -> list[int]:
    """Return check sums of what a training reads of a part, in one reading of it."""
    columns: Sequence[npt.NDArray[Any]] = (part.features, part.windows.lengths, part.context, part.is_fraud)
    sums = [0] * len(columns)
    for begin in range(0, len(part), _AT_ONCE):
        for place, column in enumerate(columns):
            sums[place] = zlib.crc32(np.ascontiguousarray(column[begin : begin + _AT_ONCE]).data, sums[place])
    return sums
