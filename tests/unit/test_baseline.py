"""The baseline sees the scored payment as the network does, and how much each window stands for."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the training extra")
pytest.importorskip("pyarrow", reason="needs the training extra")

from sklearn.metrics import roc_auc_score

from tests.windowed import part_of
from training import baseline as module
from training.baseline import Floats32, fit_baseline
from training.dataset import Part


def scored_payment(part: Part) -> Floats32:
    return part.features[np.arange(len(part)), part.windows.lengths - 1, 1]


def first_payment(part: Part) -> Floats32:
    return part.features[:, 0, 1]


@pytest.mark.parametrize(
    ("shown", "seen"),
    [
        (scored_payment, True),
        (lambda part: part.context[:, 1], True),
        (lambda part: part.windows.lengths, True),
        (lambda part: np.where(part.windows.lengths > 1, first_payment(part), -9), False),  # the past is not told
    ],
    ids=["scored payment", "context", "length", "payment before"],
)
def test_it_learns_from_the_scored_payment_the_length_and_the_context_alone(shown, seen) -> None:  # type: ignore[no-untyped-def]
    train, validation, test = (part_of(4000, seed, begin=7 * seed) for seed in (1, 2, 3))
    train, validation, test = (
        replace(part, is_fraud=(shown(part) > 1).astype(np.float32)) for part in (train, validation, test)
    )
    if not seen:  # of longer windows only, since the length alone tells something
        test = test.take(np.flatnonzero(test.windows.lengths > 1))

    auc = roc_auc_score(test.is_fraud, fit_baseline(train, validation, seed=1).predict(test))

    assert (auc > 0.99) == seen
    assert seen or auc < 0.6


def test_windows_that_were_left_out_are_counted_so_that_probabilities_stay_shares() -> None:
    train, validation, test = (part_of(20_000, seed, fraud_rate=0.05, begin=7 * seed) for seed in (1, 2, 3))
    honest = np.flatnonzero(train.is_fraud == 0)
    kept = np.sort(np.concatenate([np.flatnonzero(train.is_fraud), honest[::10]]))
    sampled = replace(train.take(kept), honest_weight=10.0)

    probabilities = fit_baseline(sampled, validation, seed=1).predict(test)

    assert probabilities.mean() == pytest.approx(test.is_fraud.mean(), rel=0.2)


def test_the_same_seed_fits_the_same_and_no_more_windows_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOWS", 700)
    train, validation = part_of(1500, 1), part_of(600, 2, begin=7)
    first, second = (fit_baseline(train, validation, seed=4) for _ in range(2))
    assert first.windows == 500
    assert np.array_equal(first.predict(validation), second.predict(validation))


@pytest.mark.parametrize("begin", [0, 7], ids=["validation within training", "validation later"])
def test_it_stops_before_it_learns_noise_by_heart(begin: int) -> None:
    train = part_of(3000, 1)  # nothing shows whether a window is a fraud
    validation = part_of(1000, 2, begin=7) if begin else train.take(slice(2000, 3000))

    assert fit_baseline(train, validation, seed=1).trees.n_iter_ < 100
