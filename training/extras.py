"""Whether the packages of an extra are installed, asked before they are imported."""

from importlib.util import find_spec

from stream.errors import TenfoldError

_ARCHIVE = ("duckdb", "fsspec", "pyarrow")


class MissingExtraError(TenfoldError):
    """A command needs packages that are not installed; the message says how to install them."""


def require_archive_extra() -> None:
    """See that the packages are there that read and write the archive.

    Raises:
        MissingExtraError: one is not.
    """
    missing = [name for name in _ARCHIVE if find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"the archive needs {', '.join(missing)}: pip install 'tenfold[archive]'")
