"""What a bundle must prove before a store's pointer may name it."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from models.bundle import GOLDEN, METRICS, SPEC, BundleError, LoadedBundle, load_bundle
from models.golden import read_golden
from models.runtime import RuntimeName
from models.spec import BundleSpec
from models.window import Windows


def verify_version(directory: Path, runtime: RuntimeName | Literal["auto"], threads: int) -> LoadedBundle:
    """Return the bundle in ``directory``, verified as when it is loaded, and its name and window besides.

    Raises:
        BundleError: it does not load, is not called what its scores would say, or its golden windows are not such as
            its spec promises.
        models.runtime.MissingRuntimeError: the engine is not installed.
    """
    loaded = load_bundle(directory, runtime, threads)
    spec = loaded.spec
    if spec.model_version != directory.name:
        raise BundleError(
            f"{directory} holds {spec.model_version}, as its scores would say: give the directory that name"
        )
    windows = read_golden(directory / GOLDEN).windows
    steps = windows.records.shape[1]
    if steps != spec.sequence_length:
        raise BundleError(
            f"{directory} was trained on windows of {steps} transactions, its spec says {spec.sequence_length}: "
            "train again"
        )
    if longest_span_ms(windows) > spec.window_max_age_ms:
        raise BundleError(
            f"{directory} was trained on windows that reach back {longest_span_ms(windows)} ms, its spec says "
            f"{spec.window_max_age_ms}: train again"
        )
    return loaded


def longest_span_ms(windows: Windows) -> int:
    """Return the longest time from the first to the last transaction of a window; 0 where there is none."""
    filled = windows.lengths > 0
    times = windows.records["created_at_ms"][filled]
    last = times[np.arange(len(times)), windows.lengths[filled] - 1]
    return int((last - times[:, 0]).max(initial=0))


def read_spec(directory: Path) -> BundleSpec:
    """Return what a bundle says about itself, unproven.

    Raises:
        BundleError: it has no spec, or none of this release.
    """
    try:
        return BundleSpec.model_validate_json((directory / SPEC).read_bytes())
    except OSError as error:
        raise BundleError(
            f"{directory / SPEC} cannot be read ({error.strerror}): put the bundle there whole"
        ) from error
    except ValidationError as error:
        what = error.errors()[0]
        raise BundleError(f"{directory / SPEC} is not a spec of this release ({what['msg']}): train again") from error


def read_metrics(directory: Path) -> dict[str, Any]:
    """Return the numbers that training measured, unproven.

    Raises:
        BundleError: it has none, or they are no JSON object.
    """
    try:
        metrics = json.loads((directory / METRICS).read_bytes())
    except OSError as error:
        raise BundleError(
            f"{directory / METRICS} cannot be read ({error.strerror}): put the bundle there whole"
        ) from error
    except ValueError as error:
        raise BundleError(f"{directory / METRICS} is not JSON ({error}): put the bundle there whole") from error
    if not isinstance(metrics, dict):
        raise BundleError(f"{directory / METRICS} is not a JSON object: put the bundle there whole")
    return metrics
