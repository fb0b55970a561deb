"""The archive of a random past."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any

import pyarrow as pa

from tests.profile_reference import Label, Past, Payment
from training.archive import SCHEMAS, Archive, FileName, Kind
from training.archive_writer import write_rows
from training.profiles import Topics

TOPICS = Topics("transactions", "fraud-labels")
SCORES = "fraud-scores"


def archive_past(past: Past, archive: Archive, topics: Topics = TOPICS) -> None:
    """Put a past into an archive, one partition of each topic, a file a day of arrival."""
    _put(archive, topics.transactions, Kind.TRANSACTIONS, past.payments, _payment)
    _put(archive, topics.labels, Kind.LABELS, past.labels, _label)


def archive_scores(archive: Archive, scored: Sequence[tuple[Payment, date | None]], model_version: str) -> None:
    """Put scores of payments into an archive, with the days of the tables of profiles that were used."""
    offset = sum(name.last - name.first + 1 for name in archive.files(SCORES))
    ordered = sorted(scored, key=lambda each: (_utc_day(each[0]), each[0].offset))
    for day, of_day in groupby(ordered, key=lambda each: _utc_day(each[0])):
        rows = [
            {
                "topic_id": "S1",
                "partition": 0,
                "offset": offset + place,
                "kafka_timestamp": payment.arrived_at,
                "key": payment.user,
                "transaction_id": payment.transaction,
                "user_id": payment.user,
                "created_at": payment.created_at,
                "fraud_probability": 0.5,
                "lstm_score": 50,
                "sequence_anomaly": False,
                "insufficient_history": False,
                "window_length": 10,
                "profile_day": profile_day,
                "model_version": model_version,
                "scored_at": payment.arrived_at,
                "source_topic": TOPICS.transactions,
                "source_partition": 0,
                "source_offset": payment.offset,
            }
            for place, (payment, profile_day) in enumerate(of_day)
        ]
        table = pa.Table.from_pylist(rows, SCHEMAS[Kind.SCORES])
        write_rows(archive, FileName(SCORES, day, 0, offset, offset + len(rows) - 1), table)
        offset += len(rows)


def _put(
    archive: Archive, topic: str, kind: Kind, records: Sequence[Any], as_row: Callable[[Any], dict[str, object]]
) -> None:
    ordered = sorted(records, key=lambda record: (_utc_day(record), record.offset))
    for day, of_day in groupby(ordered, key=_utc_day):
        rows = pa.Table.from_pylist(
            [
                {
                    "topic_id": "T1",
                    "partition": 0,
                    "offset": record.offset,
                    "kafka_timestamp": record.arrived_at,
                    "key": record.user,
                    "transaction_id": record.transaction,
                    "user_id": record.user,
                    **as_row(record),
                }
                for record in of_day
            ],
            SCHEMAS[kind],
        )
        offsets = rows["offset"].to_pylist()
        write_rows(archive, FileName(topic, day, 0, offsets[0], offsets[-1]), rows)


def _utc_day(record: Payment | Label) -> date:
    return datetime.fromtimestamp(record.arrived_at / 1000, UTC).date()


def _payment(payment: Payment) -> dict[str, object]:
    return {
        "amount": payment.amount,
        "created_at": payment.created_at,
        "is_vpn": False,
        "merchant_id": payment.merchant,
    }


def _label(label: Label) -> dict[str, object]:
    return {"is_fraud": label.is_fraud, "labelled_at": label.labelled_at}
