"""The demo's board as a picture: an SVG of a real run, for README."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.live import Live

from stream.demo_view import LiveView

_COLUMNS, _LINES = 136, 28

#: rich's own links to a font on the web. A picture looks the same for everybody, and asks nobody.
_WITHOUT_WEB_FONT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


@contextmanager
def recorded(to: Path, events: int) -> Iterator[LiveView]:
    """Yield a view of a terminal that nobody sees, and write the board as it stood last to an SVG."""
    nowhere = Console(file=io.StringIO(), width=_COLUMNS, height=_LINES, force_terminal=True)
    view = LiveView(nowhere, events, Live(console=nowhere, auto_refresh=False))
    yield view
    paper = Console(file=io.StringIO(), width=_COLUMNS, record=True, force_terminal=True, color_system="truecolor")
    paper.print(view.last)
    to.write_text(paper.export_svg(title="make demo", code_format=_WITHOUT_WEB_FONT), encoding="utf-8")
