"""What the demo has seen: events sent, scores and dead letters read, held against what the simulator knows. Pure."""

import json
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

import numpy as np

from stream.contract import FraudScore
from stream.demo_card import PAYMENTS, Payment
from stream.demo_traffic import DemoRecord
from stream.plurals import count_of

#: Scores, and flagged ones, that are kept to be shown.
SHOWN = 16

_ON_THE_CARD_S = 4.0  # a user who is flagged stays there for so long

Phase = Literal["history", "live"]


@dataclass(frozen=True)
class Summary:
    """How the demo ended. ``frauds`` are the simulator's among the scored; latencies are of the live part."""

    events: int
    scores: int
    dead_letters: int
    flagged: int
    flagged_frauds: int
    frauds: int
    frauds_missed: int
    full_windows: int
    seconds: float
    history_events_per_second: float
    live_events_per_second: float
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    dead_letters_by_reason: dict[str, int]
    model_version: str | None
    threshold: float  # a score above it is flagged

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        return asdict(self)


class Seen(NamedTuple):
    """A score beside the truth."""

    score: FraudScore
    is_fraud: bool
    latency_ms: float


class _Sent(NamedTuple):
    at: float
    record: DemoRecord
    phase: Phase


class Tally:
    """Counts; times are seconds of one monotonic clock. ``threshold`` is the model's, and only told."""

    def __init__(self, begun: float, threshold: float) -> None:
        self._begun, self.threshold = begun, threshold
        self._waiting: dict[str, _Sent] = {}
        self._answered_by_phase: Counter[Phase] = Counter()
        self._first: dict[Phase, float] = {}  # when the phase's first and last answers were read
        self._last: dict[Phase, float] = {}
        self._latencies_ms: list[float] = []
        self.events = self.scores = self.flagged = self.flagged_frauds = self.frauds = self.full_windows = 0
        self.reasons: Counter[str] = Counter()
        self.latest: deque[Seen] = deque(maxlen=SHOWN)
        self.latest_flagged: deque[Seen] = deque(maxlen=SHOWN)
        self.model_version: str | None = None
        self._payments: defaultdict[str, deque[Payment]] = defaultdict(lambda: deque(maxlen=PAYMENTS))
        # whom, since when, payments, reasons
        self._on_card: tuple[str, float, list[Payment], tuple[str, ...]] | None = None

    @property
    def on_card(self) -> tuple[str, list[Payment], tuple[str, ...]]:
        """The user to look at, who was flagged lately: id, payments up to the one that was flagged, its reasons."""
        if self._on_card is None:
            return "", [], ()
        user, _, payments, reasons = self._on_card
        return user, payments, reasons

    @property
    def answered(self) -> int:
        """How many events have their score or dead letter."""
        return self.scores + self.reasons.total()

    @property
    def unanswered(self) -> int:
        """How many events have not."""
        return self.events - self.answered

    def sent(self, record: DemoRecord, at: float, phase: Phase) -> None:
        """Count a record that is sent."""
        self.events += 1
        if record.transaction_id is not None:
            self._waiting[record.transaction_id] = _Sent(at, record, phase)

    def scored(self, score: FraudScore, at: float) -> None:
        """Count a score that is read; one repeated, or of somebody else's transaction, is left out."""
        sent = self._waiting.pop(score["transaction_id"], None)
        if sent is None:
            return
        is_fraud = sent.record.is_fraud
        seen = Seen(score, is_fraud, (at - sent.at) * 1000)
        self.scores += 1
        self.frauds += is_fraud
        self._keep(sent.record, score, at)
        self.full_windows += not score["insufficient_history"]
        self.model_version = score["model_version"]
        self.latest.append(seen)
        if score["sequence_anomaly"]:
            self.flagged += 1
            self.flagged_frauds += is_fraud
            self.latest_flagged.append(seen)
        self._answered_by_phase[sent.phase] += 1
        self._first.setdefault(sent.phase, at)
        self._last[sent.phase] = at
        if sent.phase == "live":
            self._latencies_ms.append(seen.latency_ms)

    def _keep(self, record: DemoRecord, score: FraudScore, at: float) -> None:
        payment, user, is_flagged = json.loads(record.value or b"{}"), score["user_id"], score["sequence_anomaly"]
        self._payments[user].append(
            Payment(
                score["created_at"],
                payment.get("amount", 0.0),
                payment.get("is_vpn", False),
                score["fraud_probability"],
                is_flagged,
                record.is_fraud,
            )
        )
        if is_flagged and (self._on_card is None or at - self._on_card[1] >= _ON_THE_CARD_S):
            reasons = tuple(reason["sentence"] for reason in score.get("reasons", []))
            self._on_card = user, at, list(self._payments[user]), reasons

    def dead(self, reason: str) -> None:
        """Count a dead letter that is read."""
        self.reasons[reason] += 1

    def latency_ms(self, percentile: float, newest: int | None = None) -> float | None:
        """Return a percentile of the live part's latencies, sent until read, of the ``newest`` so many if given."""
        some = self._latencies_ms[-newest:] if newest else self._latencies_ms
        return float(np.percentile(some, percentile)) if some else None

    def events_per_second(self, phase: Phase) -> float:
        """Return how many scores a second were read in a phase, from its first to its last."""
        seconds = self._last.get(phase, 0.0) - self._first.get(phase, 0.0)
        return (self._answered_by_phase[phase] - 1) / seconds if seconds > 0 else 0.0

    def summary(self, now: float) -> Summary:
        """Return how it stands."""
        return Summary(
            events=self.events,
            scores=self.scores,
            dead_letters=self.reasons.total(),
            flagged=self.flagged,
            flagged_frauds=self.flagged_frauds,
            frauds=self.frauds,
            frauds_missed=self.frauds - self.flagged_frauds,
            full_windows=self.full_windows,
            seconds=round(now - self._begun, 2),
            history_events_per_second=round(self.events_per_second("history"), 1),
            live_events_per_second=round(self.events_per_second("live"), 1),
            latency_p50_ms=_rounded(self.latency_ms(50)),
            latency_p99_ms=_rounded(self.latency_ms(99)),
            dead_letters_by_reason=dict(sorted(self.reasons.items())),
            model_version=self.model_version,
            threshold=self.threshold,
        )


def summary_lines(summary: Summary) -> Iterable[str]:
    """Yield the summary for a person."""
    s = summary
    scores = f"{count_of(s.scores, 'score')} ({s.full_windows:,} on a full window)"
    yield f"{count_of(s.events, 'event')}, {scores}, {s.seconds:.0f} s"
    missed = f"of {count_of(s.frauds, 'fraud')} {s.frauds_missed:,} went unflagged"
    if s.flagged:
        share = f"{s.flagged_frauds / s.flagged:.0%}"
        yield f"{s.flagged:,} flagged, {s.flagged_frauds:,} of them frauds ({share}); {missed}"
    else:
        yield f"none flagged; {missed}"
    reasons = ", ".join(f"{count} {reason}" for reason, count in s.dead_letters_by_reason.items())
    yield count_of(s.dead_letters, "dead letter") + (f": {reasons}" if reasons else "")
    yield f"history at {s.history_events_per_second:,.0f} events/s, live at {s.live_events_per_second:,.0f} events/s"
    if s.latency_p50_ms is not None and s.latency_p99_ms is not None:
        yield f"from sent to score read, live: p50 {s.latency_p50_ms:.1f} ms, p99 {s.latency_p99_ms:.1f} ms"
    if s.model_version:
        yield f"model {s.model_version}, which flags above {s.threshold:.3g}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
