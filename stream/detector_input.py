"""Transactions as dicts, as a web handler has them, into what the network reads.

Two forms: ready features (:data:`READY`, the baseline's), or raw transactions with ``created_at``, from which the
scorer's own feature code computes whatever the model was trained on. Positions in messages count from the end, as
Python's own do: the last transaction is -1.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from models.window import RECORD, VPN, Windows, advance
from stream.contract import epoch_ms

#: The features that a dict may carry ready made, and what stands for one that it lacks.
READY = {"amount": 0.0, "hour_of_day": 12.0, "is_weekend": 0.0, "is_vpn": 0.0}

Transaction = Mapping[str, Any]


def is_raw(transactions: Sequence[Transaction]) -> bool:
    """Return whether the dicts carry ``created_at`` and none of the features that would be made from it."""
    keys = {key for transaction in transactions for key in transaction}
    return "created_at" in keys and not keys & {"hour_of_day", "is_weekend"}


def ready_features(transactions: Sequence[Transaction], names: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return ``float32 [1, T, F]``: the features ``names``, all in :data:`READY`, as the dicts carry them.

    Raises:
        ValueError: a value that is not a finite number; the message names field and position.
    """
    rows = [
        [_number(transaction.get(name, READY[name]), name, position) for name in names]
        for position, transaction in enumerate(transactions, -len(transactions))
    ]
    return np.array([rows], np.float32)


def raw_window(transactions: Sequence[Transaction], preset: str, max_age_ms: int) -> Windows:
    """Return one window, ending with the last transaction, as the scorer would have built it from these.

    Raises:
        ValueError: a field that is missing or cannot be read; the message names field, position and preset.
    """
    events = np.zeros(len(transactions), RECORD)
    for position, transaction in enumerate(transactions, -len(transactions)):
        for field in ("amount", "created_at"):
            if field not in transaction:
                raise ValueError(
                    f"transactions[{position}] has no {field!r}, which the features of preset {preset!r} are made from"
                )
        amount = _number(transaction["amount"], "amount", position)
        if amount < 0:
            raise ValueError(f"transactions[{position}] has a negative 'amount': {amount}")
        flags = VPN if _number(transaction.get("is_vpn", 0), "is_vpn", position) else 0
        events[position] = (_epoch_ms(transaction["created_at"], position), 0, amount, 0, flags)
    events["transaction"] = np.arange(1, len(events) + 1)  # all different, whatever ids the dicts may carry
    users = np.zeros(len(events), np.int64)
    return advance(Windows.empty(1, len(events)), users, events, max_age_ms).scored.take(slice(-1, None))


def _number(value: object, field: str, position: int) -> float:
    number = float(value) if isinstance(value, Real | Decimal | np.bool_) else np.nan
    if not np.isfinite(number):
        raise ValueError(f"transactions[{position}] has a {field!r} that is not a finite number: {value!r}")
    return number


def _epoch_ms(value: object, position: int) -> int:
    try:
        instant = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError as error:
        raise ValueError(f"transactions[{position}] has a 'created_at' that is not RFC 3339: {value!r}") from error
    if instant.tzinfo is None:
        raise ValueError(f"transactions[{position}] has a 'created_at' without an offset from UTC: {value!r}")
    return epoch_ms(instant.isoformat())
