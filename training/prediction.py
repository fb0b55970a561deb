"""A model as a function, whichever engine computes it, and what evaluation asks it besides the test itself."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from models.bundle import LoadedBundle
from models.window import Ints
from training.dataset import Part
from training.metrics import ranking, shuffle_steps

Floats32 = npt.NDArray[np.float32]

#: Features ``float32 [n, T, F]``, lengths ``int64 [n]`` and context ``float32 [n, C]`` in, probabilities out.
Predict = Callable[[Floats32, Ints, Floats32], Floats32]

_AT_ONCE = 65_536  # windows: the features may be mapped from disk, and more than memory holds


def predict_of(bundle: LoadedBundle) -> Predict:
    """Return a bundle's runtime as such a function; where the model reads no context, what is given is left aside."""
    reads_context = bool(bundle.spec.context)

    def predict(features: Floats32, lengths: Ints, context: Floats32) -> Floats32:
        return bundle.runtime.predict(features, lengths, context if reads_context else None)

    return predict


def predict_part(predict: Predict, part: Part, change: Callable[[Floats32, Ints], Floats32] | None = None) -> Floats32:
    """Return the probabilities of a part's windows, ``float32 [n]``; ``change`` may alter their features."""
    probabilities = np.empty(len(part), np.float32)
    for begin in range(0, len(part), _AT_ONCE):
        rows = slice(begin, begin + _AT_ONCE)
        features, lengths = np.asarray(part.features[rows]), part.windows.lengths[rows]
        if change is not None:
            features = change(features, lengths)
        probabilities[rows] = predict(features, lengths, np.asarray(part.context[rows]))
    return probabilities


def ranking_shuffled(predict: Predict, part: Part, seed: int) -> dict[str, dict[str, float | None]]:
    """Return the ranking of the same windows with their steps in random order: what is lost is what was known of time.

    ``shuffled`` moves every step of a window, the scored one among them; ``history_shuffled`` only those before it.
    """
    rng = np.random.default_rng(seed)

    def ranked(keep_last: bool) -> dict[str, float | None]:
        def change(features: Floats32, lengths: Ints) -> Floats32:
            return shuffle_steps(features, lengths, rng, keep_last=keep_last)

        return ranking(np.asarray(part.is_fraud), predict_part(predict, part, change))

    return {"shuffled": ranked(keep_last=False), "history_shuffled": ranked(keep_last=True)}
