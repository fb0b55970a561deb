"""A reason as a sentence for a person. It quotes times and amounts of the user's own payments, and of nobody else's."""

import numpy as np

from models.features import Steps, is_weekend, zone_offset_ms
from models.window import VPN, Records, Windows

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def sentence(name: str, payments: Records, step: int, zone: str) -> str:
    """Return what a reason means for a window's last payment.

    Args:
        name: of the reason, one that :func:`models.left_out.leave_out` yields.
        payments: the window, ``[length] RECORD``.
        step: the payment that the reason is, or whose value is the usual one; negative where it is none of these.
        zone: IANA name, of hours and days.

    Raises:
        ValueError: no such reason.
    """
    last = payments[-1]
    usual = payments[step] if step >= 0 else None
    before_ms = int(last["created_at_ms"] - (last if usual is None else usual)["created_at_ms"])
    match name:
        case "earlier_payment" if usual is not None:
            return f"a payment of {usual['amount']:,.2f}, {duration(before_ms)} before"
        case "burst" if usual is not None:
            return f"{len(payments) - step} payments within {duration(before_ms, up=True)}"
        case "amount":
            told = f"amount {last['amount']:,.2f}"
            return told if usual is None else f"{told}; usual {usual['amount']:,.2f}"
        case "time_of_day":
            told = f"at {_clock(payments, -1, zone)} ({zone})"
            return told if usual is None else f"{told}; usual is around {_clock(payments, step, zone)[:2]}:00"
        case "weekend":
            steps = Steps(Windows(payments[None], np.array([len(payments)])), zone)
            told = f"on a {_DAYS[int(steps.day_of_week[0, -1])]}"
            if usual is None:
                return told
            return f"{told}; usual are {'weekends' if is_weekend(steps.day_of_week)[0, step] else 'weekdays'}"
        case "vpn":
            told = "through a VPN" if last["flags"] & VPN else "without a VPN"
            return told if usual is None else f"{told}; usual is {'with' if usual['flags'] & VPN else 'without'}"
        case "time_since_previous":
            gaps_ms = np.diff(payments["created_at_ms"])
            told = f"{duration(int(gaps_ms[-1]))} after the previous payment"
            return told if usual is None else f"{told}; usual gap {duration(int(gaps_ms[step - 1]))}"
        case "merchant_profile":
            return "what happened at this merchant in the last 30 days"
        case "user_profile":
            return "what this user did in the last 30 days"
    raise ValueError(f"no reason is called {name!r}")


def duration(ms: int, *, up: bool = False) -> str:
    """Return a time in its largest unit of which there are two at least, cut off: ``17 minutes``, ``2 days``.

    With ``up`` it is rounded up, for what happened within it.
    """
    for unit, of_unit_ms in (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000)):
        if ms >= 2 * of_unit_ms:
            return f"{_units(ms, of_unit_ms, up)} {unit}s"
    seconds = _units(ms, 1000, up)
    return f"{seconds} second{'' if seconds == 1 else 's'}"


def _units(ms: int, of_unit_ms: int, up: bool) -> int:
    return -(-ms // of_unit_ms) if up else ms // of_unit_ms


def _clock(payments: Records, step: int, zone: str) -> str:
    at_ms = np.asarray(payments["created_at_ms"][step], np.int64).reshape(1)
    minutes = int(at_ms[0] + zone_offset_ms(zone, at_ms)[0]) // 60_000 % (24 * 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
