"""Many timestamps at once: :func:`stream.contract.epoch_ms` as arithmetic on columns of digits."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from models.window import Ints

Bools = npt.NDArray[np.bool_]
Chars = npt.NDArray[np.uint8]

_ZERO = np.uint8(ord("0"))

#: How a timestamp may look: ``0`` stands for any digit, ``+`` for a sign.
LAYOUTS = [
    "0000-00-00T00:00:00" + fraction + zone
    for fraction, zone in product(["", *("." + "0" * digits for digits in range(1, 10))], ["Z", "+00:00"])
]


def epochs_ms(timestamps: Sequence[str]) -> tuple[Ints, Bools]:
    """Return what :func:`stream.contract.epoch_ms` makes of texts, and which of them are plainly timestamps.

    Both are ``[n]``. Where the second is false the first means nothing, and the text may be a timestamp all the same.
    """
    times, plain = np.zeros(len(timestamps), np.int64), np.zeros(len(timestamps), np.bool_)
    lengths = np.fromiter(map(len, timestamps), np.int64, len(timestamps))
    present = set(lengths.tolist())
    for layout in LAYOUTS:
        if len(layout) in present:
            rows = np.flatnonzero(lengths == len(layout))
            text = "".join([timestamps[row] for row in rows.tolist()]).encode("ascii", "replace")
            # uint8 [length of the layout, n]: one row a place
            chars = np.ascontiguousarray(np.frombuffer(text, np.uint8).reshape(len(rows), len(layout)).T)
            fits = _fits(chars, layout)
            rows, chars = rows[fits], chars[:, fits]
            times[rows], plain[rows] = _read(chars, layout)
    return times, plain


def _fits(chars: Chars, layout: str) -> Bools:
    fits = np.ones(chars.shape[1], np.bool_)
    for char, place in zip(chars, layout, strict=True):
        if place == "0":
            fits &= char - _ZERO <= 9  # what is below "0" wraps round
        elif place == "+":
            fits &= (char == ord("+")) | (char == ord("-"))
        else:
            fits &= char == ord(place)
    return fits


def _read(chars: Chars, layout: str) -> tuple[Ints, Bools]:
    """Return milliseconds since the epoch of ``chars`` that fit, and whether there is such a day, hour and offset."""

    def number(begin: int, end: int) -> Ints:
        value = np.zeros(chars.shape[1], np.int64)
        for digit in chars[begin:end] - _ZERO:
            value = value * 10 + digit
        return value

    year, month, day = number(0, 4), number(5, 7), number(8, 10)
    hour, minute, second = number(11, 13), number(14, 16), number(17, 19)
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    first, behind = (each.astype("datetime64[D]").astype(np.int64) for each in (months, months + 1))
    there_is = (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (first + day <= behind)
    there_is &= (hour <= 23) & (minute <= 59) & (second <= 59)
    seconds = ((first + day - 1) * 24 + hour) * 3600 + minute * 60 + second
    zone = max(layout.find("+"), layout.find("Z"))
    if layout[zone] == "+":
        hours, minutes = number(zone + 1, zone + 3), number(zone + 4, zone + 6)
        there_is &= (hours <= 23) & (minutes <= 59)
        seconds -= np.where(chars[zone] == ord("-"), -1, 1) * (hours * 3600 + minutes * 60)
    digits = min(layout[:zone].count("0", 20), 3)
    return seconds * 1000 + number(20, 20 + digits) * 10 ** (3 - digits), there_is
