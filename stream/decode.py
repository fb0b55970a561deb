"""Bytes to transactions. What cannot be one becomes a dead letter with a reason; nothing is dropped.

Pure: the same decoder runs in the scorer, in recovery and over the archive, so all three agree on what a window holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import compress
from operator import eq
from typing import NamedTuple

import numpy as np
from pydantic import ValidationError

from models.hashing import merchant_hash, transaction_hashes
from models.window import RECORD, VPN, Ints, Records
from stream.framing import Framing, is_framed, unframed
from stream.parse import ParsedTransaction, parse, parse_plain

MAX_VALUE_BYTES = 262_144
MAX_AHEAD_MS = 24 * 60 * 60 * 1000


class Reason(StrEnum):
    """Why a record is a dead letter: one stable word for metrics and headers."""

    NULL_VALUE = "null-value"
    TOO_LARGE = "too-large"
    FRAMED = "framed"
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


@dataclass(frozen=True)
class Decoded:
    """A micro-batch after decoding; the first four run side by side, in order of arrival."""

    rows: Ints  # int64 [n] place in the micro-batch
    users: list[bytes]  # the keys
    transactions: list[ParsedTransaction]
    created_at_ms: Ints  # int64 [n]
    dead: list[DeadLetter]

    @cached_property
    def records(self) -> Records:
        """The transactions as windows keep them, ``[n] RECORD``; the archiver can do without."""
        records = np.empty(len(self.rows), RECORD)
        records["created_at_ms"] = self.created_at_ms
        records["transaction"] = transaction_hashes([each.transaction_id.encode() for each in self.transactions])
        records["amount"] = [each.amount for each in self.transactions]
        merchants = [each.merchant_id for each in self.transactions]
        hashes = {merchant: merchant_hash(merchant) for merchant in set(merchants)}  # merchants repeat
        records["merchant"] = [hashes[merchant] for merchant in merchants]
        records["flags"] = [VPN if each.is_vpn else 0 for each in self.transactions]
        return records


def decode(
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    timestamps_ms: Sequence[int],
    framing: Framing = "none",
) -> Decoded:
    """Decode records given as columns; ``timestamps_ms`` are the records' Kafka timestamps.

    With the framing ``confluent`` a value may have a frame or none; without, one that has is a dead letter.
    """
    contents = values if framing == "none" else [unframed(value) for value in values]
    plain = parse_plain(ParsedTransaction, contents, ("created_at",))
    parsed, created_at_ms = plain.messages, plain.times_ms["created_at"]
    dead: list[DeadLetter] = []
    for row in plain.others:
        judged = _judge(row, contents[row], values[row], framing)
        if isinstance(judged, DeadLetter):
            dead.append(judged)
        else:
            parsed[row], created_at_ms[row] = judged
    transactions = [each for each in parsed if each is not None]
    users = [each.user_id.encode() for each in transactions]
    good = np.ones(len(parsed), np.bool_)
    good[[letter.row for letter in dead]] = False
    rows = np.flatnonzero(good)
    its_keys = list(compress(keys, good.tolist()))
    not_ahead = created_at_ms - MAX_AHEAD_MS <= np.array(timestamps_ms, np.int64)
    if its_keys != users or not not_ahead[rows].all():
        is_key = list(map(eq, its_keys, users))
        for row, key, right in zip(rows.tolist(), its_keys, is_key, strict=True):
            if not right:
                dead.append(_refuse_key(row, key))
            elif not not_ahead[row]:
                dead.append(DeadLetter(row, Reason.IN_THE_FUTURE, _IN_THE_FUTURE))
        stay = is_key & not_ahead[rows]
        rows = rows[stay]
        transactions, users = list(compress(transactions, stay)), list(compress(users, stay))
    dead.sort(key=lambda letter: letter.row)
    return Decoded(rows, users, transactions, created_at_ms[rows], dead)


def _judge(
    row: int, value: bytes | None, as_it_came: bytes | None, framing: Framing
) -> tuple[ParsedTransaction, int] | DeadLetter:
    if value is None or len(value) > MAX_VALUE_BYTES:
        return _refuse_value(row, value)
    try:
        return parse(value)
    except ValueError as error:
        dead = _refuse_content(row, error)
    if as_it_came is None or not is_framed(as_it_came):
        return dead
    if framing == "none":
        return DeadLetter(row, Reason.FRAMED, _FRAMED)
    if dead.reason is Reason.NOT_JSON:
        return dead._replace(error=f"{dead.error}; of the Schema Registry's formats only JSON Schema is read")
    return dead


_FRAMED = (
    "the value has the Schema Registry's frame before its JSON: "
    "set TENFOLD_INPUT_FRAMING=confluent, or produce with a plain JSON serializer"
)
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
        return DeadLetter(row, *explain_invalid(error))
    return DeadLetter(row, Reason.INVALID, "created_at: no such date or time; send RFC 3339 with an offset")


def explain_invalid(error: ValidationError) -> tuple[Reason, str]:
    """Return what the contract has against a value: the reason, and for a person each field. Nothing is quoted."""
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
