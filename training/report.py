"""The report of an evaluation: one page of HTML that needs nothing beside it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from models.spec import BundleSpec
from training import plots
from training.daily import CARDS_A_DAY
from training.evaluate import Evaluated

_NONE = "n/a"

MODEL, BASELINE = "this model", "gradient boosting"

#: What stands in the tables, and as what.
MEASURES = {
    "auc": "AUC",
    "average_precision": "average precision",
    "protocol_auc": "AUC, by the protocol",
    "protocol_average_precision": "average precision, by the protocol",
    f"card_precision_at_{CARDS_A_DAY}": f"card precision at {CARDS_A_DAY} a day",
}


class Figure(NamedTuple):
    """A plot and what one sees in it."""

    title: str
    svg: Markup
    caption: str


def report_page(spec: BundleSpec, evaluated: Evaluated) -> str:
    """Return ``report.html``: no script, nothing from elsewhere, told without colour."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent, "signed": signed, "as_measure": as_measure}
    return environment.get_template("report.html.j2").render(
        spec=spec,
        metrics=evaluated.metrics,
        first=evaluated.metrics["days_of_test"][0]["day"],
        last=evaluated.metrics["days_of_test"][-1]["day"],
        trained_last=spec.trained_to and (spec.trained_to - timedelta(milliseconds=1)).date(),
        measures=MEASURES,
        cards=CARDS_A_DAY,
        card_precision_at_most=_card_precision_at_most(evaluated.metrics["days_of_test"]),
        figures=list(_figures(evaluated)),
    )


def _card_precision_at_most(days: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the card precision of lists that begin with every card that was defrauded on their day."""
    listed = [day["defrauded_cards"] for day in days if day[f"card_precision_at_{CARDS_A_DAY}"] is not None]
    return sum(min(cards, CARDS_A_DAY) for cards in listed) / CARDS_A_DAY / len(listed) if listed else None


def number(value: float | None) -> str:
    """Return three decimals, or ``n/a`` for what could not be measured."""
    return _NONE if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    """Return a share in percent, or ``n/a``."""
    return _NONE if value is None else f"{value:.2%}"


def as_measure(value: float | None, name: str) -> str:
    """Return a value of :data:`MEASURES`: a share of cards in percent, what ranks payments with three decimals."""
    return percent(value) if name.startswith("card_precision") else number(value)


def signed(value: float | None) -> str:
    """Return a difference with its sign, or a dash."""
    return _NONE if value is None else f"{value:+.3f}"


def _figures(evaluated: Evaluated) -> Iterator[Figure]:
    metrics, payments = evaluated.metrics, evaluated.payments
    is_fraud, probabilities = payments.is_fraud, payments.probabilities
    models = {MODEL: probabilities} | ({} if evaluated.baseline is None else {BASELINE: evaluated.baseline})
    if metrics["auc"] is not None:
        yield _figure("ROC", plots.roc(is_fraud, models), _of_both(metrics, "auc", "The area under the curve"))
        told = _of_both(metrics, "average_precision", "Average precision")
        at = f"Above the threshold lie {percent(metrics['recall'])} of the frauds"
        told += f" {at}; of the payments there {percent(metrics['precision'])} are fraud."
        yield _figure("Precision and recall", plots.precision_recall(is_fraud, models), told)
    yield _figure(
        "Scores",
        plots.score_distribution(is_fraud, probabilities, metrics["threshold"]),
        f"Half of the frauds have a probability above {_median(probabilities[is_fraud > 0])}, "
        f"half of the other payments one above {_median(probabilities[is_fraud == 0])}.",
    )
    yield _figure(
        "Calibration",
        plots.calibration(metrics["reliability"]),
        "On the dotted line a probability is the share of frauds; below each tenth stands how many payments it has. "
        f"Mean probability {percent(metrics['mean_probability'])}, "
        f"fraud rate {percent(metrics['fraud_rate'])}; Brier score {metrics['brier']:.4f}, expected calibration error "
        f"{metrics['expected_calibration_error']:.4f}.",
    )
    days = metrics["days_of_test"]
    by_day = [day["precision_at_budget"] for day in days]
    yield _figure(
        "Precision by day",
        plots.daily_precision(days),
        f"Of the most suspicious {percent(metrics['alert_budget'])} of each day's payments {percent(min(by_day))} to "
        f"{percent(max(by_day))} are fraud, {percent(float(np.mean(by_day)))} in the mean.",
    )
    if "training" in metrics:
        curves = metrics["training"]
        best = int(np.argmin(curves["validation_loss"])) + 1
        yield _figure(
            "Training",
            plots.training_curves(curves["loss"], curves["validation_loss"]),
            f"The loss of the validation days was lowest after epoch {best} of {len(curves['loss'])}: "
            f"{min(curves['validation_loss']):.4f}. These weights were kept.",
        )
    yield from _importance(metrics["importance"])


def _importance(found: Mapping[str, Any]) -> Iterator[Figure]:
    steps = {_back(place): drop for place, drop in enumerate(found["by_step"])}
    for name, title, drops in (
        ("step", "What each step is worth", steps),
        ("feature", "What each feature is worth", found["by_feature"]),
        ("context", "What each profile is worth", found["by_context"]),
    ):
        if drops:
            most = sorted(drops, key=drops.__getitem__, reverse=True)[:2]
            yield _figure(
                title,
                plots.importance(name, drops),
                f"Average precision is {number(found['average_precision'])} on {found['n']:,} payments, and so much "
                f"less where the {name} is that of another payment. Most: {_listed(most, drops)}.",
            )


def _figure(title: str, svg: str, caption: str) -> Figure:
    return Figure(title, Markup(svg), caption)  # noqa: S704 - made by matplotlib, which escapes its texts


def _of_both(metrics: Mapping[str, Any], measure: str, name: str) -> str:
    if "baseline" not in metrics:
        return f"{name} is {number(metrics[measure])}."
    return f"{name} is {number(metrics[measure])}; that of {BASELINE} {number(metrics['baseline'][measure])}."


def _listed(names: Sequence[str], drops: Mapping[str, float]) -> str:
    written = plots.decimals(drops.values())
    return ", ".join(f"{name} ({drops[name]:z.{written}f})" for name in names)


def _back(place: int) -> str:
    return "scored payment" if place == 0 else f"{place} before"


def _median(probabilities: plots.Floats32) -> str:
    return _NONE if not len(probabilities) else f"{float(np.median(probabilities)):.2g}"
