"""The model card that travels with a bundle."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from models.spec import BundleSpec
from training.dataset import Dataset, Part
from training.measured import measured


def model_card(spec: BundleSpec, metrics: Mapping[str, Any], dataset: Dataset, training: str) -> str:
    """Return ``card.md``; ``training`` is a sentence on how it was trained."""
    stretches = "\n".join(
        f"| {name} | {_instant(part.begin_ms)} | {_instant(part.end_ms)} | {len(part):,} | {part.fraud_rate:.2%} |"
        for name, part in _parts(dataset).items()
    )
    return f"""# {spec.model_version}

Scores the last of up to {spec.sequence_length} payments of a user: the probability that it is a fraud.

Preset `{spec.preset}`; per step {_names(spec.features)}. {_context(spec)} Hours and days are in {spec.zone};
a payment counts for {spec.window_max_age_ms / 86_400_000:g} days.

## Trained on

| | from | to | windows | fraud |
|---|---|---|--:|--:|
{stretches}

Label: {spec.label_rule}. Between training and validation lies the label delay of {spec.label_delay_days} days.
{training} {_imbalance(dataset.train)}

## Measured on the test days

{measured(metrics)}

The threshold, {spec.threshold:.4f}, is {spec.threshold_rule}.

## Not for

{_unseen(spec)} Windows of fewer than {spec.sequence_length} payments are scored, with less to go by. Payments of
other people in other places: train on your own.
"""


def _context(spec: BundleSpec) -> str:
    if not spec.context:
        return "No profiles of merchants and users."
    return f"Beside the window, of its merchant's and user's daily profiles, {_names(spec.context)}."


def _unseen(spec: BundleSpec) -> str:
    if not spec.context:
        return "Frauds that one user's payments do not show, such as a skimmed merchant."
    return "Merchants skimmed so lately that no label tells of it yet."


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _imbalance(train: Part) -> str:
    if train.honest_weight == 1:
        return "Frauds are not weighted or repeated, so probabilities keep the meaning of shares."
    return (
        f"Of the training windows that are no fraud one in {train.honest_weight:.4g} was kept, at random, and weighs "
        "as many as it stands for, so probabilities keep the meaning of shares."
    )


def _parts(dataset: Dataset) -> dict[str, Part]:
    return {"training": dataset.train, "validation": dataset.validation, "test": dataset.test}


def _instant(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
