"""One value to a transaction, in two ways that agree: the contract's own, and one that is four times as fast.

:func:`parse` is pydantic on the contract; it alone judges what a transaction is and words what is wrong with one.
:func:`parse_plain` takes a whole micro-batch and accepts only what is plainly a transaction, the same one as
:func:`parse` would return; the rest it leaves to it. tests/unit/test_parse.py holds the two together.
"""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec

from models.window import Ints
from stream.contract import MAX_AMOUNT, MAX_ID_CHARS, TRANSACTION, epoch_ms
from stream.timestamps import epochs_ms

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARS)]

# What pydantic refuses even in fields that it ignores, and msgspec does not: 200 levels and numbers of 4,300 digits.
_MOST_LEVELS, _MOST_DIGITS = 200, 4_300
_ROOM_FOR_LEVELS = 2 * _MOST_LEVELS  # bytes: each is opened and closed


class ParsedTransaction(msgspec.Struct, frozen=True, gc=False):
    """A :class:`stream.contract.Transaction` with its defaults filled in; ``created_at`` is the text that was sent."""

    transaction_id: _Id
    user_id: _Id
    amount: Annotated[float, msgspec.Meta(ge=0, le=MAX_AMOUNT)]
    created_at: str  # what it looks like is seen to for a whole micro-batch at once
    is_vpn: bool = False
    merchant_id: _Id | None = None


class Plain(NamedTuple):
    """What :func:`parse_plain` makes of n values; the first two are n long."""

    transactions: list[ParsedTransaction | None]
    created_at_ms: Ints  # int64 [n], of no meaning where there is no transaction
    others: list[int]  # places of the values that are left to :func:`parse`


def parse(value: bytes) -> tuple[ParsedTransaction, int]:
    """Return a transaction and its ``created_at`` in milliseconds since the epoch.

    Raises:
        ValueError: it is none: pydantic's, or that of a day or hour that there is not.
    """
    message = TRANSACTION.validate_json(value)
    return ParsedTransaction(**message), epoch_ms(message["created_at"])


def parse_plain(values: Sequence[bytes | None]) -> Plain:
    """Parse the values that are plainly transactions; those of 4,300 bytes and more never are."""
    transactions: list[ParsedTransaction | None] = []
    accept = msgspec.json.Decoder(ParsedTransaction).decode
    for value in values:
        try:
            if value is None or (len(value) >= _ROOM_FOR_LEVELS and not _is_shallow(value)):
                transactions.append(None)
            else:  # as text, because msgspec does not look whether what it ignores is UTF-8
                transactions.append(accept(value.decode()))
        except (msgspec.DecodeError, UnicodeDecodeError):
            transactions.append(None)
    created_at_ms, plain = epochs_ms(["" if each is None else each.created_at for each in transactions])
    others = (~plain).nonzero()[0].tolist()
    for place in others:
        transactions[place] = None
    return Plain(transactions, created_at_ms, others)


def _is_shallow(value: bytes) -> bool:
    return len(value) < _MOST_DIGITS and value.count(b"{") + value.count(b"[") < _MOST_LEVELS
