"""A directory for what grows with the archive, transactions and users among it: gone at the end, however a run ends."""

import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from models.durable import one_writer

_PREFIX = ".columns."


@contextmanager
def scratch_in(parent: Path | None) -> Iterator[Path]:
    """Give an empty directory in ``parent``, or where the system has temporary files; it is gone once the block ends.

    So it is after SIGTERM, which ends the process here as Ctrl-C does. What killed processes left is removed first.

    Raises:
        OSError: ``parent`` cannot be written.
    """
    parent = parent or Path(tempfile.gettempdir())
    for left in parent.glob(f"{_PREFIX}*"):
        # one that is in use is locked, and one of another user is not ours to remove
        with suppress(OSError), one_writer(left, wait=False):
            shutil.rmtree(left)
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        with tempfile.TemporaryDirectory(dir=parent, prefix=_PREFIX) as directory, one_writer(Path(directory)):
            yield Path(directory)
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
