"""What a bundle says of the payments it learned from, where honest ones were left out."""

from dataclasses import replace

import numpy as np
import pytest

from models.window import RECORD, Windows
from training.dataset import Dataset, Part
from training.reference import training_reference


def part(amounts: list[float], is_fraud: list[float], honest_weight: float) -> Part:
    """Return windows of one payment, but the first, which has a second step."""
    n = len(amounts)
    features = np.full((n, 3, 1), -1, np.float32)
    features[:, 0, 0] = amounts
    features[0, :2, 0] = 999, amounts[0]
    lengths = np.ones(n, np.int64)
    lengths[0] = 2
    return Part(
        Windows(np.zeros((n, 3), RECORD), lengths),
        features,
        np.arange(n, dtype=np.float32)[:, None],
        np.zeros(n, np.uint64),
        np.array(is_fraud, np.float32),
        0,
        1,
        honest_weight,
    )


def test_the_last_step_counts_and_honest_payments_for_those_that_were_left_out() -> None:
    train = part([10, 20, 30], [0, 0, 1], honest_weight=5.0)
    validation = replace(train, honest_weight=1.0)
    scores = np.array([0.1, 0.1, 0.9], np.float32)

    columns = training_reference(
        Dataset(train, validation, validation), ("amount", "context.x", "score"), scores
    ).columns

    assert columns["amount"].shares == pytest.approx([0, 5 / 11, 5 / 11, 1 / 11, 0])
    assert columns["amount"].edges[1:3] == (15.0, 25.0)
    assert columns["context.x"].shares == pytest.approx([0, 5 / 11, 5 / 11, 1 / 11, 0])
    assert columns["score"].shares == pytest.approx([0, 2 / 3, 1 / 3, 0])
    assert {column.events for column in columns.values()} == {3}
