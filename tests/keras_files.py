"""Small networks as Keras itself writes them, with the probabilities that Keras computes for some windows.

They lie in ``tests/data/keras``, so that tests read real Keras files where there is no TensorFlow. Made anew by
``python -m tests.keras_files``; ``tests/unit/test_lstm.py`` checks that the Keras of the day still agrees with them.
"""

from pathlib import Path
from typing import Any

import numpy as np

from models.features import PRESETS, step_features
from models.golden import Golden, write_golden
from models.window import RECORD, VPN, Windows

KERAS_FILES = Path(__file__).parent / "data" / "keras"

#: name -> the preset it reads and the width of its context; "origin" is the project's origin's plain Sequential, and in
#: "context" the context is joined as it is
NETWORKS = {
    "baseline": ("baseline", 0),
    "default": ("default", 0),
    "context": ("default", 5),
    "origin": ("baseline", 0),
    "deep_context": ("default", 5),
}


def random_windows(rng: np.random.Generator, n: int, sequence_length: int = 10) -> Windows:
    """Return windows of every length in turn, with amounts, hours and gaps as people have them."""
    lengths = np.arange(n) % sequence_length + 1
    records = np.zeros((n, sequence_length), RECORD)
    gaps_ms = rng.lognormal(16, 2, records.shape).astype(np.int64)
    records["created_at_ms"] = 1_750_000_000_000 + np.cumsum(gaps_ms, axis=1)
    records["transaction"] = np.arange(1, records.size + 1).reshape(records.shape)
    records["amount"] = rng.lognormal(3.5, 1.2, records.shape)
    records["flags"] = np.where(rng.random(records.shape) < 0.1, VPN, 0)
    records[np.arange(sequence_length) >= lengths[:, None]] = np.zeros((), RECORD)
    return Windows(records, lengths)


def random_model(rng: np.random.Generator, preset: str, context_width: int, **settings: Any) -> Any:
    """Return an untrained Keras model with weights large enough that every step and every gate shows."""
    from models.lstm import build_lstm_model  # noqa: PLC0415 - importing TensorFlow takes seconds

    steps = step_features(random_windows(rng, 500), PRESETS[preset])[:, 0]  # the first step is in every window
    scale = 1 / (steps.std(axis=0) + 1e-6)
    model = build_lstm_model(
        10,
        len(PRESETS[preset]),
        context_width=context_width,
        scale=scale.clip(max=10),
        offset=-steps.mean(axis=0) * scale.clip(max=10),
        context_scale=[0.5] * context_width if context_width else None,
        context_offset=[0.25] * context_width if context_width else None,
        **settings,
    )
    randomise(rng, model)
    windows = random_windows(rng, 500)
    context = rng.normal(size=(500, context_width)).astype(np.float32) if context_width else None
    spread(model, keras_probabilities(model, step_features(windows, PRESETS[preset]), context))
    return model


def spread(model: Any, probabilities: np.ndarray) -> None:
    """Move the last layer so that the log odds of these probabilities have mean 0 and deviation 1."""
    odds = np.log(probabilities.astype(np.float64) / (1 - probabilities))
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel / odds.std(), (bias - odds.mean()) / odds.std()])


def randomise(rng: np.random.Generator, model: Any) -> None:
    for weights in model.trainable_variables:
        fan_in = weights.shape[0] if len(weights.shape) == 2 else 4
        weights.assign(rng.normal(0, 1.5 / np.sqrt(fan_in), weights.shape))


def keras_probabilities(model: Any, features: np.ndarray, context: np.ndarray | None) -> np.ndarray:
    inputs = features if context is None else [features, context]
    return np.asarray(model.predict(inputs, batch_size=2048, verbose=0)[:, 0])


def _origin(rng: np.random.Generator) -> Any:
    import keras  # noqa: PLC0415
    from keras import layers  # noqa: PLC0415

    model = keras.Sequential(
        [
            keras.Input((10, 4)),
            layers.LSTM(16, return_sequences=True),
            layers.Dropout(0.2),
            layers.LSTM(8),
            layers.Dropout(0.2),
            layers.Dense(4, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", "AUC"])
    randomise(rng, model)
    full = step_features(random_windows(rng, 500), PRESETS["baseline"])[9::10]
    spread(model, keras_probabilities(model, full, None))
    return model


def main() -> None:
    KERAS_FILES.mkdir(parents=True, exist_ok=True)
    for seed, (name, (preset, context_width)) in enumerate(NETWORKS.items()):
        rng = np.random.default_rng(seed)
        if name == "origin":
            model = _origin(rng)
        else:
            units = 6 if name == "deep_context" else 0
            model = random_model(rng, preset, context_width, lstm_units=(16, 8), dense_units=4, context_units=units)
        model.save(KERAS_FILES / f"{name}.keras")
        model.save(KERAS_FILES / f"{name}.h5")
        windows = random_windows(rng, 60)
        if name == "origin":  # it has no masking: Keras would read the padding
            windows = windows.take(windows.lengths == 10)
        features = step_features(windows, PRESETS[preset])
        context = rng.normal(size=(len(windows), context_width)).astype(np.float32) if context_width else None
        write_golden(
            KERAS_FILES / f"{name}.npz",
            Golden(windows, features, context, keras_probabilities(model, features, context)),
        )


if __name__ == "__main__":
    main()
