"""A bundle proves itself where it is loaded, and is refused, by name, where it cannot."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

import models.bundle
from models.bundle import BundleError, load_bundle, resolve_model, starter, write_bundle
from models.checksums import write_sums
from models.golden import Golden, read_golden, write_golden
from models.runtime import TOLERANCE, RuntimeName
from tests.bundles import bundle_spec, make_bundle
from tests.keras_files import KERAS_FILES


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("network", ["baseline", "default", "context"])
def test_a_loaded_bundle_scores_as_keras_did(tmp_path: Path, network: str, runtime: RuntimeName) -> None:
    golden = read_golden(KERAS_FILES / f"{network}.npz")
    loaded = load_bundle(make_bundle(tmp_path / network, network), runtime)
    scores = loaded.score(golden.windows, golden.context)
    assert np.abs(scores - golden.probabilities).max() <= TOLERANCE
    assert loaded.spec == bundle_spec(network)
    assert loaded.bundle.metrics == {"auc": 0.5}


def test_a_bundle_holds_what_it_promises_and_coreutils_can_check_it(bundle: Path) -> None:
    assert {path.name for path in bundle.iterdir()} == {
        "model.keras",
        "lstm_fraud_model.h5",
        "model.onnx",
        "spec.json",
        "metrics.json",
        "golden.npz",
        "card.md",
        "SHA256SUMS",
    }
    assert list(bundle.parent.iterdir()) == [bundle], "the draft beside it must be gone"
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=bundle, check=True, capture_output=True)


def test_a_bundle_is_never_overwritten(bundle: Path) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    with pytest.raises(FileExistsError, match=f"{bundle} exists"):
        make_bundle(bundle, "default")
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


def test_a_bundle_of_another_training_that_was_faster_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile(draft: Path) -> None:
        write_sums(draft)
        (tmp_path / "bundle").mkdir()
        (tmp_path / "bundle" / "card.md").write_text("the other's", encoding="utf-8")

    monkeypatch.setattr("models.bundle.write_sums", meanwhile)
    with pytest.raises(FileExistsError, match="exists, and a bundle is never overwritten"):
        make_bundle(tmp_path / "bundle")
    assert [path.read_text(encoding="utf-8") for path in tmp_path.glob("**/*.*")] == ["the other's"]


def test_a_bundle_has_its_name_once_its_files_are_on_disk_and_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    before: list[Path] = []
    fsync, rename = os.fsync, os.rename

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    def renamed(draft: Path, directory: Path) -> None:
        before.extend(synced)
        rename(draft, directory)

    monkeypatch.setattr("models.durable.os.fsync", noted)
    monkeypatch.setattr("models.durable.os.rename", renamed)
    bundle = make_bundle(tmp_path / "bundle")

    draft = before[-1]
    assert draft.name.startswith(".bundle.")
    assert {path.name for path in before[:-1] if path.parent == draft} == {path.name for path in bundle.iterdir()}
    assert synced[len(before) :] == [tmp_path]


def change_a_byte(bundle: Path) -> None:
    content = bytearray((bundle / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / "model.onnx").write_bytes(content)


def cut_short(bundle: Path) -> None:
    sums = (bundle / "SHA256SUMS").read_text(encoding="utf-8")
    (bundle / "SHA256SUMS").write_text(sums[:-30], encoding="utf-8")


def rewrite_golden(bundle: Path, change: Callable[[Golden], Golden]) -> None:
    write_golden(bundle / "golden.npz", change(read_golden(bundle / "golden.npz")))
    write_sums(bundle)


def another_probability(golden: Golden) -> Golden:
    probabilities = golden.probabilities.copy()
    probabilities[7] += 2e-5
    return Golden(golden.windows, golden.features, golden.context, probabilities)


def another_feature(golden: Golden) -> Golden:
    features = golden.features.copy()
    features[3, 0, 1] += 1  # hour_of_day
    return Golden(golden.windows, features, golden.context, golden.probabilities)


def rewrite_spec(bundle: Path, **changes: Any) -> None:
    spec = json.loads((bundle / "spec.json").read_bytes())
    (bundle / "spec.json").write_text(json.dumps(spec | changes), encoding="utf-8")
    write_sums(bundle)


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (change_a_byte, "changed: model.onnx; copy it again"),
        (lambda bundle: (bundle / "card.md").unlink(), "missing: card.md"),
        (lambda bundle: (bundle / "notes.txt").write_text("mine", encoding="utf-8"), "unlisted: notes.txt"),
        (lambda bundle: (bundle / "SHA256SUMS").unlink(), "SHA256SUMS is missing"),
        (cut_short, "SHA256SUMS|changed|missing|unlisted"),
        (lambda bundle: rewrite_golden(bundle, another_probability), r"probabilities differ .* by up to 2e-05"),
        (lambda bundle: rewrite_golden(bundle, another_feature), "computes hour_of_day differently"),
        (lambda bundle: rewrite_spec(bundle, zone="Asia/Kolkata"), "computes hour_of_day.* differently"),
        (lambda bundle: rewrite_spec(bundle, format_version=2), "format_version.*train again"),
        (lambda bundle: rewrite_spec(bundle, features=["amount"]), "the golden features are .*, this release makes"),
        (
            lambda bundle: [(bundle / "golden.npz").write_bytes(b"junk"), write_sums(bundle)],
            "golden.npz cannot be read",
        ),
        (lambda bundle: [(bundle / "model.onnx").write_bytes(b"junk"), write_sums(bundle)], "cannot run .*model.onnx"),
        (lambda bundle: [(bundle / "metrics.json").unlink(), write_sums(bundle)], "metrics.json"),
    ],
)
def test_a_bundle_that_was_changed_is_refused_by_name(
    bundle: Path, tamper: Callable[[Path], object], told: str
) -> None:
    tamper(bundle)
    with pytest.raises(BundleError, match=f"(?s){bundle}.*({told})"):
        load_bundle(bundle)


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a directory: name a bundle, or train one"):
        load_bundle(tmp_path / "nowhere")


def write(directory: Path, **changes: Any) -> None:
    golden = read_golden(KERAS_FILES / "baseline.npz")
    arguments = {
        "keras_path": KERAS_FILES / "baseline.keras",
        "h5_path": KERAS_FILES / "baseline.h5",
        "spec": bundle_spec("baseline"),
        "metrics": {},
        "golden_windows": golden.windows,
        "golden_probabilities": golden.probabilities,
        "card": "",
    }
    write_bundle(directory, **(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"h5_path": KERAS_FILES / "default.h5"}, BundleError, "hold different models"),
        ({"spec": bundle_spec("default")}, BundleError, r"reads .*\(10, 4, 0\), but the spec names \(10, 8, 0\)"),
        ({"golden_probabilities": np.full(60, 0.5, np.float32)}, BundleError, "not the trained one"),
        ({"golden_probabilities": np.full(60, np.nan, np.float32)}, BundleError, "not the trained one"),
        ({"golden_probabilities": np.full(3, 0.5, np.float32)}, BundleError, "not the trained one"),
        ({"metrics": {"auc": float("nan")}}, ValueError, "not JSON compliant"),
    ],
)
def test_what_does_not_belong_together_is_not_written(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        write(tmp_path / "store" / "bundle", **changes)
    assert not list((tmp_path / "store").glob("*"))


def test_loading_and_scoring_import_no_training_library(bundle: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from models.bundle import load_bundle, Windows;"
        f"load_bundle(Path({str(bundle)!r})).score(Windows.empty(0));"
        "print(*sorted({'tensorflow', 'keras', 'onnx', 'h5py', 'pandas', 'openvino'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert told.strip() == ""


def test_the_model_in_force_is_the_one_given_else_the_champion_else_the_starter(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = make_bundle(tmp_path / "starter" / "default", "default")
    monkeypatch.setattr(models.bundle, "STARTER", tmp_path / "starter")
    store = tmp_path / "store"
    champion = make_bundle(store / "2026-03")
    assert resolve_model(None, store) == shipped
    assert resolve_model(None, None) == shipped
    (store / "champion").write_text("2026-03\n", encoding="utf-8")
    assert resolve_model(None, store) == champion
    assert resolve_model(bundle, store) == bundle


@pytest.mark.parametrize("name", ["2025-01", "", "../bundle", "."])
def test_a_champion_that_is_not_in_the_store_is_refused(bundle: Path, name: str) -> None:
    store = bundle.parent / "store"
    store.mkdir()
    (store / "champion").write_text(name, encoding="utf-8")
    with pytest.raises(BundleError, match=f"{store}/champion names '{name}'"):
        resolve_model(None, store)


def test_a_model_or_a_starter_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        BundleError,
        match=r"TENFOLD_MODEL names .*nowhere, and there is no such directory: name a bundle's, or unset it",
    ):
        resolve_model(tmp_path / "nowhere", None)
    with pytest.raises(BundleError, match="no starter bundle for preset 'gigantic'"):
        starter("gigantic")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"features": ("amount", "shoe_size")}, "unknown feature shoe_size"),
        ({"features": ("amount", "amount")}, "appears twice"),
        ({"features": ()}, "at least 1 item"),
        ({"zone": "Mars/Olympus"}, "'Mars/Olympus' is not an IANA time zone"),
        ({"zone": "../etc"}, "is not an IANA time zone"),
        ({"zone": "Europe"}, "is not an IANA time zone"),
        ({"threshold": 1.0}, "less than 1"),
        ({"threshold": 0}, "greater than 0"),
        ({"model_version": "../up"}, "pattern"),
        ({"created_at": "2026-01-01T00:00:00"}, "timezone"),
        ({"extra": 1}, "Extra inputs"),
    ],
)
def test_a_spec_that_cannot_be_served_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        bundle_spec("baseline", **changes)
