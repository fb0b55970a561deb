"""Windows of honest payments whose last one, or last few, are not."""

from collections.abc import Callable

import numpy as np

from models.window import VPN, Windows

_DAY_MS, _HOUR_MS, _MINUTE_MS = 86_400_000, 3_600_000, 60_000
_MONDAY_MS = 1_767_571_200_000  # 2026-01-05T00:00Z


def honest(rng: np.random.Generator, n: int) -> Windows:
    """Return ``[n, 10]`` full windows: about a payment a day, on workdays, by day, in the user's own amounts."""
    windows = Windows.empty(n)
    windows.lengths[:] = 10
    days = np.array([0, 1, 2, 3, 4, 7, 8, 9, 10, 11]) * _DAY_MS
    hours = rng.uniform(9, 19, (n, 10)) * _HOUR_MS
    windows.records["created_at_ms"] = _MONDAY_MS + days + hours.astype(np.int64)
    windows.records["amount"] = np.exp(rng.normal(3.3, 0.4, (n, 1)) + rng.normal(0, 0.35, (n, 10))).round(2)
    windows.records["transaction"] = np.arange(1, 10 * n + 1).reshape(n, 10)
    return windows


def burst(rng: np.random.Generator, n: int) -> Windows:
    """Return honest windows that end with four to six payments within minutes, as where a stolen card is tried."""
    windows = honest(rng, n)
    counts = rng.integers(4, 7, n)
    for row, count in enumerate(counts.tolist()):
        its = windows.records[row, 10 - count :]
        gaps = rng.uniform(0.3, 3, count - 1) * _MINUTE_MS
        its["created_at_ms"][1:] = its["created_at_ms"][0] + np.cumsum(gaps).astype(np.int64)
        its["amount"] = np.exp(rng.normal(np.log(2.5), 0.5, count)).round(2)
    return windows


def vpn_at_night(rng: np.random.Generator, n: int) -> Windows:
    """Return honest windows whose last payment is made between one and four in the night, through a VPN."""
    windows = honest(rng, n)
    last = windows.records[:, 9]
    last["created_at_ms"] = _MONDAY_MS + 11 * _DAY_MS + (rng.uniform(1, 4, n) * _HOUR_MS).astype(np.int64)
    last["flags"] = VPN
    return windows


def amount_jump(rng: np.random.Generator, n: int) -> Windows:
    """Return an evening's payments in the user's own amounts, and a last one that is 30 to 100 times their median."""
    windows = honest(rng, n)
    gaps = (rng.uniform(10, 60, (n, 10)) * _MINUTE_MS).astype(np.int64)
    windows.records["created_at_ms"] = _MONDAY_MS + 20 * _HOUR_MS + np.cumsum(gaps, axis=1)
    medians = np.median(windows.records["amount"][:, :9], axis=1)
    windows.records["amount"][:, 9] = (medians * rng.uniform(30, 100, n)).round(2)
    return windows


CRAFTED: dict[str, Callable[[np.random.Generator, int], Windows]] = {
    "burst": burst,
    "vpn at night": vpn_at_night,
    "amount jump": amount_jump,
}
