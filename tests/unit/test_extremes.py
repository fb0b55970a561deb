"""Whatever is well-formed has a score: what the contract allows at most and at least, through the models that ship."""

import json
from itertools import product

import numpy as np
import pytest

from models.bundle import load_bundle, starter
from models.runtime import RuntimeName
from models.window import Windows, advance
from stream.decode import decode

AMOUNTS = [0, 5e-324, 0.01, 999_999_999_999.99, 1e12]
TIMES = [
    "0001-01-01T00:00:00+23:59",
    "1969-12-31T23:59:59.999Z",
    "2026-06-06T23:00:00Z",
    "9999-12-31T23:59:59-23:59",
]
END_OF_TIME_MS = 253_402_387_199_000


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("preset", ["baseline", "default"])
def test_the_extremes_of_each_field_have_a_finite_probability(preset: str, runtime: RuntimeName) -> None:
    events = list(product(AMOUNTS, TIMES, AMOUNTS, TIMES, [False, True]))
    users = [b"user-%d" % number for number in range(len(events)) for _ in range(2)]
    payments = [
        {"amount": amount, "created_at": at, "is_vpn": is_vpn}
        for first, first_at, second, second_at, is_vpn in events
        for amount, at in ((first, first_at), (second, second_at))
    ]
    ids = [{"transaction_id": str(number), "user_id": user.decode()} for number, user in enumerate(users)]
    values: list[bytes | None] = [json.dumps(its | each).encode() for its, each in zip(ids, payments, strict=True)]
    decoded = decode(users, values, [END_OF_TIME_MS] * len(users))
    assert decoded.dead == []

    bundle = load_bundle(starter(preset), runtime)
    rows = np.arange(len(users)) // 2
    windows = advance(Windows.empty(len(events)), rows, decoded.records, bundle.spec.window_max_age_ms).scored
    assert np.isfinite(bundle.score(windows)).all()
