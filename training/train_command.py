"""``tenfold train``: the training job, where TensorFlow is installed."""

from pathlib import Path
from typing import Any

from stream.errors import TenfoldError


class TrainError(TenfoldError):
    """The model cannot be trained; the message says why and what to do."""


def run(data: Path, **options: Any) -> dict[str, Any]:
    """Train with the options of :func:`training.train_lstm_model.train`; return bundle, metrics and epochs for JSON.

    Raises:
        TrainError: TensorFlow is missing, or the data does not serve.
    """
    try:
        from training.dataset import TrainingDataError  # noqa: PLC0415 - so that a missing extra is one clear line
        from training.train_lstm_model import train  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise TrainError(f"training needs {error.name}: pip install 'tenfold[training]'") from None
    try:
        trained = train(data, **options)
    except (TrainingDataError, FileExistsError) as error:
        raise TrainError(str(error)) from None
    return {
        "bundle": str(trained.bundle),
        "model_version": trained.bundle.name,
        "epochs": len(trained.history.epoch),
        "metrics": trained.metrics,
    }
