"""The demo on a terminal: what comes and goes, and what was flagged. Elsewhere: a line now and then."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stream.demo_card import HEIGHT, WIDTH, card
from stream.demo_tally import SHOWN, Phase, Seen, Tally
from stream.plurals import count_of

_PHASES = {"history": "loading a history", "live": "live"}
_RECENT = 1000  # scores whose latency is shown
_HEAD, _TITLES = 5, 2  # lines above everything, and above the rows of a table
_COLUMNS = {"user": 14, "paid at": 11, "score": 6, "truth": 6}
_DISPENSABLE = ("paid at", "truth")  # in this order, where there is no room for all


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
            f" {count_of(tally.reasons.total(), 'dead letter'):>18}"
            + (f"   p50 {latency:.1f} ms" if latency is not None else ""),
            highlight=False,
            soft_wrap=True,
        )


class LiveView(SilentView):
    """A board that is drawn anew ten times a second, and stands still while it is paused."""

    def __init__(self, console: Console, events: int, live: Live) -> None:
        super().__init__(console)
        self._events, self._live, self.last = events, live, Group()
        self._paused_on: ConsoleDimensions | None = None

    def show(self, tally: Tally, phase: Phase) -> None:
        """Draw the board."""
        self._paused_on = None
        self.last = board(tally, phase, self._events, self._console.size)
        self._live.update(self.last, refresh=True)

    def pause(self, tally: Tally, phase: Phase) -> None:
        """Draw the board once more, saying that it stands still; again only where the terminal has another size."""
        size = self._console.size
        if size != self._paused_on:
            self._paused_on = size
            self._live.update(board(tally, phase, self._events, size, paused=True), refresh=True)


@contextmanager
def terminal_view(console: Console, events: int) -> Iterator[SilentView]:
    """Yield what suits the console: a board on a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield LineView(console, max(events // 10, 1))
        return
    with Live(console=console, auto_refresh=False) as live:
        yield LiveView(console, events, live)


def board(tally: Tally, phase: Phase, events: int, size: ConsoleDimensions, *, paused: bool = False) -> Group:
    """Return the board: progress, figures, a user's card beside what was scored last, what was flagged and why.

    It is as large as the terminal allows; what has no room is left out.
    """
    parts = _head(tally, phase, events, size.width, paused=paused)
    room = size.height - _HEAD - 1
    if room >= HEIGHT:
        beside = Table.grid(padding=(0, 1))
        columns = _fitting(size.width - WIDTH - 1)
        scored = [_table("scored", tally.latest, HEIGHT - _TITLES, columns)] if columns else []
        beside.add_row(card(*tally.on_card), *scored)
        parts.append(beside)
        room -= HEIGHT
    rows = min(room - _TITLES, SHOWN)
    if rows > 0:
        parts.append(_table("flagged", tally.latest_flagged, rows, list(_COLUMNS), because=True))
    return Group(*parts)


def _head(tally: Tally, phase: Phase, events: int, width: int, *, paused: bool) -> list[RenderableType]:
    rate = tally.events_per_second(phase)
    latencies = [
        f"{name} {value:.1f} ms"
        for name, percentile in (("p50", 50), ("p99", 99))
        if (value := tally.latency_ms(percentile, _RECENT)) is not None
    ]
    doing = "paused" if paused else _PHASES[phase] if tally.answered else "starting the scorer"
    told = [f"{tally.answered:,} of {events:,}", *([f"{rate:,.0f} events/s"] if rate else [])]
    told += [f"{tally.events:,} sent"] if not tally.answered else []
    told += ["latency " + ", ".join(latencies)] if latencies else []
    first = Text.assemble((doing, "bold"), "   ", "   ".join(told))
    bar = Table.grid()  # a bar by itself does not end its line
    bar.add_row(ProgressBar(total=events, completed=tally.answered, width=min(width - 1, 100)))
    second = Text.assemble(
        f"{count_of(tally.scores, 'score')}   {tally.flagged:,} flagged   frauds: ",
        (f"{tally.flagged_frauds:,} caught", "green"),
        ", ",
        (f"{tally.frauds - tally.flagged_frauds:,} missed", "red"),
    )
    dead = ", ".join(f"{count} {reason}" for reason, count in sorted(tally.reasons.items()))
    third = Text(count_of(tally.reasons.total(), "dead letter") + (f": {dead}" if dead else ""))
    what_keys_do = "space goes on, q ends" if paused else "space pauses, q ends"
    keys = Text(f"! is flagged, a score above {tally.threshold:.3g}   {what_keys_do}", style="dim")
    lines = [first, second, third, keys]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return [first, bar, *lines[1:]]


def _fitting(room: int) -> list[str]:
    """Return the columns that fit into the room, a space between them; none where not even user and score do."""
    for left_out in range(len(_DISPENSABLE) + 1):
        columns = [name for name in _COLUMNS if name not in _DISPENSABLE[:left_out]]
        if sum(_COLUMNS[name] + 1 for name in columns) - 1 <= room:
            return columns
    return []


def _table(title: str, seen: Sequence[Seen], rows: int, columns: Sequence[str], *, because: bool = False) -> Table:
    table = Table(title=f"{title}, newest first", title_justify="left", box=None, pad_edge=False, expand=because)
    table.collapse_padding = True
    for name in columns:
        table.add_column(name, no_wrap=True, overflow="ellipsis", width=_COLUMNS[name])
    if because:
        table.add_column("because", no_wrap=True, overflow="ellipsis", ratio=1)
    shown = list(reversed(seen))[:rows]
    for score, is_fraud, _ in shown:
        is_flagged, reasons = score["sequence_anomaly"], score.get("reasons", [])
        style = "bold red" if is_flagged else ""
        cells: dict[str, RenderableType] = {
            "user": Text(score["user_id"], style=style),
            "paid at": score["created_at"][5:16].replace("T", " "),
            "score": Text(f"{score['fraud_probability']:.3f}{'!' if is_flagged else ''}", style=style),
            "truth": Text("fraud", style="red") if is_fraud else Text("honest", style="dim"),
            "because": Text(reasons[0]["sentence"] if reasons else ""),
        }
        table.add_row(*(cells[name] for name in (*columns, *(["because"] if because else []))))
    for _ in range(rows - len(shown)):  # so that the board keeps its height
        table.add_row("")
    return table
