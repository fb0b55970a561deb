"""A card with one user's last payments as small bars, as the demo shows it. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from models.features import NIGHT_BEGINS, NIGHT_ENDS
from stream.plurals import count_of

#: Payments on a card, as many as in a window; and its lines, with a frame and two reasons.
PAYMENTS = 10
HEIGHT, WIDTH = PAYMENTS + 4, 58

_BAR = 10  # characters of the largest amount
_EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")  # of a character
_REASONS = 2


class Payment(NamedTuple):
    """A payment on the card, with what was said of it."""

    created_at: str  # in UTC
    amount: float
    is_vpn: bool
    probability: float
    is_flagged: bool
    is_fraud: bool  # by the simulator


def card(user: str, payments: Sequence[Payment], reasons: Sequence[str]) -> Panel:
    """Return the card, always :data:`HEIGHT` lines high; what was flagged is red, with a ``!``."""
    table = Table.grid(padding=(0, 1))
    largest = max((payment.amount for payment in payments), default=0.0)
    for payment in payments[-PAYMENTS:]:
        style = "bold red" if payment.is_flagged else "cyan"
        is_night = not NIGHT_ENDS <= int(payment.created_at[11:13]) < NIGHT_BEGINS
        table.add_row(
            Text(f"{payment.created_at[5:10]} {payment.created_at[11:16]}", style="dim"),
            Text(bar(payment.amount, largest), style=style),
            Text(f"{payment.amount:>8,.2f}", style=style),
            Text("night" if is_night else "     ", style="blue"),
            Text("VPN" if payment.is_vpn else "   ", style="yellow"),
            Text(f"{payment.probability:.3f}{'!' if payment.is_flagged else ' '}", style=style),
            Text("fraud" if payment.is_fraud else "", style="red"),
        )
    for _ in range(PAYMENTS - len(payments)):
        table.add_row("")
    said = [f"{word} {reason}" for word, reason in zip(("because", "and"), reasons, strict=False)]
    lines = [Text(line, no_wrap=True, overflow="ellipsis") for line in (*said, "", "")[:_REASONS]]
    title = f"the last {count_of(len(payments), 'payment')} of {user}" if user else "nobody has been flagged yet"
    return Panel(Group(table, *lines), title=title, title_align="left", width=WIDTH, height=HEIGHT)


def bar(amount: float, largest: float) -> str:
    """Return a bar as long as an amount is beside the largest one; whatever is above 0 is seen."""
    eighths = round(amount / largest * _BAR * 8) if largest > 0 else 0
    eighths = max(eighths, 1) if amount > 0 else 0
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).ljust(_BAR)
