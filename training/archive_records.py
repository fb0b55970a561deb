"""Records of Kafka to rows of the archive. What is malformed is refused with a reason and is no row. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import get_annotations
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from models.window import Ints
from stream.contract import (
    FRAUD_LABEL,
    FRAUD_SCORE,
    SOURCE_OFFSET,
    SOURCE_PARTITION,
    SOURCE_TOPIC,
    FraudScore,
    epoch_ms,
)
from stream.decode import Reason, decode
from training.archive import SCHEMAS, TIME, Kind

_INT32_MAX, _INT64_MAX = 2**31 - 1, 2**63 - 1

Headers = Mapping[str, str | bytes | None]


@dataclass
class Records:
    """Records of one partition as columns, in order of offset."""

    offsets: list[int] = field(default_factory=list)
    timestamps_ms: list[int] = field(default_factory=list)  # Kafka's
    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    headers: list[Headers] = field(default_factory=list)  # of scores; those of the others are not looked at

    def __len__(self) -> int:
        return len(self.offsets)


class Rows(NamedTuple):
    """What records became."""

    table: pa.Table  # as ``SCHEMAS`` has it, in order of offset
    refused: Counter[str]  # records that are no row, by reason


class _Columns(NamedTuple):
    places: Ints  # int64 [n] of the rows, among the records
    arrays: dict[str, pa.Array]  # by column, n long
    refused: Counter[str]


def to_rows(kind: Kind, records: Records, topic_id: str, partition: int) -> Rows:
    """Return the rows of records. Transactions pass the scorer's own decoder, so that its dead letters stay out.

    The keys of labels and scores are not compared with their ``user_id``: a verdict under a wrong key is still one.
    """
    places, arrays, refused = _READERS[kind](records)
    arrays = {
        "topic_id": pa.array([topic_id] * len(places), pa.string()),
        "partition": pa.array(np.full(len(places), partition, np.int32)),
        "offset": pa.array(np.array(records.offsets, np.int64)[places]),
        "kafka_timestamp": _times(np.array(records.timestamps_ms, np.int64)[places]),
        **arrays,
    }
    schema = SCHEMAS[kind]
    return Rows(pa.Table.from_arrays([arrays[name] for name in schema.names], schema=schema), refused)


def _transactions(records: Records) -> _Columns:
    decoded = decode(records.keys, records.values, records.timestamps_ms)
    arrays = {
        name: pa.array(list(map(attrgetter(name), decoded.transactions)), SCHEMAS[Kind.TRANSACTIONS].field(name).type)
        for name in ("transaction_id", "user_id", "is_vpn", "merchant_id")
    }
    arrays["key"] = arrays["user_id"]  # or it would be a dead letter
    arrays["amount"] = pa.array(np.ascontiguousarray(decoded.records["amount"]))
    arrays["created_at"] = _times(decoded.records["created_at_ms"])
    return _Columns(decoded.rows, arrays, Counter(dead.reason.value for dead in decoded.dead))


def _labels(records: Records) -> _Columns:
    places, labels, refused = _validated(FRAUD_LABEL, records, ("labelled_at",))
    columns = ("transaction_id", "user_id", "is_fraud", "labelled_at")
    return _Columns(places, _keys(records, places) | _typed(labels, Kind.LABELS, columns), refused)


def _scores(records: Records) -> _Columns:
    places, scores, refused = _validated(FRAUD_SCORE, records, ("created_at", "scored_at"))
    columns = [name for name in SCHEMAS[Kind.SCORES].names if name in get_annotations(FraudScore)]
    arrays = _keys(records, places) | _typed(scores, Kind.SCORES, columns)
    sources = [records.headers[place] for place in places.tolist()]
    arrays["source_topic"] = pa.array([_text(each.get(SOURCE_TOPIC)) for each in sources], pa.string())
    partitions = [_number(each.get(SOURCE_PARTITION), _INT32_MAX) for each in sources]
    arrays["source_partition"] = pa.array(partitions, pa.int32())
    arrays["source_offset"] = pa.array([_number(each.get(SOURCE_OFFSET), _INT64_MAX) for each in sources], pa.int64())
    return _Columns(places, arrays, refused)


_READERS: dict[Kind, Callable[[Records], _Columns]] = {
    Kind.TRANSACTIONS: _transactions,
    Kind.LABELS: _labels,
    Kind.SCORES: _scores,
}


def _validated(
    adapter: TypeAdapter[Any], records: Records, times: Sequence[str]
) -> tuple[Ints, list[dict[str, Any]], Counter[str]]:
    """Return the valid values, ``times`` as milliseconds since the epoch, with their places, and what was refused."""
    places: list[int] = []
    values: list[dict[str, Any]] = []
    refused: Counter[str] = Counter()
    for place, raw in enumerate(records.values):
        if raw is None:
            refused[Reason.NULL_VALUE.value] += 1
            continue
        try:
            value = adapter.validate_json(raw)
            value |= {name: epoch_ms(value[name]) for name in times}
            if value.get("window_length", 0) > _INT32_MAX:
                raise ValueError("window_length: no window is so long")
        except ValueError as error:  # a ValidationError is one
            broken = isinstance(error, ValidationError) and error.errors()[0]["type"] == "json_invalid"
            refused[(Reason.NOT_JSON if broken else Reason.INVALID).value] += 1
            continue
        places.append(place)
        values.append(value)
    return np.array(places, np.int64), values, refused


def _typed(values: Sequence[Mapping[str, Any]], kind: Kind, columns: Sequence[str]) -> dict[str, pa.Array]:
    """Return columns of values, null where a value has none."""
    schema = SCHEMAS[kind]
    return {name: pa.array([value.get(name) for value in values], schema.field(name).type) for name in columns}


def _keys(records: Records, places: Ints) -> dict[str, pa.Array]:
    return {"key": pa.array([_text(records.keys[place]) for place in places.tolist()], pa.string())}


def _times(epoch_ms: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(np.ascontiguousarray(epoch_ms)).cast(TIME)


def _text(raw: str | bytes | None) -> str | None:
    """Return UTF-8 as text; ``None`` where it is not."""
    try:
        return raw.decode() if isinstance(raw, bytes) else raw
    except UnicodeDecodeError:
        return None


def _number(raw: str | bytes | None, limit: int) -> int | None:
    """Return what digits spell; ``None`` where they do not, or spell more than a column holds."""
    return number if raw and len(raw) < 20 and raw.isdigit() and (number := int(raw)) <= limit else None
