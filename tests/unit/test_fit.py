"""Fitting: the same seed gives the same weights, and a run that was killed goes on where it stood."""

import os
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


def part(n: int, seed: int, context_width: int = 0) -> Part:
    """Return windows of three steps whose last one, and whose context, shows in a number whether they are frauds.

    The last column of the context never varies.
    """
    rng = np.random.default_rng(seed)
    is_fraud = (rng.random(n) < 0.3).astype(np.float32)
    features = rng.normal(size=(n, 3, 2)).astype(np.float32)
    features[:, -1, 0] += 4 * is_fraud
    windows = Windows.empty(n, 3)
    windows.lengths[:] = 3
    context = (4 * is_fraud[:, None] + rng.normal(size=(n, context_width))).astype(np.float32)
    context[:, -1:] = 0.1
    return Part(windows, features, context, np.arange(n, dtype=np.uint64), is_fraud, 0, 1)


def trained(scratch: Path, context_width: int, epochs: int = 2) -> tuple[keras.Model, list[int]]:
    """Return a model after ``epochs``, and which of them were gone through."""
    keras.utils.set_random_seed(5)
    train = part(400, 1, context_width)
    model = build_for(train)
    options = {"epochs": epochs, "batch_size": 64, "seed": 5, "scratch": scratch, "verbose": 0}
    history = fit(model, train, part(200, 2, context_width), **options)  # type: ignore[arg-type]
    return model, history.epoch


def same(a: keras.Model, b: keras.Model) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


@pytest.mark.parametrize("context_width", [0, 3])
def test_the_same_seed_gives_the_same_weights(context_width: int, tmp_path: Path) -> None:
    (first, _), (second, _) = (trained(tmp_path / name, context_width) for name in "ab")
    assert same(first, second)


@pytest.mark.parametrize("context_width", [0, 3])
def test_a_run_that_was_killed_goes_on_where_it_stood(
    context_width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(keras.callbacks.ModelCheckpoint):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002 - Keras calls it so
            if epoch == 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("keras.callbacks.ModelCheckpoint", Killed)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path, context_width)

    model, epochs = trained(tmp_path, context_width)
    assert epochs == [1]
    assert int(model.optimizer.iterations.numpy()) == 2 * 7, "the optimizer's state went on"


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_run_that_is_killed_while_it_saves_goes_on_where_the_epoch_before_had_ended(
    epoch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = keras.Model.save_weights

    def killed(model: keras.Model, path: Path, *, overwrite: bool) -> None:
        save(model, path, overwrite=overwrite)
        if int(model.optimizer.iterations.numpy()) == 7 * (epoch + 1):
            os.truncate(path, path.stat().st_size // 2)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("keras.Model.save_weights", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path, 0, epochs=3)

    assert trained(tmp_path, 0, epochs=3)[1] == [0, 1, 2][epoch:]


def test_the_network_learns_from_the_context_and_normalises_it_itself(tmp_path: Path) -> None:
    blind = [replace(each, features=np.zeros_like(each.features)) for each in (part(2000, 1, 3), part(500, 2, 3))]
    keras.utils.set_random_seed(6)
    model = build_for(blind[0])
    scaled = model.get_layer("normalise_context").get_config()
    assert scaled["scale"][2] == 1, "a column that never varies would divide by nothing"
    varying = blind[0].context[:, :2] * scaled["scale"][:2] + scaled["offset"][:2]
    np.testing.assert_allclose([varying.mean(axis=0), varying.std(axis=0)], [[0, 0], [1, 1]], atol=1e-4)
    fit(model, *blind, epochs=2, batch_size=64, seed=6, scratch=tmp_path, verbose=0)
    probabilities = predict(model, blind[1].features, blind[1].context)
    assert probabilities[blind[1].is_fraud > 0].min() > np.median(probabilities)


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
    assert predict(model, test.features, test.context).mean() == pytest.approx(test.is_fraud.mean(), rel=0.15)
