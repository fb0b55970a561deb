"""Fitting: the same seed gives the same weights, and a run that was killed goes on where it stood."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs the training extra")
pytest.importorskip("pyarrow", reason="needs the training extra")

import keras

from models.window import Windows
from training.dataset import Part
from training.fit import build_for, fit, predict

pytestmark = pytest.mark.training


def part(n: int, seed: int, honest_weight: float = 1.0) -> Part:
    """Return windows of three steps whose last one shows in a number whether they are frauds."""
    rng = np.random.default_rng(seed)
    is_fraud = (rng.random(n) < 0.3).astype(np.float32)
    features = rng.normal(size=(n, 3, 2)).astype(np.float32)
    features[:, -1, 0] += 4 * is_fraud
    windows = Windows.empty(n, 3)
    windows.lengths[:] = 3
    context, users = np.empty((n, 0), np.float32), np.arange(n, dtype=np.uint64)
    return Part(windows, features, context, users, is_fraud, 0, 1, honest_weight)


def trained(scratch: Path) -> tuple[keras.Model, list[int]]:
    """Return a model after two epochs, and which of them were gone through."""
    keras.utils.set_random_seed(5)
    model = build_for(part(400, 1))
    options = {"epochs": 2, "batch_size": 64, "seed": 5, "scratch": scratch, "verbose": 0}
    history = fit(model, part(400, 1), part(200, 2), **options)  # type: ignore[arg-type]
    return model, history.epoch


def same(a: keras.Model, b: keras.Model) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    (first, _), (second, _) = (trained(tmp_path / name) for name in "ab")
    assert same(first, second)


def test_a_run_that_was_killed_goes_on_where_it_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(keras.callbacks.ModelCheckpoint):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002 - Keras calls it so
            if epoch == 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("keras.callbacks.ModelCheckpoint", Killed)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path)

    model, epochs = trained(tmp_path)
    assert epochs == [1]
    assert int(model.optimizer.iterations.numpy()) == 2 * 7, "the optimizer's state went on"


def test_probabilities_mean_shares_although_honest_windows_were_left_out(tmp_path: Path) -> None:
    whole = part(6000, 3)
    kept = (whole.is_fraud > 0) | (np.random.default_rng(4).random(len(whole)) < 0.2)
    sampled = replace(whole.take(np.flatnonzero(kept)), honest_weight=5)
    assert sampled.fraud_rate == pytest.approx(whole.fraud_rate, rel=0.05)
    assert sampled.is_fraud.mean() > 2 * whole.is_fraud.mean()
    keras.utils.set_random_seed(6)
    model = build_for(sampled)
    fit(model, sampled, part(1000, 7), epochs=4, batch_size=128, seed=6, scratch=tmp_path, verbose=0)
    test = part(4000, 8)
    assert predict(model, test.features).mean() == pytest.approx(test.is_fraud.mean(), rel=0.15)
