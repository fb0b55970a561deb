"""Which bundle a scorer takes when it starts."""

from pathlib import Path

import pytest

from models.bundle import BundleError, starter
from stream.in_force import bundle_in_force
from stream.settings import Settings


def test_without_a_store_the_starter_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TENFOLD_MODEL_STORE", raising=False)

    assert bundle_in_force(Settings()) == starter("default")


def test_a_store_that_was_named_has_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a typo, or a mount that is missing, would put the starter in the champion's place without a word."""
    monkeypatch.setenv("TENFOLD_MODEL_STORE", str(tmp_path / "stroe"))
    with pytest.raises(
        BundleError, match=f"TENFOLD_MODEL_STORE names {tmp_path}/stroe, and there is no such directory"
    ):
        bundle_in_force(Settings())

    (tmp_path / "stroe").mkdir()
    assert bundle_in_force(Settings()) == starter("default")
