"""``tenfold score`` whose challenger misbehaves: ``python -m tests.integration.misbehaving_challenger raise|sleep``.

Production code has no hooks for this: the challenger is wrapped here, before the scorer starts.
"""

import sys
import time
from collections.abc import Callable
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from models.context import Floats32
from models.spec import BundleSpec
from models.window import Windows
from stream import champion, cli
from stream.metrics import Metrics
from stream.microbatch import Model
from stream.shadow import Shadow

LONG_S = 3600.0


def fail() -> NoReturn:
    """Raise what a runtime raises."""
    raise RuntimeError("non-zero status code returned while running LSTM node")


class Misbehaving:
    """A model that does something else instead of scoring."""

    def __init__(self, model: Model, instead: Callable[[], object]) -> None:
        self._model, self._instead = model, instead

    @property
    def spec(self) -> BundleSpec:
        """That of the model."""
        return self._model.spec

    def score(self, windows: Windows, context: Floats32 | None = None) -> npt.NDArray[np.floating]:
        """Misbehave first."""
        self._instead()
        return self._model.score(windows, context)


def main() -> None:
    """Run the scorer."""
    instead = {"raise": fail, "sleep": lambda: time.sleep(LONG_S)}[sys.argv.pop(1)]

    def shadow(model: Model, metrics: Metrics) -> Shadow:
        return Shadow(Misbehaving(model, instead), metrics)

    champion.Shadow = shadow  # type: ignore[assignment, misc]
    sys.argv.append("score")
    cli.main()


if __name__ == "__main__":
    main()
