"""The peers of the benchmark do the engine's work, and come from packages that are pinned."""

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.peers.agreement import DisagreementError, check, in_order
from benchmarks.peers.event_window import FEATURES, arrive, features, step_of
from models.features import step_features
from models.hashing import transaction_hash
from models.window import RECORD, VPN, WINDOW_MAX_AGE_MS, Windows, advance
from stream.contract import epoch_ms, timestamp

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "benchmarks" / "peers"

_START_MS = 1_700_000_000_000

transactions = st.builds(
    lambda number, at_ms, amount, is_vpn: (
        {"transaction_id": f"t-{number}", "amount": amount, "created_at": timestamp(at_ms)} | is_vpn
    ),
    number=st.integers(0, 30),  # narrow: repeated ones are the rule
    at_ms=st.integers(_START_MS, _START_MS + 40)  # equal times and late ones
    | st.integers(_START_MS - 2 * WINDOW_MAX_AGE_MS, _START_MS),  # too old ones, any hour and weekday
    amount=st.floats(0, 1e12),
    is_vpn=st.sampled_from([{}, {"is_vpn": False}, {"is_vpn": True}]),
)


@settings(max_examples=100, deadline=None)
@given(stream=st.lists(transactions, max_size=60))
def test_a_peer_computes_the_features_that_the_engine_computes(stream: list[dict[str, object]]) -> None:
    records = np.array(
        [
            (
                epoch_ms(str(event["created_at"])),
                transaction_hash(str(event["transaction_id"])),
                event["amount"],
                0,
                VPN if event.get("is_vpn") else 0,
            )
            for event in stream
        ],
        RECORD,
    )
    scored = advance(Windows.empty(1), np.zeros(len(stream), np.int64), records, WINDOW_MAX_AGE_MS).scored
    expected = step_features(scored, FEATURES)

    packed = b""
    for event, row, length in zip(stream, expected, scored.lengths, strict=True):
        window, packed = arrive(packed, step_of(json.loads(json.dumps(event))))
        np.testing.assert_allclose(features(window)[0], row[:length], rtol=1e-5, atol=1e-5)


def record(user: str, number: int, **fields: object) -> Message:
    return Message(key=user.encode(), value=json.dumps({"transaction_id": f"t-{number}", **fields}).encode())


EXPECTED = {(b"a", "t-1"): [0.25, 0.25], (b"b", "t-1"): [0.5]}  # one user's id is repeated
RIGHT = [("a", 0.25), ("b", 0.50005), ("a", 0.25)]


def test_an_engine_agrees_that_gives_each_transaction_its_score() -> None:
    output = [record(user, 1, fraud_probability=score) for user, score in RIGHT]

    agreement = check("engine", output, EXPECTED, set(EXPECTED))

    assert agreement.compared == 3
    assert agreement.largest_difference == pytest.approx(5e-5)


@pytest.mark.parametrize(
    "scores",
    [RIGHT[1:], [*RIGHT, ("b", 0.5)], [*RIGHT, ("c", 0.5)], [("a", 0.25), ("b", 0.5002), ("a", 0.25)]],
    ids=["left out", "twice", "of nobody", "off"],
)
def test_an_engine_does_not_agree_that(scores: list[tuple[str, float]]) -> None:
    output = [record(user, 1, fraud_probability=score) for user, score in scores]

    with pytest.raises(DisagreementError):
        check("engine", output, EXPECTED, set(EXPECTED))


def test_an_engine_does_not_agree_by_what_is_no_number() -> None:
    output = [record("a", 1, fraud_probability=float("nan"))]

    with pytest.raises(DisagreementError):
        check("engine", output, {(b"a", "t-1"): [0.5]}, {(b"a", "t-1")})


def test_lists_in_order_of_arrival_are_compared_until_a_user_sends_something_late_or_again() -> None:
    arrivals = [("a", 1, 10), ("b", 2, 10), ("a", 3, 10), ("a", 4, 9), ("b", 5, 30), ("a", 6, 40), ("b", 2, 50)]
    backlog = [record(user, number, created_at=timestamp(at_ms)) for user, number, at_ms in arrivals]

    assert in_order(backlog) == {(b"a", "t-1"), (b"a", "t-3"), (b"b", "t-5")}


def test_the_peers_packages_are_pinned_by_hash() -> None:
    pinned = (PEERS / "requirements.txt").read_text().replace("\\\n", " ")
    requirements = [line for line in pinned.splitlines() if line and not line.lstrip().startswith("#")]

    assert requirements
    assert [line for line in requirements if not re.match(r"[\w.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)] == []
    wanted = re.findall(r"^([\w-]+)", (PEERS / "requirements.in").read_text(), re.MULTILINE)
    assert set(wanted) <= {line.partition("==")[0] for line in requirements}


def test_the_project_itself_does_not_depend_on_a_peer() -> None:
    locked = {package["name"] for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}

    assert "quixstreams" not in locked
