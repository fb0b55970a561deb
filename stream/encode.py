"""Scores and dead letters to the records that are published. Pure."""

import json
from collections.abc import Collection, Mapping, Sequence
from json.encoder import encode_basestring as quoted
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.context import NO_DAY, day_date
from models.reasons import FlagReason
from models.window import Ints
from stream.contract import SOURCE_OFFSET, SOURCE_PARTITION, SOURCE_TOPIC, DeadLetterHeaders
from stream.decode import DeadLetter
from stream.parse import ParsedTransaction

#: Digits of a published probability. The verdicts are made from the rounded number, so that a reader can make them too.
PROBABILITY_DECIMALS = 6

#: What is kept of a dead letter that the broker refuses as too large.
TRUNCATED_BYTES = 65_536


Headers = list[tuple[str, str | bytes | None]]  # as confluent-kafka wants them


_JSON = {True: "true", False: "false"}


class Output(NamedTuple):
    """A record to publish."""

    key: bytes | None
    value: bytes | None
    headers: Headers


class Verdict(NamedTuple):
    """How probabilities are turned into scores; from the bundle's spec."""

    model_version: str
    threshold: float
    sequence_length: int


def rounded(probabilities: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return probabilities as they are published."""
    return np.asarray(np.round(probabilities.astype(np.float64), PROBABILITY_DECIMALS), np.float64)


def encode_scores(
    transactions: Sequence[ParsedTransaction],
    probabilities: npt.NDArray[np.float64],
    window_lengths: Ints,
    verdict: Verdict,
    scored_at: str,
    profile_days: Ints,
    reasons: Mapping[int, Sequence[FlagReason]],
    suppressed: Collection[int],
) -> list[bytes]:
    """Return the value of each transaction's score; ``probabilities`` are finite and :func:`rounded`.

    ``profile_days`` are those of the tables of profiles, :data:`models.context.NO_DAY` where there was none;
    ``reasons`` are by place, and where there are none asked for there is no such field; ``suppressed`` are the places
    of scores that raise no anomaly although they are above the threshold.
    """
    model_version, threshold, sequence_length = verdict
    rest = f',"model_version":{quoted(model_version)},"scored_at":"{scored_at}"}}'
    rests = {
        day: f',"profile_day":{"null" if day == NO_DAY else quoted(day_date(day).isoformat())}{rest}'
        for day in np.unique(profile_days).tolist()
    }
    raised = probabilities > threshold
    raised[list(suppressed)] = False
    values = []
    for transaction, probability, is_raised, length, day in zip(
        transactions,
        probabilities.tolist(),
        raised.tolist(),
        window_lengths.tolist(),
        profile_days.tolist(),
        strict=True,
    ):
        # by hand: pydantic's dump_json takes 2 µs more an event, 5 % of the whole way; a test holds it to the contract
        values.append(
            f'{{"transaction_id":{quoted(transaction.transaction_id)}'
            f',"user_id":{quoted(transaction.user_id)}'
            f',"created_at":"{transaction.created_at}"'  # its pattern leaves nothing to escape
            f',"fraud_probability":{probability!r}'
            f',"lstm_score":{int(probability * 100)}'
            f',"sequence_anomaly":{_JSON[is_raised]}'
            f',"insufficient_history":{_JSON[length < sequence_length]}'
            f',"window_length":{length}{rests[day]}'.encode()
        )
    for place, its in reasons.items():
        told = json.dumps([reason._asdict() for reason in its], ensure_ascii=False, separators=(",", ":"))
        values[place] = values[place][:-1] + f',"reasons":{told}}}'.encode()
    for place in suppressed:
        values[place] = values[place][:-1] + b',"suppressed":true}'
    return values


def source_headers(topic: str, partitions: Sequence[int], offsets: Sequence[int]) -> list[Headers]:
    """Return, for each score, the headers that name the input record it answers."""
    place = {
        partition: ((SOURCE_TOPIC, topic.encode()), (SOURCE_PARTITION, b"%d" % partition))
        for partition in set(partitions)
    }
    return [
        [*place[partition], (SOURCE_OFFSET, b"%d" % offset)]
        for partition, offset in zip(partitions, offsets, strict=True)
    ]


def dead_letter(
    dead: DeadLetter, source: tuple[str, int, int, int], key: bytes | None, value: bytes | None, *, truncate: bool
) -> Output:
    """Return a dead letter: the input's bytes as they were, and why.

    ``source`` is topic, partition, offset and Kafka timestamp (ms). With ``truncate`` a value of more than
    :data:`TRUNCATED_BYTES` is cut to them, and the header ``truncated`` says how long it was.
    """
    topic, partition, offset, timestamp_ms = source
    headers: DeadLetterHeaders = {
        "error": dead.error,
        "reason": dead.reason,
        "topic": topic,
        "partition": str(partition),
        "offset": str(offset),
        "timestamp": str(timestamp_ms),
    }
    if truncate and value is not None and len(value) > TRUNCATED_BYTES:
        headers["truncated"] = str(len(value))
        value = value[:TRUNCATED_BYTES]
    return Output(key, value, [(name, str(text).encode()) for name, text in headers.items()])
