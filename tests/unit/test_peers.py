"""The peers of the benchmark do the engine's work, and come from packages that are pinned."""

import json
import re
import tomllib
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

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
