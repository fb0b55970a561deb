"""``SHA256SUMS``, as coreutils writes it: ``sha256sum -c SHA256SUMS`` checks a bundle too."""

import hashlib
from pathlib import Path

SUMS = "SHA256SUMS"


class ChecksumError(ValueError):
    """The files in a directory are not those that its ``SHA256SUMS`` lists."""


def write_sums(directory: Path) -> None:
    """List every file of ``directory`` in its ``SHA256SUMS``."""
    lines = [f"{_sum(directory / name)}  {name}\n" for name in _files(directory)]
    (directory / SUMS).write_text("".join(lines), encoding="utf-8")


def verify_sums(directory: Path) -> None:
    """Check that every listed file is there unchanged, and none that is not listed.

    Raises:
        ChecksumError: naming the files that are missing, unlisted or changed.
    """
    try:
        text = (directory / SUMS).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ChecksumError(f"{SUMS} is missing") from None
    listed: dict[str, str] = {}
    for line in text.splitlines():
        digest, separator, name = line.partition("  ")
        if not separator or len(digest) != 64:
            raise ChecksumError(f"{SUMS} has a line that is not '<sha256>  <file>': {line[:80]!r}")
        listed[name] = digest
    found = _files(directory)
    changed = [name for name in found if name in listed and _sum(directory / name) != listed[name]]
    faults = {"missing": listed.keys() - set(found), "unlisted": set(found) - listed.keys(), "changed": set(changed)}
    told = [f"{fault}: {', '.join(sorted(names))}" for fault, names in faults.items() if names]
    if told:
        raise ChecksumError("; ".join(told))


def _files(directory: Path) -> list[str]:
    names = (path.relative_to(directory).as_posix() for path in directory.rglob("*") if not path.is_dir())
    return sorted(name for name in names if name != SUMS)


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
