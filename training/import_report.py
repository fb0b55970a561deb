"""What the user of ``tenfold import`` sees."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console

from stream import logs
from training.import_history import Imported

log = logging.getLogger(__name__)

_LOG_EVERY = 1_000_000


@contextmanager
def shown_progress() -> Iterator[Callable[[int], None]]:
    """Give a function that is told of rows: it shows their number on a terminal, and logs each million elsewhere."""
    console = Console(stderr=True)
    rows = 0
    if not console.is_terminal:
        logs.configure("info", "text")
    with console.status("reading") if console.is_terminal else nullcontext() as status:

        def progress(more: int) -> None:
            nonlocal rows
            before, rows = rows, rows + more
            if status is not None:
                status.update(f"{rows:,} rows read")
            elif rows // _LOG_EVERY > before // _LOG_EVERY:
                log.info("rows read", extra={"rows": rows})

        yield progress


def summary_lines(imported: Imported, to: str) -> list[str]:
    """Return what is printed in the end."""
    lines = [
        f"{imported.transactions:,} payments from {imported.first} to {imported.last}",
        f"{imported.frauds:,} of them frauds, {imported.labels:,} labels; {imported.files:,} files in {to}",
    ]
    refused = sum(imported.refused.values())
    if refused:
        lines.append(f"{refused:,} rows were refused:")
    for reason, count in imported.refused.most_common():
        more = ", …" if count > len(imported.examples[reason]) else ""
        lines.append(f"  {count:,}: {reason} (row {', '.join(imported.examples[reason])}{more})")
    return lines
