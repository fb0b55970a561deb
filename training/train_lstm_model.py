"""The training job: recorded transactions and labels in, a bundle in the model store out.

``python -m training.train_lstm_model --data DIR``; ``tenfold train`` does the same.
"""

import argparse
import platform
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from models.bundle import write_bundle
from models.features import PRESETS
from models.lstm import build_lstm_model
from models.spec import BundleSpec
from models.window import SEQUENCE_LENGTH, WINDOW_MAX_AGE_MS
from training.card import model_card
from training.dataset import Part, TrainingDataError, read_history, split
from training.evaluate import evaluate
from training.fit import build_for, fit, predict, save
from training.metrics import threshold_for
from training.sequence_processor import SequenceProcessor

__all__ = ["Trained", "build_lstm_model", "main", "prepare_sequences", "train", "train_lstm"]

DATA, STORE, H5 = Path("data"), Path("models/store"), Path("models/lstm_fraud_model.h5")
EPOCHS, BATCH_SIZE, SEED, LABEL_DELAY_DAYS = 20, 32, 20, 7
LABEL_RULE = "that of the window's last event, as landed at the cut-off; none by then is not fraud"


class Trained(NamedTuple):
    """What :func:`train` made."""

    bundle: Path
    metrics: dict[str, Any]
    model: keras.Model
    history: keras.callbacks.History


