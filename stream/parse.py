"""Values to messages, in two ways that agree: the contract's own, and one that is four times as fast.

Pydantic on the contract alone judges what a message is and words what is wrong with one. :func:`parse_plain` takes many
values and accepts only what is plainly a message, the same one as the contract makes of it; the rest it leaves to the
contract. tests/unit/test_parse.py holds the two together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Generic, TypeVar

import msgspec
import numpy as np

from models.window import Ints
from stream.contract import MAX_AMOUNT, MAX_ID_CHARS, TRANSACTION, ScoreReason, epoch_ms
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
    created_at: str  # what it looks like is seen to for many at once
    is_vpn: bool = False
    merchant_id: _Id | None = None


class ParsedScore(msgspec.Struct, frozen=True, gc=False):
    """A :class:`stream.contract.FraudScore` whose window is shorter than 2**31; times are the texts that were sent."""

    transaction_id: _Id
    user_id: _Id
    created_at: str
    fraud_probability: Annotated[float, msgspec.Meta(ge=0, le=1)]
    lstm_score: Annotated[int, msgspec.Meta(ge=0, le=100)]
    sequence_anomaly: bool
    insufficient_history: bool
    window_length: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    profile_day: date | None
    model_version: str
    scored_at: str
    reasons: list[ScoreReason] | msgspec.UnsetType = msgspec.UNSET
    suppressed: bool | msgspec.UnsetType = msgspec.UNSET


class ParsedLabel(msgspec.Struct, frozen=True, gc=False):
    """A :class:`stream.contract.FraudLabel`; ``labelled_at`` is the text that was sent."""

    transaction_id: _Id
    user_id: _Id
    is_fraud: bool
    labelled_at: str


Message = TypeVar("Message", ParsedTransaction, ParsedScore, ParsedLabel)

# Made here, while nobody else can: the first decoder of a type fills in what all of them read, and a thread that makes
# another one meanwhile (partitions are taken up side by side) reads half of it: a segmentation fault (msgspec 0.22).
_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in (ParsedTransaction, ParsedScore, ParsedLabel)
}


@dataclass(frozen=True)
class Plain(Generic[Message]):
    """What :func:`parse_plain` makes of n values."""

    messages: list[Message | None]  # [n]
    times_ms: dict[str, Ints]  # by field, int64 [n], of no meaning where there is no message
    others: list[int]  # places of the values that are left to the contract


def parse(value: bytes) -> tuple[ParsedTransaction, int]:
    """Return a transaction and its ``created_at`` in milliseconds since the epoch, as the contract has them.

    Raises:
        ValueError: it is none: pydantic's, or that of a day or hour that there is not.
    """
    message = TRANSACTION.validate_json(value)
    return ParsedTransaction(**message), epoch_ms(message["created_at"])


def parse_plain(kind: type[Message], values: Sequence[bytes | None], times: Sequence[str]) -> Plain[Message]:
    """Parse the values that are plainly messages; those of 4,300 bytes and more never are.

    ``times`` are the fields of ``kind`` that are timestamps.
    """
    messages: list[Message | None] = []
    accept = _DECODERS[kind].decode
    for value in values:
        try:
            if value is None or (len(value) >= _ROOM_FOR_LEVELS and not _is_shallow(value)):
                messages.append(None)
            else:  # as text, because msgspec does not look whether what it ignores is UTF-8
                messages.append(accept(value.decode()))
        except (msgspec.DecodeError, UnicodeDecodeError):
            messages.append(None)
    times_ms, plain = {}, np.array([each is not None for each in messages], np.bool_)
    for name in times:
        times_ms[name], fits = epochs_ms(["" if each is None else getattr(each, name) for each in messages])
        plain &= fits
    others = np.flatnonzero(~plain).tolist()
    for place in others:
        messages[place] = None
    return Plain(messages, times_ms, others)


def _is_shallow(value: bytes) -> bool:
    return len(value) < _MOST_DIGITS and value.count(b"{") + value.count(b"[") < _MOST_LEVELS
