"""What was measured, as Markdown: for the card, and for the summary of ``tenfold evaluate``."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from training.daily import CARDS_A_DAY
from training.plots import decimals
from training.report import MEASURES, number, percent, signed

PROTOCOL = f"""By the protocol of the Fraud Detection Handbook, cards that were known as defrauded before a day are left
out of it; the card precision is the share of defrauded cards among the {CARDS_A_DAY} that score highest on a day,
detected ones leaving, as the mean over the days. A card is a user, and days are UTC."""


def measured(metrics: Mapping[str, Any]) -> str:
    """Return what ``metrics`` say of the days of a test: over all, by week, beside the baseline, and by importance."""
    sections = [_over_all(metrics), f"### By week\n\n{weeks_table(metrics)}\n\n{PROTOCOL}"]
    if "baseline" in metrics:
        sections.append(f"### Beside gradient boosting on the same features\n\n{_beside(metrics)}")
    sections.append(f"### What it looks at\n\n{_importance(metrics['importance'])}")
    return "\n\n".join(sections)


def weeks_table(metrics: Mapping[str, Any]) -> str:
    """Return the table by week as Markdown."""
    head, *rows = _weeks(metrics)
    return f"{_table(head, rows)}\n\n`*` by the protocol; precision and recall at the threshold."


def weeks_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return the table by week for a terminal of eighty columns, a week by its first day, and what the heads mean."""
    cells = [(first, *others) for first, _, *others in _weeks(metrics)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for first, *others in cells:
        aligned = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        lines.append(" ".join([first.ljust(widths[0]), *aligned]).rstrip())
    return [
        *lines,
        f"AP: average precision. CP@{CARDS_A_DAY}: card precision at {CARDS_A_DAY} a day. *: by the protocol.",
        "Precision and recall are those at the threshold.",
    ]


def _weeks(metrics: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return head, weeks and mean, of the same columns."""
    head = ("from", "to", "payments", "frauds", "AUC", "AP", "AUC*", "AP*", f"CP@{CARDS_A_DAY}*", "precision", "recall")
    rows = [
        (
            *(week["from"], week["to"], f"{week['n']:,}", f"{week['frauds']:,}"),
            *(number(week[name]) for name in (*MEASURES, "precision", "recall")),
        )
        for week in metrics["weeks"]
    ]
    mean = metrics["mean_of_weeks"]
    return [head, *rows, ("mean", "of whole weeks", "", "", *(number(mean[name]) for name in MEASURES), "", "")]


def _over_all(metrics: Mapping[str, Any]) -> str:
    at_budget = metrics["at_budget"]
    rows = [
        *((name, number(metrics[measure])) for measure, name in MEASURES.items()),
        ("precision at the threshold", number(metrics["precision"])),
        ("recall at the threshold", number(metrics["recall"])),
        ("payments flagged", percent(metrics["flagged"])),
        (f"precision with {metrics['alert_budget']:.3g} of the payments flagged", number(at_budget["precision"])),
        (f"recall with {metrics['alert_budget']:.3g} of the payments flagged", number(at_budget["recall"])),
        ("mean probability", percent(metrics["mean_probability"])),
        ("fraud rate", percent(metrics["fraud_rate"])),
        ("Brier score", f"{metrics['brier']:.5f}"),
        ("expected calibration error", f"{metrics['expected_calibration_error']:.5f}"),
        ("AUC, AP with all steps shuffled", _ranked(metrics["shuffled"])),
        ("AUC, AP with the steps before the last shuffled", _ranked(metrics["history_shuffled"])),
    ]
    return _table(("", ""), rows, left=1)


def _beside(metrics: Mapping[str, Any]) -> str:
    baseline, gained = metrics["baseline"], metrics["gain"]
    rows = [
        (
            name,
            number(metrics[measure]),
            number(baseline[measure]),
            signed(gained[measure]),
        )
        for measure, name in MEASURES.items()
    ]
    return _table(("", "this model", "boosting", "gain"), rows, left=1)


def _importance(found: Mapping[str, Any]) -> str:
    drops = {f"`{name}`": drop for name, drop in (found["by_feature"] | found["by_context"]).items()}
    most = sorted(drops, key=drops.__getitem__, reverse=True)[:10]
    written = decimals(drops.values())
    table = _table(("", "fall"), [(name, f"{drops[name]:z.{written}f}") for name in most], left=1)
    return f"""How much average precision, {number(found["average_precision"])} on {found["n"]:,} payments, falls where
a column is that of other payments, the ten largest:

{table}"""


def _ranked(ranking: Mapping[str, float | None]) -> str:
    return f"{number(ranking['auc'])}, {number(ranking['average_precision'])}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 2) -> str:
    """Return a Markdown table, the first ``left`` columns aligned to the left."""
    cells = [tuple(head), *map(tuple, rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    rule = tuple("-" * width if place < left else f"{'-' * (width - 1)}:" for place, width in enumerate(widths))
    return "\n".join(
        "| "
        + " | ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in (cells[0], rule, *cells[1:])
    )
