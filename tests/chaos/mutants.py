"""Good transactions, spoilt at random: bytes flipped, cut, doubled; fields dropped, swapped, of every wrong kind."""

import json
import random
from collections.abc import Callable

from stream.contract import timestamp
from tests.traffic import Record

_ODD: list[object] = [
    None,
    True,
    False,
    0,
    -1,
    1e308,
    -0.0,
    1e-320,
    1e12,
    1e12 + 1,
    2**63,
    10**400,
    "",
    "1",
    "NaN",
    "\x00",
    "é" * 64,
    "x" * 129,
    "\ud800",
    "2026-02-30T00:00:00Z",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999+00:00",
    "2026-01-01T00:00:00+23:59",
    "2026-01-01T00:00:00.123456789Z",
    "2026-01-01t00:00:00z",
    "1970-01-01T00:00:00-00:00",
    [],
    {},
    [[[[]]]],
    {"a": {"b": 1}},
]


def mutant(seed: int, now_ms: int) -> Record:
    """Return one record, the same for the same seed and time; whether it is bad is the decoder's to say."""
    rng = random.Random(seed)
    message: dict[str, object] = {
        "transaction_id": f"t-{rng.randrange(5_000)}",
        "user_id": f"user-{rng.randrange(50)}",
        "amount": round(rng.lognormvariate(3, 1.5), 2),
        "created_at": timestamp(now_ms - rng.randrange(3_600_000)),
        "is_vpn": rng.random() < 0.1,
        "merchant_id": f"m-{rng.randrange(50)}",
    }
    key = str(message["user_id"]).encode()
    if rng.random() < 0.3:
        return Record(key, json.dumps(message).encode(), bad=False)
    if rng.random() < 0.4:
        field = rng.choice([*message, "unknown"])
        message[field] = rng.choice(_ODD)
        if field == "user_id" and rng.random() < 0.5:
            key = json.dumps(message["user_id"]).strip('"').encode()
    value = json.dumps(message).encode()
    for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
        value = rng.choice(_EDITS)(value, rng)
    if rng.random() < 0.02:
        key = rng.choice((b"", b"\xff", key + b"\x00"))
    return Record(
        None if rng.random() < 0.01 else key,
        None if rng.random() < 0.01 else value,
        bad=False,
    )


def _flip(value: bytes, rng: random.Random) -> bytes:
    if not value:
        return value
    at = rng.randrange(len(value))
    return value[:at] + bytes([value[at] ^ 1 << rng.randrange(8)]) + value[at + 1 :]


def _cut(value: bytes, rng: random.Random) -> bytes:
    begin = rng.randrange(len(value) + 1)
    return value[:begin] + value[begin + rng.randrange(20) :]


def _double(value: bytes, rng: random.Random) -> bytes:
    begin = rng.randrange(len(value) + 1)
    return value[: begin + rng.randrange(40)] + value[begin:]


def _insert(value: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(value) + 1)
    return value[:at] + rng.choice(_TOKENS) + value[at:]


def _swap_case(value: bytes, _: random.Random) -> bytes:
    return value.swapcase()


_EDITS: list[Callable[[bytes, random.Random], bytes]] = [_flip, _cut, _double, _insert, _swap_case]
_TOKENS = [
    b"{",
    b"}",
    b"[" * 500,
    b'"',
    b"\\",
    b"\\u0000",
    b"\\ud83d",
    b",",
    b":",
    b"null",
    b"NaN",
    b"Infinity",
    b"1e999",
    b"\xef\xbb\xbf",
    b"\x00",
    b"\xc3",
    b"\xf4\x90\x80\x80",
    b" " * 1000,
    b"9" * 400,
    b"//",
    b'"amount":-1,',
]
