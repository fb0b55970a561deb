"""A plot as SVG that stands in a page: sized by the page, text as text, nothing told by colour alone."""

import re
from collections.abc import Callable
from io import StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Dark enough on white for WCAG AA, in print and to the colour-blind; each has a line and a marker of its own.
STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#0b4f8a", "linestyle": "-", "marker": "o"},
    {"color": "#a34700", "linestyle": "--", "marker": "s"},
)
GREY = "#595959"
SMALL = 10.5  # points

_WIDTH, _HEIGHT = 5.0, 3.5  # inches; 12 points are still readable where a phone shows it 330 pixels wide
_LOOK: Any = {  # its type is one of all keys, and newer than the oldest release that serves
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#d9d9d9",
    "legend.frameon": True,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "lines.linewidth": 2,
    "lines.markersize": 6,
    "svg.fonttype": "none",
    "svg.hashsalt": "tenfold",  # the same plot is the same text
}


def plotted(name: str, x: str, y: str, draw: Callable[[Axes], None], height: float = _HEIGHT) -> str:
    """Return a plot as an ``<svg>`` element without a size of its own.

    It is hidden from screen readers: the caption has to say what one sees.

    Args:
        name: tells its ids from those of the other plots of the page.
        x: label of the axis.
        y: label of the axis.
        draw: draws on the axes.
        height: in inches, beside five of width.
    """
    with mpl.rc_context(_LOOK):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        draw(axes)
        file = StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
    return _for_page(file.getvalue(), name)


def _for_page(file: str, name: str) -> str:
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", file[file.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)  # it would rule the whole page
    svg = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    head, _, body = svg.partition(">")
    head = re.sub(r'\s(?:width|height)="[^"]*"', "", head)
    return f'{head} aria-hidden="true">{body.strip()}'
