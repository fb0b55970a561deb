"""The two ways to parse a transaction, compared."""

import struct
from collections.abc import Sequence

from stream.parse import ParsedTransaction, parse, parse_plain


def accepted(values: Sequence[bytes | None]) -> int:
    """Return how many values the fast way accepts; each of them the contract takes as well, and as the same."""
    plain = parse_plain(ParsedTransaction, values, ("created_at",))
    assert plain.others == [place for place, each in enumerate(plain.messages) if each is None]
    for value, fast, at_ms in zip(values, plain.messages, plain.times_ms["created_at"].tolist(), strict=True):
        if fast is not None and value is not None:
            slow, slow_ms = parse(value)
            assert (fast, at_ms) == (slow, slow_ms), value
            assert struct.pack("<d", fast.amount) == struct.pack("<d", slow.amount), value  # -0.0 == 0.0
    return len(values) - len(plain.others)
