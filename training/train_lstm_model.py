"""The training job: recorded transactions and labels in, a bundle in the model store out.

``python -m training.train_lstm_model --data DIR``; ``tenfold train`` does the same.
"""

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.features import PRESETS
from models.lstm import build_lstm_model
from models.window import SEQUENCE_LENGTH, WINDOW_MAX_AGE_MS
from stream.errors import UsageError
from stream.plurals import count_of
from training.columns import TrainingDataError
from training.dataset import Split, read_history
from training.dataset import split as split_history
from training.job import Job, Trained, say
from training.known_cards import frauds_of
from training.options import zone as zone_of
from training.resumable import AtWorkError
from training.sequence_processor import SequenceProcessor
from training.threshold import BY_BUDGET, ThresholdRule

if TYPE_CHECKING:  # TensorFlow is imported once the data is known to serve
    import keras

__all__ = ["Trained", "build_lstm_model", "main", "prepare_sequences", "train", "train_lstm"]

DATA, STORE, H5 = Path("data"), Path("models/store"), Path("models/lstm_fraud_model.h5")
EPOCHS, BATCH_SIZE, SEED, LABEL_DELAY_DAYS = 20, 32, 20, 7


def prepare_sequences(
    transactions: pd.DataFrame, sequence_length: int = SEQUENCE_LENGTH
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return ``X float32 [n, T, 4]`` and ``y float32 [n]``: runs of a user's transactions, label of the next one.

    See :class:`training.sequence_processor.SequenceProcessor`, also for what is raised.
    """
    processor = SequenceProcessor(sequence_length)
    return processor.create_sequences(processor.extract_temporal_features(transactions))


def train_lstm(data: Path = DATA, **options: Any) -> "tuple[keras.Model, keras.callbacks.History]":
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
    split: Split = "time",
    rule: ThresholdRule = BY_BUDGET,
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
        split: how rows are told apart for training and test; see :func:`training.dataset.split_by_row`.
        rule: how the threshold is chosen.
        model_version: the bundle's name; preset and time of training if not given.
        created_at: the time of training; now if not given.

    Raises:
        TrainingDataError: no data, too little history, or no fraud in one of its parts.
        FileExistsError: the store has a bundle of that version.
        ValueError: there is no such preset.
    """
    job = Job(
        preset=preset,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        store=store,
        h5=h5,
        label_delay_days=label_delay_days,
        zone=zone,
        split=split,
        rule=rule,
        created_at=created_at or datetime.now(UTC),
        model_version=model_version,
    )
    say("Loading transaction sequences…")
    history = read_history(data)
    if history.strange_labels:
        say(f"{count_of(history.strange_labels, 'label')} of transactions that are not in transactions.parquet")
    say("Preparing sequences…")
    dataset = split_history(
        history,
        job.features,
        max_age_ms=WINDOW_MAX_AGE_MS,
        zone=zone,
        label_delay_days=label_delay_days,
        by=split,
    )
    return job.run(dataset, frauds_of(history))


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text}: give {least} or more")
        return int(text)

    return number


def main() -> None:
    """Run the job with options from the command line; exit with one line where they or the data do not serve."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train_lstm_model", description=(train.__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--data", type=Path, default=DATA, help="directory of transactions.parquet and labels.parquet")
    parser.add_argument("--preset", choices=list(PRESETS), default="default")
    parser.add_argument("--epochs", type=_at_least(1), default=EPOCHS)
    parser.add_argument("--batch-size", type=_at_least(1), default=BATCH_SIZE)
    parser.add_argument("--seed", type=_at_least(0), default=SEED)
    parser.add_argument("--store", type=Path, default=STORE)
    parser.add_argument("--label-delay-days", type=_at_least(0), default=LABEL_DELAY_DAYS)
    parser.add_argument("--zone", default="UTC")
    options = parser.parse_args()
    try:
        zone_of("--zone", options.zone)
        train(**vars(options))
    except (UsageError, TrainingDataError, FileExistsError, AtWorkError) as error:
        sys.exit(f"train: {error}")


if __name__ == "__main__":
    main()