def prepare_sequences(
    transactions: pd.DataFrame, sequence_length: int = SEQUENCE_LENGTH
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return ``X float32 [n, T, 4]`` and ``y float32 [n]``: runs of a user's transactions, label of the next one.

    See :class:`training.sequence_processor.SequenceProcessor`, also for what is raised.
    """
    processor = SequenceProcessor(sequence_length)
    return processor.create_sequences(processor.extract_temporal_features(transactions))


def train_lstm(data: Path = DATA, **options: Any) -> tuple[keras.Model, keras.callbacks.History]:
    """Do what :func:`train` does, with its options, and return the model and the history of its training."""
    trained = train(data, **options)
    return trained.model, trained.history


def train(
    data: Path = DATA,
    *,
    preset: str = "default",
    epochs: int = EPOCHS,
    batch_size: int = BATCH_SIZE,
    seed: int = SEED,
    store: Path = STORE,
    h5: Path | None = H5,
    label_delay_days: int = LABEL_DELAY_DAYS,
    zone: str = "UTC",
    model_version: str | None = None,
    created_at: datetime | None = None,
) -> Trained:
    """Train on ``transactions.parquet`` and ``labels.parquet`` in ``data``, and tell the steps on standard output.

    The bundle is ``store/model_version``. It becomes the store's champion only where there is none: to replace one
    is a decision that takes a comparison on the same days.

    Args:
        data: the directory of the two files.
        preset: a name in :data:`models.features.PRESETS`.
        epochs: at most so many.
        batch_size: windows a step; on a CPU 512 is many times faster than 32.
        seed: of initial weights, dropout and the order of the windows.
        store: the model store.
        h5: the model is written there too, as whole-model HDF5; ``None`` leaves that out.
        label_delay_days: how long after an event its label is awaited.
        zone: IANA zone of hour, weekend and night.
        model_version: the bundle's name; preset and time of training if not given.
        created_at: the time of training; now if not given.

    Raises:
        TrainingDataError: no data, too little history, or no fraud in one of its parts.
        FileExistsError: the store has a bundle of that version.
        ValueError: there is no such preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"no preset {preset!r}; there is {', '.join(PRESETS)}")
    created_at = created_at or datetime.now(UTC)
    model_version = model_version or f"{preset}-{created_at:%Y%m%dT%H%M%SZ}"
    if (store / model_version).exists():
        raise FileExistsError(
            f"{store / model_version} exists, and a bundle is never overwritten: name another version"
        )
    features = PRESETS[preset]

    _say("Loading transaction sequences…")
    history = read_history(data)
    _say("Preparing sequences…")
    dataset = split(history, features, max_age_ms=WINDOW_MAX_AGE_MS, zone=zone, label_delay_days=label_delay_days)
    _say(f"Created {len(dataset)} sequences")
    _say("Building LSTM model…")
    keras.utils.set_random_seed(seed)
    model = build_for(dataset.train)
    model.summary(print_fn=_say)
    _say("Training…")
    with tempfile.TemporaryDirectory(dir=_made(store), prefix=f".{model_version}.") as scratch:
        training = fit(
            model,
            dataset.train,
            dataset.validation,
            epochs=epochs,
            batch_size=batch_size,
            checkpoint=Path(scratch) / "best.keras",
            verbose=1 if sys.stdout.isatty() else 2,
        )
        _say("Evaluating…")
        threshold = threshold_for(predict(model, dataset.validation.features))
        metrics = evaluate(model, dataset.test, threshold, seed)
        _say(f"Test Loss: {metrics['loss']:.4f}")
        _say(f"Test Accuracy: {metrics['accuracy']:.4f}")
        _say(f"Test AUC: {metrics['auc']:.4f}")

        spec = BundleSpec(
            model_version=model_version,
            preset=preset,
            features=features,
            sequence_length=SEQUENCE_LENGTH,
            window_max_age_ms=WINDOW_MAX_AGE_MS,
            zone=zone,
            context=(),
            threshold=threshold,
            trained_from=_instant(dataset.train.begin_ms),
            trained_to=_instant(dataset.train.end_ms),
            label_rule=LABEL_RULE,
            label_delay_days=label_delay_days,
            seed=seed,
            created_at=created_at,
            libraries={
                "python": platform.python_version(),
                **{name: version(name) for name in ("keras", "numpy", "onnx", "onnxruntime", "tensorflow")},
            },
        )
        keras_path, h5_path = Path(scratch) / "model.keras", Path(scratch) / "model.h5"
        save(model, keras_path, h5_path)
        golden = _golden_windows(dataset.test)
        how = f"Adam, batches of {batch_size}, {len(training.epoch)} of at most {epochs} epochs, seed {seed}."
        write_bundle(
            store / model_version,
            keras_path=keras_path,
            h5_path=h5_path,
            spec=spec,
            metrics=metrics,
            golden_windows=golden.windows,
            golden_probabilities=predict(model, golden.features),
            card=model_card(spec, metrics, dataset, how),
        )
        if h5 is not None:
            _made(h5.parent)
            h5_path.replace(h5)
            _say(f"Model saved to {h5}")
    if not (store / "champion").exists():
        (store / "champion").write_text(f"{model_version}\n", encoding="utf-8")
    _say(f"Bundle {store / model_version}")
    return Trained(store / model_version, metrics, model, training)


def _golden_windows(test: Part) -> Part:
    """Return some of the test windows: four of every length that occurs, and the sixteen latest frauds."""
    rows = [np.flatnonzero(test.windows.lengths == length)[:4] for length in range(1, SEQUENCE_LENGTH + 1)]
    rows.append(np.flatnonzero(test.is_fraud)[-16:])
    some = np.unique(np.concatenate(rows))
    return replace(test, windows=test.windows.take(some), features=test.features[some], is_fraud=test.is_fraud[some])


def _instant(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    """Run the job with options from the command line; exit with 1 and one line where the data does not serve."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train_lstm_model", description=(train.__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--data", type=Path, default=DATA, help="directory of transactions.parquet and labels.parquet")
    parser.add_argument("--preset", choices=list(PRESETS), default="default")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--store", type=Path, default=STORE)
    parser.add_argument("--label-delay-days", type=int, default=LABEL_DELAY_DAYS)
    parser.add_argument("--zone", default="UTC")
    options = parser.parse_args()
    try:
        train(**vars(options))
    except (TrainingDataError, FileExistsError) as error:
        sys.exit(f"train: {error}")


if __name__ == "__main__":
    main()
