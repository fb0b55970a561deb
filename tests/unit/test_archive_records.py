"""Records of Kafka to rows and files of the archive."""

import json
from collections import Counter
from datetime import date

import pytest

from stream.contract import timestamp
from tests.archives import DAY_MS, start_ms
from training.archive import SCHEMAS, Kind
from training.archive_buffer import Buffer
from training.archive_kafka import Start, where_to_start
from training.archive_records import Records, to_rows

NOW_MS = start_ms(date(2026, 1, 31)) + 5_000


def records(*values: object, at_ms: int = NOW_MS, first: int = 0) -> Records:
    """Return records of values as they would be on Kafka, under their users' keys."""
    raw = [value if isinstance(value, bytes | None) else json.dumps(value).encode() for value in values]
    keys = [value["user_id"].encode() if isinstance(value, dict) else b"u" for value in values]
    return Records(list(range(first, first + len(raw))), [at_ms] * len(raw), keys, raw, [{} for _ in raw])


def transaction(number: int, **fields: object) -> dict[str, object]:
    made = {"transaction_id": f"t{number}", "user_id": "u", "amount": 1.5, "created_at": timestamp(NOW_MS)}
    return made | fields


def score(**fields: object) -> dict[str, object]:
    made = {
        "transaction_id": "t",
        "user_id": "u",
        "created_at": timestamp(NOW_MS),
        "fraud_probability": 0.25,
        "lstm_score": 25,
        "sequence_anomaly": False,
        "insufficient_history": True,
        "window_length": 3,
        "profile_day": "2026-01-30",
        "model_version": "v1",
        "scored_at": timestamp(NOW_MS + 4),
    }
    return made | fields


def test_dead_letters_are_no_rows_and_the_others_keep_their_offsets() -> None:
    found = to_rows(
        Kind.TRANSACTIONS,
        records(None, transaction(1), b"{", transaction(2, merchant_id="m", is_vpn=True), transaction(3, amount=-1)),
        "T1",
        7,
    )

    assert found.refused == Counter({"null-value": 1, "not-json": 1, "invalid": 1})
    assert found.table.schema == SCHEMAS[Kind.TRANSACTIONS]
    assert found.table.select(["partition", "offset", "transaction_id", "is_vpn", "merchant_id"]).to_pylist() == [
        {"partition": 7, "offset": 1, "transaction_id": "t1", "is_vpn": False, "merchant_id": None},
        {"partition": 7, "offset": 3, "transaction_id": "t2", "is_vpn": True, "merchant_id": "m"},
    ]


def test_a_score_keeps_its_fields_and_the_place_of_its_input() -> None:
    given = records(
        score(reasons=[{"name": "amount", "sentence": "amount 9", "effect": 0.5}], suppressed=True),
        score(profile_day=None),
    )
    given.headers[0] = {"source-topic": b"tx", "source-partition": b"3", "source-offset": b"99"}
    given.headers[1] = {"source-topic": b"\xff", "source-partition": b"9" * 12, "source-offset": b"-1"}
    first, second = to_rows(Kind.SCORES, given, "T1", 0).table.to_pylist()

    assert first["profile_day"] == date(2026, 1, 30)
    assert (first["reasons"], first["suppressed"]) == (["amount"], True)
    assert (first["source_topic"], first["source_partition"], first["source_offset"]) == ("tx", 3, 99)
    assert second["reasons"] is second["suppressed"] is second["profile_day"] is None
    assert second["source_topic"] is second["source_partition"] is second["source_offset"] is None


def test_a_label_under_a_wrong_key_is_a_label() -> None:
    label = {"transaction_id": "t", "user_id": "u", "is_fraud": True, "labelled_at": "2026-01-31T12:00:00.1239+01:00"}
    given = records(label, label, label)
    given.keys = [b"other", None, b"\xff"]
    found = to_rows(Kind.LABELS, given, "T1", 0)

    assert found.table["key"].to_pylist() == ["other", None, None]
    assert {at.isoformat() for at in found.table["labelled_at"].to_pylist()} == {"2026-01-31T11:00:00.123000+00:00"}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.LABELS, {"transaction_id": "t", "user_id": "u", "is_fraud": 1, "labelled_at": timestamp(NOW_MS)}),
        (Kind.LABELS, {"transaction_id": "t", "user_id": "u", "is_fraud": True, "labelled_at": "2026-02-31T00:00:00Z"}),
        (Kind.SCORES, score(window_length=10**30)),
        (Kind.SCORES, score(fraud_probability=2)),
    ],
)
def test_what_no_column_can_hold_is_refused_and_does_not_stop_the_archiver(kind: Kind, value: dict) -> None:
    found = to_rows(kind, records(value), "T1", 0)

    assert len(found.table) == 0
    assert found.refused == Counter({"invalid": 1})


def test_a_file_is_of_one_day_whatever_order_the_timestamps_have() -> None:
    buffer = Buffer("transactions", Kind.TRANSACTIONS, 0, "T1", position=10, committed=10)
    for offset, days in [(10, 0), (11, 1), (12, 0), (13, 1), (14, -400), (15, 0)]:
        at_ms = NOW_MS + days * DAY_MS
        buffer.add(
            records(transaction(offset, created_at=timestamp(NOW_MS - 500 * DAY_MS)), at_ms=at_ms, first=offset), 1
        )
    files = {(str(name.day), name.first, name.last): rows["offset"].to_pylist() for name, rows in buffer.files()}

    assert buffer.position == 16
    assert files == {
        ("2024-12-27", 14, 14): [14],
        ("2026-01-31", 10, 15): [10, 12, 15],
        ("2026-02-01", 11, 13): [11, 13],
    }


def test_a_buffer_of_dead_letters_makes_no_file_and_is_committed_all_the_same() -> None:
    buffer = Buffer("transactions", Kind.TRANSACTIONS, 0, "T1", position=0, committed=0)
    buffer.add(records(None, None), 3.0)

    assert list(buffer.files()) == []
    assert (buffer.position, buffer.since) == (2, 3.0)
    buffer.done()
    assert (buffer.committed, buffer.since) == (2, None)


@pytest.mark.parametrize("at_ms", [-1, 10**17, -(10**17), 2**63 - 1])
def test_a_timestamp_of_any_year_has_a_date_and_is_one_of_the_calendar(at_ms: int) -> None:
    buffer = Buffer("labels", Kind.LABELS, 0, "T1", 0, 0)
    label = {"transaction_id": "t", "user_id": "u", "is_fraud": True, "labelled_at": timestamp(NOW_MS)}
    buffer.add(records(label, at_ms=at_ms), 0)

    [(name, rows)] = buffer.files()
    assert rows["kafka_timestamp"].to_pylist()[0].date() == name.day


def test_where_a_partition_is_taken_up() -> None:
    assert where_to_start(-1001, "", "T1", 5, 9).offset == 5
    assert where_to_start(7, "T1", "T1", 5, 9) == Start(7, 0, "goes on")
    assert where_to_start(9, "T1", "T1", 5, 9).offset == 9
    assert where_to_start(7, "T0", "T1", 0, 9).offset == 0
    assert where_to_start(3, "T1", "T1", 5, 9)[:2] == (5, 2)
    assert where_to_start(12, "T1", "T1", 5, 9).offset == 9
