"""The model as a library: the last transactions of one user in, one verdict out."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from models.bundle import load_bundle, starter
from models.features import PRESETS, step_features
from models.runtime import Runtime
from models.window import WINDOW_MAX_AGE_MS
from stream.detector_input import READY, is_raw, raw_window, ready_features
from stream.lstm_predictor import open_keras_file

DEFAULT_PATH = "models/lstm_fraud_model.h5"  # where training leaves the model

THRESHOLD = 0.7  # for a model file, which carries none of its own


class Detection(TypedDict):
    """What is said of a user's last transaction."""

    fraud_probability: float
    lstm_score: int  # 0 to 100
    sequence_anomaly: bool  # the probability is above the threshold
    insufficient_history: bool  # fewer transactions than the model's sequence; nothing was computed


@dataclass(frozen=True)
class _Model:
    runtime: Runtime
    preset: str
    features: tuple[str, ...]
    sequence_length: int
    window_max_age_ms: int
    zone: str
    threshold: float

    def probability(self, transactions: Sequence[Mapping[str, Any]]) -> float:
        if set(self.features) <= READY.keys() and not is_raw(transactions):
            sequence, length = ready_features(transactions, self.features), np.array([len(transactions)])
        else:
            window = raw_window(transactions, self.preset, self.window_max_age_ms)
            sequence, length = step_features(window, self.features, self.zone), window.lengths
        probability = float(self.runtime.predict(sequence, length)[0])
        if not isfinite(probability):
            raise ValueError("the model computes no probability for these transactions: is an amount absurdly large?")
        return probability


class LSTMFraudDetector:
    """Judges whether a user's last transaction is fraud, from the ten that end with it.

    ``model_path`` is a bundle's directory, or a Keras ``.h5`` or ``.keras`` with the features of a preset. Where there
    is nothing at the default path, the starter bundles that ship with Tenfold take its place.

    Transactions are dicts, oldest first. Models of the baseline features read ``amount``, ``hour_of_day``,
    ``is_weekend`` and ``is_vpn`` as they are; ``hour_of_day`` is 12 and the others 0 where missing. All other models,
    and all where only ``created_at`` tells the time, make their features from ``amount``, ``created_at`` (RFC 3339, or
    a datetime with its zone) and ``is_vpn`` (false where missing).
    """

    def __init__(self, model_path: str | PathLike[str] = DEFAULT_PATH):
        """Load the model.

        Raises:
            FileNotFoundError: nothing at ``model_path``, which is not the default.
            ValueError: a model that takes other than these transactions.
            BundleError: a bundle that does not verify.
        """
        path = Path(model_path)
        if fspath(model_path) == DEFAULT_PATH and not path.exists():
            self._ready, self._raw = _open_bundle(starter("baseline")), _open_bundle(starter("default"))
        else:
            self._ready = self._raw = _open_bundle(path) if path.is_dir() else _open_file(path)

    async def predict_sequence(self, transactions: Sequence[Mapping[str, Any]]) -> Detection:
        """Judge the last of ``transactions`` by the last ten; the model runs in a worker thread.

        Raises:
            ValueError: a field that is missing or not what it should be; the message names it, where, and the preset.
        """
        model = self._raw if is_raw(transactions) else self._ready
        if len(transactions) < model.sequence_length:
            return Detection(fraud_probability=0.0, lstm_score=0, sequence_anomaly=False, insufficient_history=True)
        last = list(transactions)[-model.sequence_length :]
        probability = await asyncio.to_thread(model.probability, last)
        return Detection(
            fraud_probability=probability,
            lstm_score=int(probability * 100),
            sequence_anomaly=probability > model.threshold,
            insufficient_history=False,
        )


def _open_bundle(directory: Path) -> _Model:
    loaded = load_bundle(directory)
    spec = loaded.spec
    if spec.context:
        raise ValueError(
            f"the bundle {directory} also reads {', '.join(spec.context)}, which transactions alone do not tell: "
            "give a bundle without context"
        )
    return _Model(
        loaded.runtime,
        spec.preset,
        spec.features,
        spec.sequence_length,
        spec.window_max_age_ms,
        spec.zone,
        spec.threshold,
    )


def _open_file(path: Path) -> _Model:
    network, runtime = open_keras_file(path)
    preset = next((name for name, features in PRESETS.items() if len(features) == network.n_features), None)
    if preset is None or network.context_width:
        known = ", ".join(f"the {len(features)} of {name!r}" for name, features in PRESETS.items())
        raise ValueError(
            f"{path} reads {network.n_features} features and {network.context_width} of context; a file without its "
            f"bundle must read those of a preset, {known}: give the bundle's directory"
        )
    return _Model(runtime, preset, PRESETS[preset], network.sequence_length, WINDOW_MAX_AGE_MS, "UTC", THRESHOLD)
