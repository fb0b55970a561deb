"""``golden.npz``: windows with their features and probabilities, by which a bundle proves itself where it is loaded."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.features import step_features
from models.runtime import TOLERANCE, Runtime
from models.spec import BundleSpec
from models.window import RECORD, Windows

Floats32 = npt.NDArray[np.float32]


class GoldenError(ValueError):
    """Features or probabilities differ from those that were written down when the model was exported."""


@dataclass(frozen=True)
class Golden:
    """Windows and what must come of them; rows are windows."""

    windows: Windows
    features: Floats32  # [n, T, F]
    context: Floats32 | None  # [n, C]
    probabilities: Floats32  # [n], as Keras computed them


def write_golden(path: Path, golden: Golden) -> None:
    """Write as ``.npz``, window records as plain columns so that reading needs no pickle."""
    records = golden.windows.records
    np.savez_compressed(
        path,
        created_at_ms=records["created_at_ms"],
        transaction=records["transaction"],
        amount=records["amount"],
        merchant=records["merchant"],
        flags=records["flags"],
        lengths=golden.windows.lengths,
        features=golden.features,
        context=np.empty((len(records), 0), np.float32) if golden.context is None else golden.context,
        probabilities=golden.probabilities,
        allow_pickle=False,
    )


def read_golden(path: Path) -> Golden:
    """Return what :func:`write_golden` wrote.

    Raises:
        GoldenError: the file lacks a column or is no ``.npz``.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            records = np.zeros(file["created_at_ms"].shape, RECORD)
            for name in RECORD.names or ():
                records[name] = file[name]
            windows = Windows(records, file["lengths"])
            context = file["context"] if file["context"].shape[1] else None
            return Golden(windows, file["features"], context, file["probabilities"])
    except (KeyError, ValueError, OSError) as error:
        raise GoldenError(f"{path.name} cannot be read: {error}") from error


def check_golden(golden: Golden, spec: BundleSpec, runtime: Runtime) -> None:
    """Compute features and probabilities of the golden windows anew and compare.

    Raises:
        GoldenError: features differ by more than :data:`TOLERANCE`, or probabilities by more than the runtime's own.
    """
    features = step_features(golden.windows, spec.features, spec.zone)
    if features.shape != golden.features.shape:
        raise GoldenError(f"the golden features are {golden.features.shape}, this release makes {features.shape}")
    same = np.isclose(features, golden.features, rtol=TOLERANCE, atol=TOLERANCE)
    names = [name for column, name in enumerate(spec.features) if not same[:, :, column].all()]
    if names:
        raise GoldenError(f"this release computes {', '.join(names)} differently from the one that trained the model")
    probabilities = runtime.predict(features, golden.windows.lengths, golden.context)
    check_probabilities(probabilities, golden.probabilities, runtime.tolerance)


def check_probabilities(probabilities: Floats32, expected: Floats32, tolerance: float = TOLERANCE) -> None:
    """Compare probabilities with those that Keras computed.

    Raises:
        GoldenError: one differs by more than :data:`TOLERANCE`, or is not a number.
    """
    if probabilities.shape != expected.shape:
        raise GoldenError(f"there are {expected.shape} probabilities for {probabilities.shape} windows")
    off = np.abs(probabilities.astype(np.float64) - expected)
    if not (off <= tolerance).all():
        raise GoldenError(f"probabilities differ from those of Keras by up to {off.max():.2g}, above {tolerance:g}")
