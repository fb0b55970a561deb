"""Every malformed record is one dead letter that a person can act on, and its neighbours are decoded."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.hashing import merchant_hash, transaction_hash
from stream.contract import epoch_ms
from stream.decode import MAX_VALUE_BYTES, Reason, decode

NOW_MS = 1_767_261_600_000  # 2026-01-01T10:00:00Z


def value(**changes: Any) -> bytes:
    message = {"transaction_id": "t1", "user_id": "u1", "amount": 12.5, "created_at": "2026-01-01T10:00:00Z"} | changes
    return json.dumps({name: field for name, field in message.items() if field is not ...}).encode()


GOOD = value()


@pytest.mark.parametrize(
    ("key", "bad", "reason", "words"),
    [
        (b"u1", None, Reason.NULL_VALUE, "null"),
        (b"u1", b"", Reason.NOT_JSON, "not JSON"),
        (b"u1", b"hello", Reason.NOT_JSON, "not JSON"),
        (b"u1", GOOD[:-1], Reason.NOT_JSON, "not JSON"),
        (b"u1", GOOD + b"x", Reason.NOT_JSON, "not JSON"),
        (b"u1", GOOD.replace(b"t1", b"\xff\xfe"), Reason.NOT_JSON, "UTF-8"),
        (b"u1", b'{"a":' * 20_000, Reason.NOT_JSON, "recursion"),
        (b"u1", b"[" * 1_000_000, Reason.TOO_LARGE, "1000000 bytes"),
        (b"u1", b"[]", Reason.INVALID, "the value"),
        (b"u1", b"null", Reason.INVALID, "the value"),
        (b"u1", value(amount=...), Reason.INVALID, "amount: field required"),
        (b"u1", value(transaction_id=...), Reason.INVALID, "transaction_id: field required"),
        (b"u1", value(created_at=...), Reason.INVALID, "created_at: field required"),
        (b"u1", value(user_id=...), Reason.INVALID, "user_id: field required"),
        (b"u1", value(amount="12.5"), Reason.INVALID, "amount: input should be a valid number"),
        (b"u1", value(amount=True), Reason.INVALID, "amount"),
        (b"u1", value(amount=-0.01), Reason.INVALID, "greater than or equal to 0"),
        (b"u1", value(amount=float("nan")), Reason.INVALID, "finite"),
        (b"u1", value(amount=float("inf")), Reason.INVALID, "finite"),
        (b"u1", GOOD.replace(b"12.5", b"1e999"), Reason.INVALID, "finite"),
        (b"u1", GOOD.replace(b"12.5", b"9" * 5000), Reason.NOT_JSON, "number"),
        (b"u1", value(amount=1.1e12), Reason.INVALID, "less than or equal to"),
        (b"u1", value(created_at="2026-01-01T10:00:00"), Reason.INVALID, "with an offset"),
        (b"u1", value(created_at="1767261600"), Reason.INVALID, "RFC 3339"),
        (b"u1", value(created_at=1767261600), Reason.INVALID, "created_at"),
        (b"u1", value(created_at="2026-02-30T10:00:00Z"), Reason.INVALID, "no such date"),
        (b"u1", value(created_at="2026-01-01T10:00:00+25:00"), Reason.INVALID, "no such date"),
        (b"u1", value(created_at="2026-01-02T10:00:00.001Z"), Reason.IN_THE_FUTURE, "24 h"),
        (b"u1", value(is_vpn="yes"), Reason.INVALID, "is_vpn"),
        (b"u1", value(is_vpn=None), Reason.INVALID, "is_vpn"),
        (b"u1", value(merchant_id=7), Reason.INVALID, "merchant_id"),
        (b"u1", value(transaction_id=""), Reason.INVALID, "at least 1 character"),
        (b"u1", value(transaction_id="t" * 129), Reason.INVALID, "at most 128 characters"),
        (b"u" * 129, value(user_id="u" * 129), Reason.INVALID, "at most 128 characters"),
        (None, GOOD, Reason.WRONG_KEY, "missing"),
        (b"", GOOD, Reason.WRONG_KEY, "not the user_id"),
        (b"u2", GOOD, Reason.WRONG_KEY, "not the user_id"),
        (b'"u1"', GOOD, Reason.WRONG_KEY, "not the user_id"),
    ],
)
def test_a_bad_record_is_one_dead_letter_and_its_neighbours_are_decoded(
    key: bytes | None, bad: bytes | None, reason: Reason, words: str
) -> None:
    decoded = decode([b"u1", key, b"u1"], [GOOD, bad, GOOD], [NOW_MS] * 3)
    assert decoded.rows.tolist() == [0, 2]
    [dead] = decoded.dead
    assert (dead.row, dead.reason) == (1, reason)
    assert words in dead.error


def test_a_dead_letters_message_quotes_nothing_of_the_record() -> None:
    secret = "4929-1234"  # noqa: S105
    bad = value(amount=secret, transaction_id=[secret], created_at=secret, merchant_id={"pan": secret})
    assert secret not in decode([b"u1"], [bad], [NOW_MS]).dead[0].error


def test_a_good_record_becomes_one_row_of_its_window() -> None:
    full = value(is_vpn=True, merchant_id="m1", created_at="2026-01-01T12:00:00.123456+02:00", unknown={"x": 1})
    decoded = decode([b"u1"], [full], [NOW_MS])
    assert decoded.users == [b"u1"]
    assert decoded.records.tolist() == [(NOW_MS + 123, transaction_hash("t1"), 12.5, merchant_hash("m1"), 1)]


def test_defaults_are_no_vpn_and_no_merchant() -> None:
    decoded = decode([b"u1"] * 2, [GOOD, value(merchant_id=None)], [NOW_MS] * 2)
    assert decoded.records["flags"].tolist() == decoded.records["merchant"].tolist() == [0, 0]


def test_a_late_event_is_good_however_old() -> None:
    old = value(created_at="0001-01-01T00:00:00+10:00")
    assert decode([b"u1"], [old], [NOW_MS]).records["created_at_ms"][0] == epoch_ms("0001-01-01T00:00:00+10:00")


def test_the_size_limit_is_exact() -> None:
    padded = GOOD.ljust(MAX_VALUE_BYTES)
    decoded = decode([b"u1"] * 2, [padded, padded + b" "], [NOW_MS] * 2)
    assert decoded.rows.tolist() == [0]
    assert decoded.dead[0].reason is Reason.TOO_LARGE


@given(junk=st.binary(max_size=400), at=st.integers(0, 120), key=st.binary(max_size=4) | st.none())
def test_whatever_bytes_come_the_rest_is_decoded(junk: bytes, at: int, key: bytes | None) -> None:
    mutated = GOOD[:at] + junk + GOOD[at + len(junk) // 2 :]
    decoded = decode([b"u1", key, b"u1", b"u1"], [GOOD, junk, mutated, GOOD], [NOW_MS] * 4)
    assert len(decoded.rows) + len(decoded.dead) == 4
    assert {0, 3} <= set(decoded.rows.tolist())


def test_hashes_are_what_stored_windows_hold() -> None:
    """Golden values: changing a hash would make every stored window and archive disagree."""
    assert transaction_hash("t1") == 0xC03234FAC12AC33C
    assert transaction_hash("Zahlung-é") == 0x2D88A0D6224628C3
    assert merchant_hash("m1") == 3_668_901_204
    assert merchant_hash(None) == 0
