"""The demo on a terminal: what comes and goes, and what was flagged. Elsewhere: a line now and then."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stream.demo_tally import Phase, Seen, Tally

_PHASES = {"history": "loading a history, as fast as it goes", "live": "live"}
_RECENT = 1000  # scores whose latency is shown
_ROWS = 8


class SilentView:
    """Shows nothing while it runs, for those who want the summary only."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def started(self, what: str) -> None:
        """Say what runs."""
        self._console.print(what, soft_wrap=True, markup=False, highlight=False)

    def show(self, tally: Tally, phase: Phase) -> None:
        """Show nothing."""


class LineView(SilentView):
    """A line for every so many answers: for logs and pipes."""

    def __init__(self, console: Console, every: int) -> None:
        super().__init__(console)
        self._every, self._next = every, 0

    def show(self, tally: Tally, phase: Phase) -> None:
        """Print a line if it is time for one."""
        if tally.answered < self._next:
            return
        self._next = tally.answered - tally.answered % self._every + self._every
        latency = tally.latency_ms(50, _RECENT)
        self._console.print(
            f"{phase:<8}{tally.events:>8,} sent {tally.scores:>8,} scored {tally.flagged:>6,} flagged"
            f" {tally.reasons.total():>5,} dead letters" + (f"   p50 {latency:.1f} ms" if latency is not None else ""),
            highlight=False,
            soft_wrap=True,
        )


class LiveView(SilentView):
    """A small board that is drawn anew ten times a second."""

    def __init__(self, console: Console, events: int, live: Live) -> None:
        super().__init__(console)
        self._events, self._live = events, live

    def show(self, tally: Tally, phase: Phase) -> None:
        """Draw the board."""
        self._live.update(board(tally, phase, self._events), refresh=True)


@contextmanager
def terminal_view(console: Console, events: int) -> Iterator[SilentView]:
    """Yield what suits the console: a board on a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield LineView(console, max(events // 10, 1))
        return
    with Live(console=console, auto_refresh=False) as live:
        yield LiveView(console, events, live)


def board(tally: Tally, phase: Phase, events: int) -> RenderableType:
    """Return the board: progress, figures, what was flagged last and what was scored last."""
    head = Table.grid(padding=(0, 3))
    rate = tally.events_per_second(phase)
    head.add_row(
        Text(_PHASES[phase] if tally.answered else "starting", style="bold"),
        f"{tally.answered:,} of {events:,} events",
        f"{rate:,.0f} events/s" if rate else "",
        *(
            f"{name} {value:.1f} ms"
            for name, percentile in (("p50", 50), ("p99", 99))
            if (value := tally.latency_ms(percentile, _RECENT)) is not None
        ),
    )
    counts = Table.grid(padding=(0, 3))
    counts.add_row(
        f"{tally.scores:,} scores",
        f"{tally.flagged:,} flagged",
        f"{tally.flagged_frauds:,} of them frauds",
        f"{tally.reasons.total():,} dead letters",
    )
    bar = Table.grid()  # a bar by itself does not end its line
    bar.add_row(ProgressBar(total=events, completed=tally.answered, width=64))
    return Group(
        head,
        bar,
        counts,
        _table("flagged", list(tally.latest_flagged), why=True),
        _table("scored", list(tally.latest), why=False),
    )


def _table(title: str, seen: list[Seen], *, why: bool) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, min_width=64)
    table.add_column("user", no_wrap=True, min_width=16)
    table.add_column("time of payment", no_wrap=True)
    table.add_column("score", justify="right")
    table.add_column("window", justify="right")
    table.add_column("simulator says", no_wrap=True)
    if why:
        table.add_column("because", no_wrap=True)
    for score, is_fraud, _ in reversed(seen):
        style = "bold red" if score["sequence_anomaly"] else ""
        truth = Text("fraud", style="red") if is_fraud else Text("honest", style="dim")
        table.add_row(
            Text(score["user_id"], style=style),
            score["created_at"],
            Text(f"{score['fraud_probability']:.3f}", style=style),
            str(score["window_length"]),
            truth,
            *([reasons[0]["sentence"]] if why and (reasons := score.get("reasons")) else []),
        )
    for _ in range(_ROWS - len(seen)):  # so that the board keeps its height
        table.add_row("", "", "", "", "")
    return table
