"""Whatever comes in: a score or a dead letter for each, and nothing stops."""

import math
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bundle import LoadedBundle
from stream.decode import decode
from tests.chaos.ledger import held, scaled
from tests.chaos.mutants import mutant
from tests.oracle import Verdict, judge, read_topic, replay, wrong_windows
from tests.parsing import accepted
from tests.scorers import Deployment
from tests.traffic import produce

NOW_MS = 1_767_261_600_000  # 2026-01-01T10:00:00Z
BATCH = 100


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 2**64), min_size=BATCH, max_size=BATCH))
def test_each_mutant_is_either_decoded_or_a_dead_letter(seeds: list[int]) -> None:
    """20,000 mutants. Without a refusal for each kind of bad value, one of them would end the whole batch."""
    records = [mutant(seed, NOW_MS) for seed in seeds]
    decoded = decode([r.key for r in records], [r.value for r in records], [NOW_MS] * BATCH)
    assert sorted([*decoded.rows.tolist(), *(dead.row for dead in decoded.dead)]) == list(range(BATCH))
    assert all(dead.error for dead in decoded.dead)
    for row, user, transaction in zip(decoded.rows.tolist(), decoded.users, decoded.transactions, strict=True):
        assert user == records[row].key
        assert 0 <= transaction.amount <= 1e12
        assert math.isfinite(transaction.amount)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_a_million_mutants() -> None:
    """As above, without Hypothesis, which would spend its time on what to do about a failure."""
    first, count = random.SystemRandom().randrange(2**63), scaled(1_000_000)
    for begin in range(first, first + count, 10_000):
        records = [mutant(seed, NOW_MS) for seed in range(begin, min(begin + 10_000, first + count))]
        decoded = decode([r.key for r in records], [r.value for r in records], [NOW_MS] * len(records))
        places = [*decoded.rows.tolist(), *(dead.row for dead in decoded.dead)]
        assert sorted(places) == list(range(len(records))), f"mutants from {begin}"
        accepted([r.value for r in records])
    held(Verdict(count))


@pytest.mark.broker
@pytest.mark.parametrize("inputs", [2_000, pytest.param(100_000, marks=[pytest.mark.long, pytest.mark.timeout(1_800)])])
def test_dead_letters_and_scores_add_up_to_the_mutants(
    deployment: Deployment, bundle: LoadedBundle, inputs: int
) -> None:
    """Mutants through the broker; the oracle reads those that were scored with a JSON reader of its own."""
    inputs = scaled(inputs) if inputs > 2_000 else inputs
    scorer = deployment.scorer()
    now_ms = int(time.time() * 1000)
    produce(deployment.bootstrap, deployment.input_topic, (mutant(seed, now_ms) for seed in range(inputs)))
    deployment.wait_until_scored([scorer], 900)
    assert scorer.stop() == 0

    records = read_topic(deployment.bootstrap, deployment.input_topic)
    scores = read_topic(deployment.bootstrap, deployment.output_topic)
    dead = read_topic(deployment.bootstrap, deployment.dlq_topic)
    assert len(scores) + len(dead) == len(records) == inputs
    refused = {(int(h["partition"]), int(h["offset"])) for h in (dict(letter.headers() or []) for letter in dead)}
    expected = replay((r for r in records if (r.partition(), r.offset()) not in refused), bundle)
    expected.bad = refused
    expected.ends = {record.partition(): record.offset() + 1 for record in records}
    verdict = judge(expected, scores, dead)
    verdict.wrong_windows = wrong_windows(expected, deployment.redis_url, deployment.group_id, deployment.input_topic)
    held(verdict)
    assert inputs * 0.3 < len(scores) < inputs * 0.9
