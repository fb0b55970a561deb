"""Whether the packages of an extra are installed, asked before they are imported."""

from collections.abc import Iterable
from importlib.util import find_spec

from stream.errors import TenfoldError

_ARCHIVE = ("duckdb", "fsspec", "pyarrow")
_EVALUATION = (*_ARCHIVE, "jinja2", "matplotlib", "sklearn")


class MissingExtraError(TenfoldError):
    """A command needs packages that are not installed; the message says how to install them."""


def require_archive_extra() -> None:
    """See that the packages are there that read and write the archive.

    Raises:
        MissingExtraError: one is not.
    """
    missing = _missing(_ARCHIVE)
    if missing:
        raise MissingExtraError(f"the archive needs {missing}: pip install '.[archive]' in the checkout")


def require_evaluation_extra() -> None:
    """See that the packages are there that judge a model and report on it; TensorFlow is not among them.

    Raises:
        MissingExtraError: one is not.
    """
    missing = _missing(_EVALUATION)
    if missing:
        raise MissingExtraError(f"evaluation needs {missing}: pip install '.[training]' in the checkout")


def _missing(packages: Iterable[str]) -> str:
    return ", ".join(name for name in packages if find_spec(name) is None)
