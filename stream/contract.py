"""The four messages on the wire, defined once: decoder, encoder and schemas come from here.

Values are JSON in UTF-8, keys are the ``user_id``, times are RFC 3339 with an offset. Unknown fields are ignored;
a breaking change gets a new topic.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field, Strict, TypeAdapter, with_config

# pydantic needs this one below Python 3.12
from typing_extensions import TypedDict

from stream import examples

MAX_ID_CHARS = 128
MAX_AMOUNT = 1e12

Id = Annotated[str, Strict(), Field(min_length=1, max_length=MAX_ID_CHARS)]
Flag = Annotated[bool, Strict()]
Timestamp = Annotated[
    str,
    Strict(),
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$",
        json_schema_extra={"format": "date-time"},
    ),
]
_DIGITS = r"^[0-9]+$"
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]

SOURCE_TOPIC, SOURCE_PARTITION, SOURCE_OFFSET = "source-topic", "source-partition", "source-offset"


def _config(title: str, shown: list[dict[str, Any]]) -> ConfigDict:
    return ConfigDict(extra="ignore", title=title, json_schema_extra={"examples": [*shown]})


@with_config(_config("Transaction", examples.TRANSACTIONS))
class Transaction(TypedDict):
    """A payment to be scored, on the input topic."""

    transaction_id: Id
    user_id: Annotated[Id, Field(description="also the record's key")]
    amount: Annotated[
        float,
        Strict(),
        Field(ge=0, le=MAX_AMOUNT, allow_inf_nan=False, description="in the topic's one currency; convert upstream"),
    ]
    created_at: Annotated[
        Timestamp,
        Field(description="RFC 3339 with an offset; at most 24 h after the record's Kafka timestamp"),
    ]
    is_vpn: NotRequired[Annotated[Flag, Field(description="false if absent")]]
    merchant_id: NotRequired[Id | None]


@with_config(ConfigDict(extra="ignore", title="ScoreReason"))
class ScoreReason(TypedDict):
    """One thing that a transaction was flagged for."""

    name: Annotated[str, Field(description="stable, for programs")]
    sentence: Annotated[str, Field(description="for a person")]
    effect: Annotated[float, Field(description="by how much lower the probability would be without it")]


@with_config(_config("FraudScore", examples.SCORES))
class FraudScore(TypedDict):
    """What the model says of one transaction; the record's headers name the input record it answers."""

    transaction_id: Id
    user_id: Annotated[Id, Field(description="also the record's key")]
    created_at: Annotated[Timestamp, Field(description="the transaction's")]
    fraud_probability: Probability
    lstm_score: Annotated[int, Field(ge=0, le=100, description="int(fraud_probability * 100)")]
    sequence_anomaly: Annotated[
        bool, Field(description="fraud_probability above the model's threshold, and not suppressed")
    ]
    insufficient_history: Annotated[bool, Field(description="the window held fewer than the model's ten transactions")]
    window_length: Annotated[int, Field(ge=1, description="transactions in the window that was scored")]
    profile_day: Annotated[date | None, Field(description="day of the merchant and user profiles used, if any")]
    model_version: str
    scored_at: Timestamp
    reasons: NotRequired[
        Annotated[list[ScoreReason], Field(description="why it was flagged, the largest effect first; at most three")]
    ]
    suppressed: NotRequired[
        Annotated[bool, Field(description="above the threshold, but a rule keeps it from being an anomaly")]
    ]


@with_config(_config("FraudScoreHeaders", examples.SCORE_HEADERS))
class FraudScoreHeaders(TypedDict):
    """Headers of a score: the input record that it answers. Together they are what a score is counted by."""

    source_topic: Annotated[str, Field(alias=SOURCE_TOPIC)]
    source_partition: Annotated[str, Field(alias=SOURCE_PARTITION, pattern=_DIGITS)]
    source_offset: Annotated[str, Field(alias=SOURCE_OFFSET, pattern=_DIGITS)]


@with_config(_config("FraudLabel", examples.LABELS))
class FraudLabel(TypedDict):
    """A verdict on a transaction: a chargeback or an analyst's, days later."""

    transaction_id: Id
    user_id: Annotated[Id, Field(description="also the record's key")]
    is_fraud: Flag
    labelled_at: Timestamp


@with_config(_config("DeadLetterHeaders", examples.DEAD_LETTER_HEADERS))
class DeadLetterHeaders(TypedDict):
    """Headers of a record on the dead-letter topic; its key and value are the input's bytes as they were."""

    error: Annotated[str, Field(description="what is wrong and what to do, for a person")]
    reason: Annotated[str, Field(description="the same in one stable word, as in the metrics")]
    topic: str
    partition: Annotated[str, Field(pattern=_DIGITS)]
    offset: Annotated[str, Field(pattern=_DIGITS)]
    timestamp: Annotated[str, Field(pattern=r"^-?[0-9]+$", description="the record's Kafka timestamp, milliseconds")]
    truncated: NotRequired[Annotated[str, Field(pattern=_DIGITS, description="bytes that the value had")]]


TRANSACTION = TypeAdapter(Transaction)
FRAUD_SCORE = TypeAdapter(FraudScore)
FRAUD_LABEL = TypeAdapter(FraudLabel)
SCORE_HEADERS = TypeAdapter(FraudScoreHeaders)
DEAD_LETTER_HEADERS = TypeAdapter(DeadLetterHeaders)

_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)


def epoch_ms(timestamp: str) -> int:
    """Return a :data:`Timestamp` as milliseconds since the epoch, what is finer cut off.

    Raises:
        ValueError: there is no such day or hour.
    """
    return (datetime.fromisoformat(timestamp) - _EPOCH) // _MILLISECOND


def timestamp(epoch_ms: int) -> str:
    """Return milliseconds since the epoch as a :data:`Timestamp` in UTC."""
    return (_EPOCH + epoch_ms * _MILLISECOND).isoformat(timespec="milliseconds").replace("+00:00", "Z")
