"""Records of Kafka to rows of the archive. What is malformed is refused with a reason and is no row. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from msgspec import UNSET
from pydantic import TypeAdapter, ValidationError

from models.window import Ints
from stream.contract import (
    FRAUD_LABEL,
    FRAUD_SCORE,
    SOURCE_OFFSET,
    SOURCE_PARTITION,
    SOURCE_TOPIC,
    epoch_ms,
)
from stream.decode import Reason, decode
from stream.framing import Framing, is_framed, unframed
from stream.parse import Message, ParsedLabel, ParsedScore, parse_plain
from training.archive import SCHEMAS, TIME, Kind
from training.events import LAST_MS

_INT32_MAX, _INT64_MAX = 2**31 - 1, 2**63 - 1
_FIRST_MS = -62_135_596_800_000  # of Python's calendar

Headers = Mapping[str, str | bytes | None]


@dataclass
class Records:
    """Records of one partition as columns, in order of offset."""

    offsets: list[int] = field(default_factory=list)
    timestamps_ms: list[int] = field(default_factory=list)  # Kafka's
    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    headers: list[Headers] = field(default_factory=list)  # of scores; those of the others are not looked at
    framing: Framing = "none"  # of the values; scores never have a frame

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
    Kafka's timestamps, which producers may send in microseconds too, end where the calendar does: no reader of the
    archive has later ones.
    """
    places, arrays, refused = _READERS[kind](records)
    arrays = {
        "topic_id": pa.repeat(pa.scalar(topic_id, pa.string()), len(places)),
        "partition": pa.repeat(pa.scalar(partition, pa.int32()), len(places)),
        "offset": pa.array(np.array(records.offsets, np.int64)[places]),
        "kafka_timestamp": _times(np.array(records.timestamps_ms, np.int64)[places].clip(_FIRST_MS, LAST_MS)),
        **arrays,
    }
    schema = SCHEMAS[kind]
    return Rows(pa.Table.from_arrays([arrays[name] for name in schema.names], schema=schema), refused)


def _transactions(records: Records) -> _Columns:
    decoded = decode(records.keys, records.values, records.timestamps_ms, records.framing)
    columns = ("transaction_id", "user_id", "amount", "is_vpn", "merchant_id")
    arrays = _attributes(decoded.transactions, Kind.TRANSACTIONS, columns)
    arrays["key"] = arrays["user_id"]  # or it would be a dead letter
    arrays["created_at"] = _times(decoded.created_at_ms)
    return _Columns(decoded.rows, arrays, Counter(dead.reason.value for dead in decoded.dead))


def _labels(records: Records) -> _Columns:
    return _of_contract(Kind.LABELS, ParsedLabel, FRAUD_LABEL, records)


def _scores(records: Records) -> _Columns:
    columns = _of_contract(Kind.SCORES, ParsedScore, FRAUD_SCORE, records)
    sources = [records.headers[place] for place in columns.places.tolist()]
    partitions = [_number(each.get(SOURCE_PARTITION), _INT32_MAX) for each in sources]
    offsets = [_number(each.get(SOURCE_OFFSET), _INT64_MAX) for each in sources]
    columns.arrays["source_topic"] = pa.array([_text(each.get(SOURCE_TOPIC)) for each in sources], pa.string())
    columns.arrays["source_partition"] = pa.array(partitions, pa.int32())
    columns.arrays["source_offset"] = pa.array(offsets, pa.int64())
    return columns


_READERS: dict[Kind, Callable[[Records], _Columns]] = {
    Kind.TRANSACTIONS: _transactions,
    Kind.LABELS: _labels,
    Kind.SCORES: _scores,
}


def _of_contract(kind: Kind, parsed: type[Message], adapter: TypeAdapter[Any], records: Records) -> _Columns:
    """Return the columns that are fields of a message, and the record's key."""
    fields = [name for name in SCHEMAS[kind].names if name in parsed.__struct_fields__]
    times = [name for name in fields if SCHEMAS[kind].field(name).type == TIME]
    framing = records.framing if kind is Kind.LABELS else "none"
    values = records.values if framing == "none" else [unframed(value) for value in records.values]
    plain = parse_plain(parsed, values, times)
    refused: Counter[str] = Counter()
    for place in plain.others:
        judged = _judge(parsed, adapter, values[place], times)
        if isinstance(judged, Reason):
            refused[judged.value] += 1
        else:
            plain.messages[place], at_ms = judged
            for name in times:
                plain.times_ms[name][place] = at_ms[name]
    places = np.flatnonzero([each is not None for each in plain.messages])
    messages = [each for each in plain.messages if each is not None]
    arrays = _attributes(messages, kind, [name for name in fields if name not in times])
    arrays |= {name: _times(plain.times_ms[name][places]) for name in times}
    arrays["key"] = pa.array([_text(records.keys[place]) for place in places.tolist()], pa.string())
    return _Columns(places, arrays, refused)


def _judge(
    parsed: type[Message], adapter: TypeAdapter[Any], value: bytes | None, times: Sequence[str]
) -> tuple[Message, dict[str, int]] | Reason:
    """Return what the contract makes of a value, with its ``times`` in milliseconds since the epoch, or a reason."""
    if value is None:
        return Reason.NULL_VALUE
    try:
        message = adapter.validate_json(value)
        at_ms = {name: epoch_ms(message[name]) for name in times}
    except ValueError as error:  # a ValidationError is one
        if is_framed(value):
            return Reason.FRAMED
        broken = isinstance(error, ValidationError) and error.errors()[0]["type"] == "json_invalid"
        return Reason.NOT_JSON if broken else Reason.INVALID
    too_long = message.get("window_length", 0) > _INT32_MAX  # for its column
    return Reason.INVALID if too_long else (parsed(**message), at_ms)


def _attributes(messages: Sequence[Message], kind: Kind, names: Sequence[str]) -> dict[str, pa.Array]:
    """Return columns of messages, null where one has no such field."""
    arrays = {}
    for name in names:
        column, its = list(map(attrgetter(name), messages)), SCHEMAS[kind].field(name)
        if its.nullable:
            column = [None if each is UNSET else each for each in column]
        if name == "reasons":  # their names, to look for; the sentences stay on the topic, where retention ends them
            column = [None if each is None else [reason["name"] for reason in each] for each in column]
        arrays[name] = pa.array(column, its.type)
    return arrays


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
