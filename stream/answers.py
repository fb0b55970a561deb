"""What is published of a scored micro-batch: scores and dead letters. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from models.reasons import FlagReason
from models.spec import BundleSpec
from stream.decode import DeadLetter, Reason
from stream.encode import Output, Verdict, dead_letter, encode_scores, rounded, source_headers
from stream.microbatch import MicroBatch, Scored


@dataclass(frozen=True, slots=True)
class Answers:
    """The records that answer a micro-batch, and what of them is counted."""

    scores: list[Output]
    dead_letters: list[Output]
    reasons: list[Reason]  # of the dead letters
    anomalies: int
    insufficient: int


def answer(
    scored: Scored,
    spec: BundleSpec,
    scored_at: str,
    reasons: Mapping[int, Sequence[FlagReason]] = MappingProxyType({}),
    suppressed: Collection[int] = (),
    *,
    truncate: bool = False,
) -> Answers:
    """Encode what a micro-batch has led to.

    ``reasons`` are of flagged events, by place; those at the places ``suppressed`` are not raised as anomalies.
    ``truncate`` cuts large dead letters, refused whole by the broker.
    """
    batch, rows = scored.batch, scored.rows.tolist()
    probabilities = rounded(scored.probabilities)
    verdict = Verdict(spec.model_version, spec.threshold, spec.sequence_length)
    values = encode_scores(
        scored.transactions, probabilities, scored.lengths, verdict, scored_at, scored.profile_days, reasons, suppressed
    )
    headers = source_headers(batch.topic, [batch.partitions[row] for row in rows], [batch.offsets[row] for row in rows])
    return Answers(
        list(map(Output, [batch.keys[row] for row in rows], values, headers)),
        [_dead_letter(batch, letter, truncate=truncate) for letter in scored.dead],
        [letter.reason for letter in scored.dead],
        anomalies=int((probabilities > spec.threshold).sum()),
        insufficient=int((scored.lengths < spec.sequence_length).sum()),
    )


def _dead_letter(batch: MicroBatch, dead: DeadLetter, *, truncate: bool) -> Output:
    row = dead.row
    source = (batch.topic, batch.partitions[row], batch.offsets[row], batch.timestamps_ms[row])
    return dead_letter(dead, source, batch.keys[row], batch.values[row], truncate=truncate)
