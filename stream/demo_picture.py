"""The demo's board as a picture: an SVG of a real run, for README."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live

from stream.demo_view import LiveView

_COLUMNS, _LINES = 102, 28

#: What rich fills in. Its own has links to a font on the web; this looks the same for everybody, and asks nobody.
_SVG = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: Fira Code, monospace; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-family: Arial, sans-serif; font-size: 18px; font-weight: bold; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


@contextmanager
def recorded(to: Path, events: int) -> Iterator[LiveView]:
    """Yield a view of a terminal that nobody sees, and write the board as it stood last to an SVG."""
    nowhere = Console(file=io.StringIO(), width=_COLUMNS, height=_LINES, force_terminal=True)
    view = LiveView(nowhere, events, Live(console=nowhere, auto_refresh=False))
    yield view
    paper = Console(file=io.StringIO(), width=_COLUMNS, record=True, force_terminal=True, color_system="truecolor")
    paper.print(view.last)
    to.write_text(paper.export_svg(title="make demo", code_format=_SVG), encoding="utf-8")
