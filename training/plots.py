"""The plots of the report, as SVG."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter
from sklearn.metrics import precision_recall_curve, roc_curve

from training.svg import GREY, SMALL, STYLES, plotted

Floats32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

_POINTS = 300  # of a curve: as many as a screen can show
_LOWEST = 1e-4  # probability that is told apart from 0
_BINS = 10  # of the reliability curve, of equal width
_BELOW = -0.06  # where numbers stand below a unit square
_NOTICEABLE = 0.01  # a loss of average precision; smaller ones are not drawn as if they were large
_CHANCE: dict[str, Any] = {"color": GREY, "linestyle": ":", "linewidth": 1.5}


def roc(is_fraud: Floats32, models: Mapping[str, Floats32]) -> str:
    """Return the ROC curve of the probabilities of one or two models, by their names."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], **_CHANCE, label="by chance")
        for style, (name, probabilities) in zip(STYLES, models.items(), strict=False):
            flagged, found, _ = roc_curve(is_fraud, probabilities)
            _curve(axes, flagged, found, name, style)
        _unit_square(axes)
        _legend(axes)

    return plotted("roc", "honest payments flagged", "frauds found", draw)


def precision_recall(is_fraud: Floats32, models: Mapping[str, Floats32]) -> str:
    """Return the precision-recall curve of the probabilities of one or two models, by their names."""

    def draw(axes: Axes) -> None:
        axes.axhline(float(is_fraud.mean()), **_CHANCE, label="by chance")
        for style, (name, probabilities) in zip(STYLES, models.items(), strict=False):
            precision, recall, _ = precision_recall_curve(is_fraud, probabilities)
            _curve(axes, recall[::-1], precision[::-1], name, style)
        _unit_square(axes)
        _legend(axes)

    return plotted("precision-recall", "recall", "precision", draw)


def score_distribution(is_fraud: Floats32, probabilities: Floats32, threshold: float) -> str:
    """Return the shares of frauds and of other payments by probability, on a logarithmic axis."""
    edges = np.geomspace(_LOWEST, 1, 33)

    def draw(axes: Axes) -> None:
        for style, kind, name in zip(STYLES, (0, 1), ("not fraud", "fraud"), strict=True):
            of_kind = np.clip(probabilities[is_fraud == kind], _LOWEST, 1)
            shares = np.histogram(of_kind, edges)[0] / max(len(of_kind), 1)
            look = {"color": style["color"], "linestyle": style["linestyle"], "linewidth": 2}
            axes.stairs(shares, edges, label=name, **look)
        axes.axvline(threshold, **_CHANCE, label=f"threshold {threshold:.3g}")
        axes.set_xscale("log")
        axes.set_xlim(_LOWEST, 1)
        axes.set_ylim(bottom=0)
        ticks = [10.0**power for power in range(-4, 1)]
        axes.set_xticks(ticks, [f"{tick:.4g}" for tick in ticks])
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _legend(axes)

    return plotted("scores", "fraud probability (logarithmic, at least 0.0001)", "share of the payments", draw)


