"""The demo on a terminal: what comes and goes, and what was flagged. Elsewhere: a line now and then."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stream.demo_card import HEIGHT, WIDTH, card
from stream.demo_tally import Phase, Seen, Tally

_PHASES = {"history": "loading a history, as fast as it goes", "live": "live"}
_RECENT = 1000  # scores whose latency is shown
_ROWS = 8
_HEAD, _TITLES = 5, 2  # lines above everything, and above the rows of a table
_BESIDE = 130  # columns from which on the card stands beside the tables


class SilentView:
    """Shows nothing while it runs, for those who want the summary only."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def started(self, what: str) -> None:
        """Say what runs."""
        self._console.print(what, soft_wrap=True, markup=False, highlight=False)

    def show(self, tally: Tally, phase: Phase) -> None:
        """Show nothing."""

    def pause(self, tally: Tally, phase: Phase) -> None:
        """Say nothing of it: where nobody watches, nobody pauses."""


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
    """A board that is drawn anew ten times a second, and stands still while it is paused."""

    def __init__(self, console: Console, events: int, live: Live) -> None:
        super().__init__(console)
        self._events, self._live, self.last = events, live, Group()

    def show(self, tally: Tally, phase: Phase) -> None:
        """Draw the board."""
        self.last = board(tally, phase, self._events, self._console.size)
        self._live.update(self.last, refresh=True)

    def pause(self, tally: Tally, phase: Phase) -> None:
        """Draw the board once more, saying that it stands still."""
        self._live.update(board(tally, phase, self._events, self._console.size, paused=True), refresh=True)


@contextmanager
def terminal_view(console: Console, events: int) -> Iterator[SilentView]:
    """Yield what suits the console: a board on a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield LineView(console, max(events // 10, 1))
        return
    with Live(console=console, auto_refresh=False) as live:
        yield LiveView(console, events, live)


def board(tally: Tally, phase: Phase, events: int, size: ConsoleDimensions, *, paused: bool = False) -> Group:
    """Return the board: progress, figures, a user's card, what was flagged last and what was scored last.

    It is as large as the terminal allows; what has no room is left out.
    """
    head = _head(tally, phase, events, size.width, paused=paused)
    flagged, scored, (user, payments, reasons) = list(tally.latest_flagged), list(tally.latest), tally.on_card
    if size.width >= _BESIDE and size.height > _HEAD + HEIGHT:
        rows = min((size.height - _HEAD - 1 - 2 * _TITLES) // 2, _ROWS)
        left = Group(_table("flagged", flagged, rows), _table("scored", scored, rows))
        both = Table.grid(padding=(0, 2))
        both.add_column(width=size.width - WIDTH - 2)
        both.add_row(left, card(user, payments, reasons))
        return Group(*head, both)
    parts: list[RenderableType] = [*head]
    room = size.height - _HEAD - 1
    if room >= HEIGHT:
        parts.append(card(user, payments, reasons))
        room -= HEIGHT
    for title, seen in (("flagged", flagged), ("scored", scored)):
        rows = min(room - _TITLES, _ROWS)
        if rows > 0:
            parts.append(_table(title, seen, rows))
            room -= rows + _TITLES
    return Group(*parts)


def _head(tally: Tally, phase: Phase, events: int, width: int, *, paused: bool) -> list[RenderableType]:
    rate = tally.events_per_second(phase)
    latencies = [
        f"{name} {value:.1f} ms"
        for name, percentile in (("p50", 50), ("p99", 99))
        if (value := tally.latency_ms(percentile, _RECENT)) is not None
    ]
    doing = "paused" if paused else _PHASES[phase] if tally.answered else "starting"
    told = [f"{tally.answered:,} of {events:,} events", *([f"{rate:,.0f} events/s"] if rate else []), *latencies]
    first = Text.assemble((doing, "bold"), "   ", "   ".join(told))
    bar = Table.grid()  # a bar by itself does not end its line
    bar.add_row(ProgressBar(total=events, completed=tally.answered, width=min(width - 1, 100)))
    second = Text.assemble(
        f"{tally.scores:,} scores   {tally.flagged:,} flagged   frauds: ",
        (f"{tally.flagged_frauds:,} caught", "green"),
        ", ",
        (f"{tally.frauds - tally.flagged_frauds:,} missed", "red"),
    )
    dead = ", ".join(f"{count} {reason}" for reason, count in sorted(tally.reasons.items()))
    third = Text(f"{tally.reasons.total():,} dead letters" + (f": {dead}" if dead else ""))
    keys = Text("space goes on, q ends" if paused else "space pauses, q ends", style="dim")
    lines = [first, second, third, keys]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return [first, bar, *lines[1:]]


def _table(title: str, seen: list[Seen], rows: int) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, expand=True)
    table.add_column("user", no_wrap=True, width=14)
    table.add_column("paid", no_wrap=True, width=11)
    table.add_column("score", justify="right", no_wrap=True, width=5)
    table.add_column("window", justify="right", no_wrap=True, width=6)
    table.add_column("truth", no_wrap=True, width=6)
    table.add_column("because", no_wrap=True, overflow="ellipsis", ratio=1)
    shown = list(reversed(seen))[:rows]
    for score, is_fraud, _ in shown:
        style = "bold red" if score["sequence_anomaly"] else ""
        reasons = score.get("reasons", [])
        table.add_row(
            Text(score["user_id"], style=style),
            score["created_at"][5:16].replace("T", " "),
            Text(f"{score['fraud_probability']:.3f}", style=style),
            str(score["window_length"]),
            Text("fraud", style="red") if is_fraud else Text("honest", style="dim"),
            reasons[0]["sentence"] if reasons else "",
        )
    for _ in range(rows - len(shown)):  # so that the board keeps its height
        table.add_row("")
    return table
