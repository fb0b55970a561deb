"""What is published keeps to the contract, whatever is in the ids."""

import json
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.context import NO_DAY, day_number
from models.reasons import FlagReason
from stream.contract import FRAUD_SCORE
from stream.decode import DeadLetter, Reason
from stream.encode import TRUNCATED_BYTES, Verdict, dead_letter, encode_scores, rounded, source_headers
from stream.parse import ParsedTransaction

VERDICT = Verdict(model_version='v1 "quoted"', threshold=0.5, sequence_length=10)
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128)


def transaction(transaction_id: str = "t1", user_id: str = "u1") -> ParsedTransaction:
    return ParsedTransaction(transaction_id, user_id, 1.0, "2026-01-01T10:00:00.5+02:00")


@settings(deadline=None)
@given(
    transaction_id=ids,
    user_id=ids,
    probability=st.floats(0, 1, width=32),
    length=st.integers(1, 10),
    day=st.none() | st.dates(),
    reasons=st.none() | st.lists(st.builds(FlagReason, ids, ids, st.floats(0, 1)), max_size=3),
    suppressed=st.booleans(),
)
def test_a_score_is_the_contracts(
    transaction_id: str,
    user_id: str,
    probability: float,
    length: int,
    day: date | None,
    reasons: list[FlagReason] | None,
    suppressed: bool,
) -> None:
    [published] = rounded(np.array([probability], np.float32)).tolist()
    [value] = encode_scores(
        [transaction(transaction_id, user_id)],
        np.array([published]),
        np.array([length]),
        VERDICT,
        "2026-01-01T10:00:01.000Z",
        np.array([NO_DAY if day is None else day_number(day)]),
        {} if reasons is None else {0: reasons},
        [0] if suppressed else [],
    )
    score = FRAUD_SCORE.validate_json(value, strict=True)
    expected = {
        "transaction_id": transaction_id,
        "user_id": user_id,
        "created_at": "2026-01-01T10:00:00.5+02:00",
        "fraud_probability": published,
        "lstm_score": int(published * 100),
        "sequence_anomaly": published > 0.5 and not suppressed,
        "insufficient_history": length < 10,
        "window_length": length,
        "profile_day": day,
        "model_version": VERDICT.model_version,
        "scored_at": "2026-01-01T10:00:01.000Z",
    } | ({} if reasons is None else {"reasons": [reason._asdict() for reason in reasons]})
    expected |= {"suppressed": True} if suppressed else {}
    assert score == expected
    assert abs(published - probability) <= 5e-7
    assert json.loads(FRAUD_SCORE.dump_json(score)) == json.loads(value), "fields and names as pydantic writes them"


def test_a_score_names_the_record_it_answers() -> None:
    assert source_headers("transactions", [3, 4], [17, 5]) == [
        [("source-topic", b"transactions"), ("source-partition", b"3"), ("source-offset", b"17")],
        [("source-topic", b"transactions"), ("source-partition", b"4"), ("source-offset", b"5")],
    ]


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"x" * (TRUNCATED_BYTES + 1)])
def test_a_dead_letter_is_the_input_as_it_was(value: bytes | None) -> None:
    dead = DeadLetter(0, Reason.NOT_JSON, "the value is not JSON")
    output = dead_letter(dead, ("transactions", 3, 17, 99), b"key", value, truncate=False)
    assert (output.key, output.value) == (b"key", value)
    assert dict(output.headers) == {
        "error": b"the value is not JSON",
        "reason": b"not-json",
        "topic": b"transactions",
        "partition": b"3",
        "offset": b"17",
        "timestamp": b"99",
    }


def test_only_a_dead_letter_that_is_too_large_is_cut_and_says_so() -> None:
    dead = DeadLetter(0, Reason.TOO_LARGE, "too large")
    source = ("transactions", 3, 17, 99)
    cut = dead_letter(dead, source, None, b"x" * (TRUNCATED_BYTES + 1), truncate=True)
    assert cut.value == b"x" * TRUNCATED_BYTES
    assert dict(cut.headers)["truncated"] == b"65537"
    whole = dead_letter(dead, source, None, b"x" * TRUNCATED_BYTES, truncate=True)
    assert "truncated" not in dict(whole.headers)
