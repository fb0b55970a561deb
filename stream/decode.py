"""Bytes to transactions. What cannot be one becomes a dead letter with a reason; nothing is dropped.

Pure: the same decoder runs in the scorer, in recovery and over the archive, so all three agree on what a window holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from pydantic import ValidationError

from models.hashing import merchant_hash, transaction_hash
from models.window import RECORD, VPN, Ints, Records
from stream.contract import TRANSACTION, Transaction, epoch_ms

MAX_VALUE_BYTES = 262_144
MAX_AHEAD_MS = 24 * 60 * 60 * 1000


class Reason(StrEnum):
    """Why a record is a dead letter: one stable word for metrics and headers."""

    NULL_VALUE = "null-value"
    TOO_LARGE = "too-large"
    NOT_JSON = "not-json"
    INVALID = "invalid"
    WRONG_KEY = "wrong-key"
    IN_THE_FUTURE = "in-the-future"
    NOT_SCORABLE = "not-scorable"


class DeadLetter(NamedTuple):
    """A record that is not scored. ``error`` is for a person and quotes nothing of the record."""

    row: int  # in the micro-batch
    reason: Reason
    error: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """A micro-batch after decoding; the first four run side by side, in order of arrival."""

    rows: Ints  # int64 [n] place in the micro-batch
    users: list[bytes]  # the keys
    transactions: list[Transaction]
    records: Records  # [n] RECORD
    dead: list[DeadLetter]


def decode(keys: Sequence[bytes | None], values: Sequence[bytes | None], timestamps_ms: Sequence[int]) -> Decoded:
    """Decode records given as columns; ``timestamps_ms`` are the records' Kafka timestamps."""
    rows: list[int] = []
    users: list[bytes] = []
    transactions: list[Transaction] = []
    created_at_ms: list[int] = []
    dead: list[DeadLetter] = []
    parse = TRANSACTION.validate_json
    for row, (key, value, timestamp_ms) in enumerate(zip(keys, values, timestamps_ms, strict=True)):
        # the checks are in line: a call an event costs a tenth of the whole catch-up
        if value is None or len(value) > MAX_VALUE_BYTES:
            dead.append(_refuse_value(row, value))
            continue
        try:
            transaction = parse(value)
            at_ms = epoch_ms(transaction["created_at"])
        except ValueError as error:  # pydantic's is one
            dead.append(_refuse_content(row, error))
            continue
        if key != transaction["user_id"].encode():
            dead.append(_refuse_key(row, key))
        elif at_ms > timestamp_ms + MAX_AHEAD_MS:
            dead.append(DeadLetter(row, Reason.IN_THE_FUTURE, _IN_THE_FUTURE))
        else:
            rows.append(row)
            users.append(key)
            transactions.append(transaction)
            created_at_ms.append(at_ms)
    records = np.empty(len(rows), RECORD)
    records["created_at_ms"] = created_at_ms
    records["transaction"] = [transaction_hash(t["transaction_id"]) for t in transactions]
    records["amount"] = [t["amount"] for t in transactions]
    records["merchant"] = [merchant_hash(t.get("merchant_id")) for t in transactions]
    records["flags"] = [VPN if t.get("is_vpn") else 0 for t in transactions]
    return Decoded(np.array(rows, np.int64), users, transactions, records, dead)


_IN_THE_FUTURE = (
    "created_at is more than 24 h after the record's Kafka timestamp: check the producer's clock and offset"
)


def _refuse_value(row: int, value: bytes | None) -> DeadLetter:
    if value is None:
        return DeadLetter(row, Reason.NULL_VALUE, "the value is null: transactions cannot be deleted by a tombstone")
    return DeadLetter(
        row, Reason.TOO_LARGE, f"the value has {len(value)} bytes: a transaction has at most {MAX_VALUE_BYTES}"
    )


def _refuse_key(row: int, key: bytes | None) -> DeadLetter:
    if key is None:
        return DeadLetter(row, Reason.WRONG_KEY, "the key is missing: produce with the user_id as key")
    return DeadLetter(
        row,
        Reason.WRONG_KEY,
        "the key is not the user_id in UTF-8: it would split the user's events over partitions; "
        "produce with the user_id as key",
    )


def _refuse_content(row: int, error: ValueError) -> DeadLetter:
    if isinstance(error, ValidationError):
        return DeadLetter(row, *_explain(error))
    return DeadLetter(row, Reason.INVALID, "created_at: no such date or time; send RFC 3339 with an offset")


def _explain(error: ValidationError) -> tuple[Reason, str]:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    if problems[0]["type"] == "json_invalid":
        return Reason.NOT_JSON, f"the value is not JSON in UTF-8: {problems[0]['msg']}"
    return Reason.INVALID, "; ".join(
        _explain_field(problem["loc"], problem["type"], problem["msg"]) for problem in problems
    )


def _explain_field(place: tuple[int | str, ...], kind: str, message: str) -> str:
    field = ".".join(map(str, place)) or "the value"
    if kind == "string_pattern_mismatch":
        message = "should be RFC 3339 with an offset, as 2026-01-31T12:00:00Z"
    return f"{field}: {message[0].lower()}{message[1:]}"
