"""Rebuild the bundles that ship, presets `default` and `baseline`: ``python -m training.starter``.

They are trained on simulated payments. The data is the same wherever it is made; weights may differ in the last digits
from one machine to another.
"""

import shutil
import tempfile
from pathlib import Path

from models.bundle import STARTER
from training.simulator import simulate_days, write_parquet
from training.train_lstm_model import train

USERS, DAYS, SEED = 2000, 70, 2024
EPOCHS, BATCH_SIZE = 20, 256


def build_starter(
    directory: Path = STARTER,
    *,
    users: int = USERS,
    days: int = DAYS,
    epochs: int = EPOCHS,
    batch_size: int = BATCH_SIZE,
) -> None:
    """Simulate, train each preset and put its bundle in ``directory``, in the place of one that is there."""
    directory.mkdir(parents=True, exist_ok=True)
    # beside the target, so that the finished bundles can be moved there
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".starter.") as scratch:
        data, store = Path(scratch) / "data", Path(scratch) / "store"
        write_parquet(simulate_days(users, days, SEED), data)
        for preset in ("default", "baseline"):
            trained = train(
                data,
                preset=preset,
                epochs=epochs,
                batch_size=batch_size,
                seed=SEED,
                store=store,
                h5=None,
                model_version=f"starter-{preset}",
            )
            shutil.rmtree(directory / preset, ignore_errors=True)
            trained.bundle.rename(directory / preset)


if __name__ == "__main__":
    build_starter()
