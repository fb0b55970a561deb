"""Files that outlive a crash: in place whole or not at all, appended to by whole lines, one writer at a time."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "lock"


@contextmanager
def one_writer(directory: Path, *, wait: bool = True) -> Iterator[None]:
    """Wait until no other process writes to ``directory`` under this lock, and keep others out meanwhile.

    A process that dies lets go of it.

    Raises:
        BlockingIOError: another one writes, and this one was not to ``wait``.
    """
    with (directory / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@contextmanager
def no_writer(directory: Path) -> Iterator[None]:
    """Wait until no process writes to ``directory``. Readers exclude no readers, and may lack the right to write."""
    try:
        file = (directory / LOCK).open("rb")
    except FileNotFoundError:  # nobody ever wrote
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def replace_text(path: Path, text: str) -> None:
    """Set the content of ``path``: after a crash it is the old or the new one, and once this returns the new one."""
    draft = path.with_name(f".{path.name}.new")
    draft.write_bytes(text.encode())
    replace_file(draft, path)


def replace_file(draft: Path, path: Path) -> None:
    """Give the file ``draft`` the name of ``path``: after a crash that is the old or the new one, then the new one."""
    _sync(draft)
    os.replace(draft, path)  # noqa: PTH105 - Path.replace says nothing of atomic
    sync_directory(path.parent)


def put_in_place(draft: Path, directory: Path) -> None:
    """Give ``draft``, a directory of files, its name: after a crash it is whole there or not at all.

    Raises:
        FileExistsError: something is there.
    """
    for path in (*draft.iterdir(), draft):
        _sync(path)
    try:
        os.rename(draft, directory)  # noqa: PTH104 - Path.rename says nothing of atomic
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:  # which Python takes for no FileExistsError
            raise FileExistsError(f"{directory} exists") from None
        raise
    sync_directory(directory.parent)


def remove(path: Path) -> None:
    """Take ``path`` away, for good once this returns."""
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def append_line(path: Path, line: str) -> None:
    """Append ``line``, which stays once this returns. What a crash left of a line before it is cut away."""
    whole, _ = _cut_behind_last_line(path)
    with path.open("r+b" if path.exists() else "xb", buffering=0) as file:
        file.truncate(len(whole))
        file.seek(len(whole))
        file.write(f"{line}\n".encode())
        os.fsync(file.fileno())
    sync_directory(path.parent)


def whole_lines(path: Path) -> tuple[list[str], bool]:
    """Return the lines of ``path`` that have an end, and whether something without an end follows them."""
    whole, rest = _cut_behind_last_line(path)
    return whole.decode(errors="replace").split("\n")[:-1], bool(rest)


def sync_directory(directory: Path) -> None:
    """Make names that were added to ``directory``, replaced or taken away last."""
    _sync(directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cut_behind_last_line(path: Path) -> tuple[bytes, bytes]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b"", b""
    end = content.rfind(b"\n") + 1
    return content[:end], content[end:]
