"""A bundle: the immutable directory that holds a trained model and all that serving it takes.

It is written once, by training, and proves itself wherever it is loaded: sums of its files, then the probabilities of
its golden windows, features and model both computed anew.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from models.checksums import ChecksumError, verify_sums, write_sums
from models.durable import put_in_place
from models.fastest_runtime import fastest_runtime
from models.features import step_features
from models.golden import Golden, GoldenError, check_golden, check_probabilities, read_golden, write_golden
from models.reference import BadReferenceError, Reference, column_names, read_reference
from models.runtime import OnnxRuntime, Runtime, RuntimeName, open_runtime
from models.spec import BundleSpec
from models.window import Windows

STARTER = Path(__file__).parent / "starter"  # one bundle a preset, in git

KERAS, H5, ONNX = "model.keras", "lstm_fraud_model.h5", "model.onnx"
SPEC, METRICS, GOLDEN, CARD, REPORT = "spec.json", "metrics.json", "golden.npz", "card.md", "report.html"
REFERENCE = "reference.json"

Floats32 = npt.NDArray[np.float32]


class BundleError(Exception):
    """A bundle cannot be used; the message names its directory, what is wrong, and what to do."""


@dataclass(frozen=True)
class Bundle:
    """What a bundle says about itself."""

    directory: Path
    spec: BundleSpec
    metrics: Mapping[str, Any]  # of the held-out days, as training measured them
    reference: Reference | None = None  # what it learned from, to measure drift by; older bundles do not say


@dataclass(frozen=True)
class LoadedBundle:
    """A verified bundle and its model, ready to score."""

    bundle: Bundle
    runtime: Runtime
    golden: Golden  # which it has proved itself by

    @property
    def spec(self) -> BundleSpec:
        """The bundle's ``spec.json``."""
        return self.bundle.spec

    def score(self, windows: Windows, context: Floats32 | None = None) -> Floats32:
        """Return the fraud probability of each window's last event, ``float32 [n]``; every window has one at least.

        ``context`` is ``float32 [n, C]``, columns as ``spec.context`` names them, ``None`` where it names none.
        """
        features = step_features(windows, self.spec.features, self.spec.zone)
        return self.runtime.predict(features, windows.lengths, context)


def write_bundle(
    directory: Path,
    *,
    keras_path: Path,
    h5_path: Path,
    spec: BundleSpec,
    metrics: Mapping[str, Any],
    golden_windows: Windows,
    golden_probabilities: Floats32,
    card: str,
    report: str | None = None,
    golden_context: Floats32 | None = None,
    reference: Reference | None = None,
) -> None:
    """Write a bundle: beside ``directory`` first, then moved there whole.

    Args:
        directory: where the bundle will be; it must not exist.
        keras_path: the trained model as ``.keras``.
        h5_path: the same model as whole-model ``.h5``.
        spec: what the bundle says about itself.
        metrics: numbers of the evaluation; anything that JSON holds, without NaN.
        golden_windows: some windows, every length among them if possible.
        golden_probabilities: ``float32 [n]``, what Keras computes for them; the exported model must agree to 1e-5.
        card: the model card, Markdown.
        report: the page of the evaluation, HTML; a bundle may do without.
        golden_context: ``float32 [n, C]`` where ``spec.context`` names columns.
        reference: the distribution of what it learned from; without it no drift is measured.

    Raises:
        FileExistsError: ``directory`` exists; bundles are never overwritten.
        BundleError: spec, files and golden probabilities do not belong together.
        ValueError: a model file that cannot be served, or metrics that JSON cannot hold.
    """
    # only training exports, and serving must start without these
    from models.keras_file import read_network  # noqa: PLC0415
    from models.network import identical  # noqa: PLC0415
    from models.onnx_export import to_onnx  # noqa: PLC0415

    if directory.exists():
        raise _exists(directory)
    network = read_network(keras_path)
    if not identical(network, read_network(h5_path)):
        raise BundleError(f"{directory}: {keras_path} and {h5_path} hold different models; save both from one model")
    needs = (network.sequence_length, network.n_features, network.context_width)
    if needs != (spec.sequence_length, len(spec.features), len(spec.context)):
        raise BundleError(
            f"{directory}: the model in {keras_path} reads (steps, features, context) {needs}, but the spec names "
            f"{(spec.sequence_length, len(spec.features), len(spec.context))}"
        )
    if reference is not None and tuple(reference.columns) != column_names(spec):
        raise BundleError(f"{directory}: the reference is of {list(reference.columns)}, not of {column_names(spec)}")
    model = to_onnx(network).SerializeToString()
    features = step_features(golden_windows, spec.features, spec.zone)
    try:
        probabilities = OnnxRuntime(model).predict(features, golden_windows.lengths, golden_context)
        check_probabilities(probabilities, golden_probabilities)
    except GoldenError as error:
        raise BundleError(f"{directory}: the exported model is not the trained one: {error}") from error

    directory.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        shutil.copyfile(keras_path, draft / KERAS)
        shutil.copyfile(h5_path, draft / H5)
        (draft / ONNX).write_bytes(model)
        (draft / SPEC).write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (draft / METRICS).write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        golden = Golden(golden_windows, features, golden_context, np.asarray(golden_probabilities, np.float32))
        write_golden(draft / GOLDEN, golden)
        (draft / CARD).write_text(card, encoding="utf-8")
        if report is not None:
            (draft / REPORT).write_text(report, encoding="utf-8")
        if reference is not None:
            (draft / REFERENCE).write_text(reference.model_dump_json() + "\n", encoding="utf-8")
        write_sums(draft)
        draft.chmod(0o755)  # mkdtemp's own is for one user
        put_in_place(draft, directory)
    except FileExistsError:  # another training was faster
        raise _exists(directory) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _exists(directory: Path) -> FileExistsError:
    return FileExistsError(f"{directory} exists, and a bundle is never overwritten: choose another model version")


