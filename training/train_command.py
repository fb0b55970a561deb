"""``tenfold train``: the training job, where TensorFlow is installed."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stream.errors import TenfoldError

_NEEDED = ("tensorflow", "keras", "pandas", "pyarrow")


class TrainError(TenfoldError):
    """The model cannot be trained; the message says why and what to do."""


def run(data: Path, **options: Any) -> dict[str, Any]:
    """Train with the options of :func:`training.train_lstm_model.train`; return bundle, metrics and epochs for JSON.

    Raises:
        TrainError: TensorFlow is missing, or the data does not serve.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]  # looked up only: to import them takes seconds
    if missing:
        raise TrainError(f"training needs {', '.join(missing)}: pip install 'tenfold[training]'")
    absent = [name for name in ("transactions.parquet", "labels.parquet") if not (data / name).is_file()]
    if absent:
        raise TrainError(f"no {' and no '.join(absent)} in {data}: `tenfold simulate --to {data}` makes both")
    from training.dataset import TrainingDataError  # noqa: PLC0415 - not where the extra is missing
    from training.train_lstm_model import train  # noqa: PLC0415

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