def calibration(reliability: Sequence[Mapping[str, float]]) -> str:
    """Return the reliability curve; ``reliability`` has the fields of :class:`training.metrics.Reliability`."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], **_CHANCE, label="as it should be")
        means, rates = ([float(bin_[name]) for bin_ in reliability] for name in ("mean_probability", "fraud_rate"))
        axes.plot(means, rates, **STYLES[0], label="this model")
        for mean, bin_ in zip(means, reliability, strict=True):
            middle = (min(int(mean * _BINS), _BINS - 1) + 0.5) / _BINS  # of its bin: two means may lie close
            axes.text(middle, _BELOW, _short(bin_["payments"]), fontsize=SMALL, ha="center", va="center")
        _unit_square(axes)
        axes.set_ylim(bottom=2 * _BELOW)  # room for the numbers, where no line comes
        axes.axhline(0, color=GREY, linewidth=1)
        _legend(axes)

    return plotted("calibration", "mean probability", "share that is fraud", draw, height=4)


def daily_precision(days: Sequence[Mapping[str, Any]]) -> str:
    """Return precision at the alert budget and fraud rate by day; ``days`` are the ``days_of_test`` of the metrics."""

    def draw(axes: Axes) -> None:
        places = np.arange(len(days))
        every = max(1, len(days) // 15)
        precision = [day["precision_at_budget"] for day in days]
        axes.plot(places, precision, **STYLES[0], markevery=every, label="alerts")
        rates = [day["frauds"] / day["n"] for day in days]
        axes.plot(places, rates, **STYLES[1], markevery=every, label="all payments")
        few = range(0, len(days), -(-len(days) // 5))
        axes.set_xticks(few, [str(days[place]["day"])[5:] for place in few])
        axes.set_ylim(-0.02, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        _legend(axes)

    return plotted("daily", "day of the test (month-day)", "share that is fraud", draw)


def training_curves(loss: Sequence[float], validation_loss: Sequence[float]) -> str:
    """Return the loss after each epoch, on the training and on the validation days."""

    def draw(axes: Axes) -> None:
        for style, name, values in zip(
            STYLES, ("training days", "validation days"), (loss, validation_loss), strict=True
        ):
            axes.plot(np.arange(1, len(values) + 1), values, **style, label=name)
        axes.axvline(int(np.argmin(validation_loss)) + 1, **_CHANCE, label="weights kept")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        _legend(axes)

    return plotted("training", "epoch", "loss (cross-entropy)", draw)


def importance(name: str, drops: Mapping[str, float]) -> str:
    """Return a bar for each drop in average precision; ``name`` tells the plot from others of its page."""
    written = decimals(drops.values())

    def draw(axes: Axes) -> None:
        places, values = np.arange(len(drops)), list(drops.values())
        axes.barh(places, values, height=0.6, color=STYLES[0]["color"])
        for place, value in zip(places.tolist(), values, strict=True):
            beside: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
            axes.annotate(f"{value:z.{written}f}", (max(value, 0.0), place), fontsize=SMALL, **beside)
        axes.set_yticks(places, list(drops))
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.axvline(0, color=GREY, linewidth=1)
        axes.margins(x=0.2)
        axes.set_xlim(right=max(axes.get_xlim()[1], _NOTICEABLE))
        axes.xaxis.set_major_locator(MaxNLocator(3))

    return plotted(f"importance-{name}", "average precision lost", "", draw, height=0.9 + 0.33 * len(drops))


def decimals(drops: Iterable[float]) -> int:
    """Return with how many decimals drops are written, three or four, so that a bar that can be seen is not 0."""
    return 3 if max(map(abs, drops), default=0.0) >= 0.1 else 4


def _curve(axes: Axes, x: Floats, y: Floats, name: str, style: Mapping[str, Any]) -> None:
    x, y = thinned(x, y)
    axes.plot(x, y, label=name, **style, markevery=max(1, len(x) // 8))


def thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return a curve in the unit square with no more points than can be seen, its ends among them."""
    gone = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    stretch = np.floor(gone / gone[-1] * _POINTS) if gone[-1] else np.zeros(len(x))
    kept = np.append(np.unique(stretch, return_index=True)[1], len(x) - 1)
    kept = np.unique(kept)
    return x[kept], y[kept]


def _legend(axes: Axes, columns: int = 2) -> None:
    """Put the legend above the plot, where it hides nothing."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2, columnspacing=1, handlelength=1.8
    )


def _unit_square(axes: Axes, margin: float = 0.02) -> None:
    axes.set_xlim(-margin, 1 + margin)
    axes.set_ylim(-margin, 1 + margin)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _short(count: float) -> str:
    """Return a count in four characters, however large."""
    if count >= 9_950:
        return f"{count / 1000:.0f}k"
    return f"{count / 1000:.1f}k" if count >= 1000 else f"{count:.0f}"