def load_bundle(
    directory: Path, runtime: RuntimeName | Literal["auto"] = "onnxruntime", threads: int = 1
) -> LoadedBundle:
    """Return the bundle in ``directory``, verified: its sums, then its golden probabilities in the engine asked for.

    ``auto`` is the fastest engine of this machine, measured here.

    Raises:
        BundleError: it is not there, not whole, changed, or computes something else here.
        MissingRuntimeError: the engine is not installed.
    """
    if not directory.is_dir():
        raise BundleError(f"{directory} is not a directory: name a bundle, or train one with `tenfold train`")
    try:
        verify_sums(directory)
        spec = BundleSpec.model_validate_json((directory / SPEC).read_bytes())
        metrics = json.loads((directory / METRICS).read_bytes())
        golden, onnx = read_golden(directory / GOLDEN), directory / ONNX
        engine = fastest_runtime(onnx, golden, threads) if runtime == "auto" else open_runtime(runtime, onnx, threads)
        check_golden(golden, spec, engine)
        reference = read_reference(directory / REFERENCE, spec) if (directory / REFERENCE).exists() else None
    except (ChecksumError, FileNotFoundError) as error:
        raise BundleError(f"{directory} is not the bundle that was written: {error}; copy it again whole") from error
    except ValidationError as error:
        raise BundleError(f"{directory}/{SPEC} is not a spec of this release: {error}; train again") from error
    except BadReferenceError as error:
        raise BundleError(f"{directory}/{error}; train again") from error
    except ValueError as error:  # golden outputs, model or JSON
        raise BundleError(f"{directory} does not score here as it did in training: {error}; train again") from error
    return LoadedBundle(Bundle(directory, spec, metrics, reference), engine, golden)


def resolve_model(model: Path | None, store: Path | None) -> Path:
    """Return the directory of the bundle in force: ``model`` if given, else the store's champion, else the starter.

    Raises:
        BundleError: ``model`` or the champion is not there.
    """
    if model is not None:
        if not model.is_dir():
            raise BundleError(
                f"TENFOLD_MODEL names {model}, and there is no such directory: name a bundle's, or unset it, and the "
                "store's champion scores, or else the starter"
            )
        return model
    if store is None or not (store / "champion").exists():
        return starter("default")
    name = (store / "champion").read_text(encoding="utf-8").strip()
    directory = store / name
    if not name or Path(name).name != name or not directory.is_dir():
        raise BundleError(f"{store}/champion names {name!r}, and there is no such bundle in {store}: correct the name")
    return directory


def starter(preset: str) -> Path:
    """Return the directory of the bundle that ships for ``preset``.

    Raises:
        BundleError: none ships for it.
    """
    directory = STARTER / preset
    if not directory.is_dir():
        shipped = sorted(path.name for path in STARTER.glob("*") if path.is_dir())
        raise BundleError(f"no starter bundle for preset {preset!r}; there is {', '.join(shipped) or 'none'}")
    return directory
