"""A model judged on days that it has not seen: all that ``metrics.json`` says of it, and what the report draws."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from stream.encode import rounded
from training.dataset import Part
from training.importance import permutation_importance
from training.measures import Known, compared, gain, measure
from training.metrics import Probabilities
from training.prediction import Floats32, Predict, predict_part, ranking_shuffled
from training.scored import Scored, scored


class Inputs(NamedTuple):
    """Names of what a model reads."""

    features: Sequence[str]
    context: Sequence[str]


@dataclass(frozen=True)
class Evaluated:
    """What a model did on the days of a test."""

    metrics: Mapping[str, Any]  # for JSON
    payments: Scored  # of the test, by the model
    baseline: Probabilities | None  # [n] the baseline's probabilities of the same payments, where there is one


def evaluate(
    predict: Predict,
    test: Part,
    inputs: Inputs,
    known: Known,
    *,
    threshold: float,
    alert_budget: float,
    seed: int,
    baseline: Callable[[Part], Floats32] | None = None,
) -> Evaluated:
    """Judge a model.

    Args:
        predict: the model.
        test: the days.
        inputs: what the columns of ``test`` are.
        known: what was known of the cards.
        threshold: probability above which it flags a payment.
        alert_budget: share of the payments that may be flagged.
        seed: of what is shuffled.
        baseline: another model to measure it against, see :mod:`training.baseline`.
    """
    payments = scored(test, rounded(predict_part(predict, test)))  # as published: verdicts are made from these
    metrics = {
        **measure(payments, known, threshold, alert_budget),
        **ranking_shuffled(predict, test, seed),
        "importance": permutation_importance(predict, test, inputs.features, inputs.context, seed),
    }
    if baseline is None:
        return Evaluated(metrics, payments, None)
    its_probabilities = rounded(baseline(test))
    its_measures = compared(measure(scored(test, its_probabilities), known, threshold, alert_budget))
    metrics |= {"baseline": its_measures, "gain": gain(metrics, its_measures)}
    return Evaluated(metrics, payments, its_probabilities)
