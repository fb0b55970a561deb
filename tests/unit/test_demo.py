"""What the demo sends and counts."""

from datetime import UTC, datetime

import pytest

from stream.contract import FraudScore
from stream.decode import decode
from stream.demo import DEFAULT_EVENTS, make_plan
from stream.demo_tally import Tally, summary_lines
from stream.demo_traffic import DemoRecord, demo_records

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize("events", [100, 999, 2500])
def test_every_broken_record_is_a_dead_letter_and_no_other_is(events: int) -> None:
    records = list(demo_records(events, 100, 1, NOW))
    decoded = decode(
        [record.key for record in records],
        [record.value for record in records],
        [int(NOW.timestamp() * 1000)] * len(records),
    )

    broken = [place for place, record in enumerate(records) if record.transaction_id is None]
    assert len(records) == events
    assert sorted(dead.row for dead in decoded.dead) == broken
    assert len({dead.reason for dead in decoded.dead}) >= 4


def test_the_payments_end_about_now_and_are_the_same_for_the_same_seed() -> None:
    records = list(demo_records(1000, 200, 5, NOW))

    assert records == list(demo_records(1000, 200, 5, NOW))
    assert records != list(demo_records(1000, 200, 6, NOW))
    assert b'"created_at":"2026-03-04T1' in (records[-1].value or b"")
    assert any(record.is_fraud for record in records)


def score_of(transaction_id: str, *, flagged: bool) -> FraudScore:
    return {
        "transaction_id": transaction_id,
        "user_id": "u",
        "created_at": "2026-03-04T12:00:00Z",
        "fraud_probability": 0.9 if flagged else 0.1,
        "lstm_score": 90 if flagged else 10,
        "sequence_anomaly": flagged,
        "insufficient_history": False,
        "window_length": 10,
        "profile_day": None,
        "model_version": "m",
        "scored_at": "2026-03-04T12:00:00Z",
    }


def test_the_summary_holds_verdicts_against_the_truth() -> None:
    tally = Tally(begun=0.0, threshold=0.163)
    for name, is_fraud in (("caught", True), ("missed", True), ("alarmed", False), ("passed", False)):
        tally.sent(DemoRecord(b"u", b"", name, is_fraud), 1.0, "live")
    tally.sent(DemoRecord(b"u", None, None, is_fraud=False), 1.0, "live")
    for at, (name, flagged) in enumerate((("caught", 1), ("missed", 0), ("alarmed", 1), ("passed", 0)), start=2):
        tally.scored(score_of(name, flagged=bool(flagged)), float(at))
    tally.scored(score_of("caught", flagged=True), 9.0)  # repeated, as at-least-once may
    tally.dead("null-value")

    assert tally.unanswered == 0
    summary = tally.summary(now=11.0)
    assert (summary.events, summary.scores, summary.dead_letters) == (5, 4, 1)
    assert (summary.flagged, summary.flagged_frauds, summary.frauds, summary.frauds_missed) == (2, 1, 2, 1)
    assert summary.live_events_per_second == 1.0
    assert summary.latency_p50_ms == 2500.0
    lines = list(summary_lines(summary))
    assert "2 flagged, 1 of them frauds (50%); of 2 frauds 1 went unflagged" in lines
    assert lines[-1] == "model m, which flags above 0.163"


def test_seconds_alone_are_filled_with_events() -> None:
    assert make_plan(None, None, None, 500, 1).events == DEFAULT_EVENTS
    for_a_minute = make_plan(None, 60, None, 1000, 1)
    assert for_a_minute.events - for_a_minute.history >= 60 * 1000
    assert make_plan(500, 60, None, 1000, 1).events == 500
