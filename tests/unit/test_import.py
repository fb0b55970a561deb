"""History into the archive: what is read, what is refused, and the order that it is replayed in."""

import csv
import gzip
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.context import day_date
from stream.errors import UsageError
from stream.partitioner import partitions_of
from stream.settings import Settings
from tests.archives import put, transactions
from training.archive import IMPORT, Archive, Kind, open_archive, partitions
from training.archive_reader import read_partition
from training.import_command import plan_of, run
from training.import_history import Imported
from training.import_report import summary_lines
from training.import_sources import UnusableHistoryError
from training.labels import open_labels
from training.periods import labelled_days
from training.profiles import Topics

Row = dict[str, Any]


def given(**fields: object) -> Row:
    row = {"transaction_id": "t1", "user_id": "u1", "amount": "1.5", "created_at": "2026-01-31 12:00:00"}
    return row | fields


def written(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows as what the file's name says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    return path


def imported(
    archive: Archive | Path, *files: Path, reject: Path | None = None, partitions: int = 3, **options: Any
) -> Imported:
    if isinstance(archive, Path):
        archive = open_archive(str(archive))
    options = {"mapped": [], "label": None, "label_delay": "7d", "zone": "UTC", "label_all": False} | options
    settings = Settings.model_construct()
    plan = plan_of(files, partitions=partitions, settings=settings, **options)
    return run(plan, archive, settings, reject, lambda _: None)


def read(directory: Path, kind: Kind = Kind.TRANSACTIONS) -> list[Row]:
    """Return what replay reads."""
    archive = open_archive(str(directory))
    topic = {Kind.TRANSACTIONS: "transactions", Kind.LABELS: "fraud-labels"}[kind]
    return [
        row
        for partition in partitions(archive.files(topic))
        for table in read_partition(archive, topic, kind, partition)
        for row in table.to_pylist()
    ]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_history_is_placed_as_the_topic_would_and_replayed_in_order_of_time(tmp_path: Path, ending: str) -> None:
    rng = random.Random(3)
    start = datetime(2026, 1, 30, tzinfo=UTC)
    rows = [
        {
            "ID": number,
            "CARD": rng.randrange(40),
            "AMOUNT": rng.randrange(10_000) / 100,
            "AT": (start + timedelta(seconds=rng.randrange(4 * 86_400))).isoformat(),  # equal times are likely enough
            "FRAUD": int(rng.random() < 0.1),
        }
        for number in range(5_000)
    ]
    maps = ["transaction_id=ID", "user_id=CARD", "amount=AMOUNT", "created_at=AT"]
    files = [written(tmp_path / f"{part}.{ending}", rows[part::2]) for part in (0, 1)]
    result = imported(tmp_path / "archive", *files, mapped=maps, label="is_fraud=FRAUD")
    found = read(tmp_path / "archive")

    in_order = [row for part in (0, 1) for row in rows[part::2]]
    in_order.sort(key=lambda row: datetime.fromisoformat(row["AT"]))  # stable
    for partition in range(3):
        its = [
            row for row in in_order if partitions_of([str(row["CARD"]).encode()], 3, "murmur2").tolist() == [partition]
        ]
        of_partition = [row for row in found if row["partition"] == partition]
        assert [row["transaction_id"] for row in of_partition] == [str(row["ID"]) for row in its]
        assert [row["offset"] for row in of_partition] == list(range(len(its)))
        assert [row["amount"] for row in of_partition] == [row["AMOUNT"] for row in its]
    assert {row["topic_id"] for row in found} == {IMPORT}
    assert all(row["kafka_timestamp"] == row["created_at"] and row["key"] == row["user_id"] for row in found)

    labels = read(tmp_path / "archive", Kind.LABELS)
    frauds = {str(row["ID"]): datetime.fromisoformat(row["AT"]) for row in rows if row["FRAUD"]}
    assert {row["transaction_id"]: row["labelled_at"] for row in labels} == {
        transaction: at + timedelta(days=7) for transaction, at in frauds.items()
    }
    assert all(row["is_fraud"] and row["kafka_timestamp"] == row["labelled_at"] for row in labels)
    assert (result.transactions, result.frauds, result.labels) == (5_000, len(frauds), len(frauds))


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_an_optional_field_is_taken_from_the_column_of_its_own_name_where_a_file_has_it(
    tmp_path: Path, ending: str
) -> None:
    full = given(is_vpn="yes", merchant_id="shop", is_fraud="1", labelled_at="2026-02-03T00:00:00Z")
    scarce = {**given(transaction_id="t2"), "is_fraud": "1"}
    files = [written(tmp_path / f"{name}.{ending}", [row]) for name, row in (("a", full), ("b", scarce))]
    result = imported(tmp_path / "archive", *files, label="is_fraud=is_fraud")

    rows = {row["transaction_id"]: (row["is_vpn"], row["merchant_id"]) for row in read(tmp_path / "archive")}
    assert rows == {"t1": (True, "shop"), "t2": (False, None)}
    labels = {row["transaction_id"]: row["labelled_at"].day for row in read(tmp_path / "archive", Kind.LABELS)}
    assert labels == {"t1": 3, "t2": 7}, "where there is no column, --label-delay after the payment"
    assert lines_of(result)[1:3] == [
        "1 with a merchant_id, 1 with is_vpn",
        "2 of them frauds, 2 labels from 2026-02-03T00:00:00.000Z to 2026-02-07T12:00:00.000Z; 3 files in archive",
    ]


def test_a_column_that_is_mapped_must_be_there_and_labels_want_a_label(tmp_path: Path) -> None:
    file = written(tmp_path / "a.csv", [given(labelled_at="no time")])

    with pytest.raises(UnusableHistoryError, match="no column 'merchant_id' for merchant_id"):
        imported(tmp_path / "archive", file, mapped=["merchant_id=merchant_id"])
    assert imported(tmp_path / "archive", file).transactions == 1, "without --label its time is of no interest"


def test_a_value_in_a_column_that_nobody_mapped_is_refused_by_its_name(tmp_path: Path) -> None:
    result = imported(tmp_path / "archive", written(tmp_path / "a.csv", [given(is_vpn=""), given(is_vpn="maybe")]))

    assert "a.csv:2 has 'maybe' in column is_vpn: write true" in lines_of(result)[-1]


@pytest.mark.parametrize("label_all", [False, True])
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_payment_that_nobody_has_judged_is_imported_without_a_label(
    tmp_path: Path, ending: str, label_all: bool
) -> None:
    verdicts = {"nobody looked": None, "nor here": " ", "fraud": "Y", "honest": "N"}
    rows = [given(transaction_id=name, chargeback=verdict) for name, verdict in verdicts.items()]
    rows = [row | {"labelled_at": "2026-02-20" if row["chargeback"] in ("Y", "N") else ""} for row in rows]
    file = written(tmp_path / f"a.{ending}", rows)
    result = imported(tmp_path / "archive", file, label="is_fraud=chargeback", label_all=label_all)

    assert (result.transactions, result.frauds, result.refused) == (4, 1, {})
    labels = {row["transaction_id"]: row["is_fraud"] for row in read(tmp_path / "archive", Kind.LABELS)}
    assert labels == {"fraud": True} | ({"honest": False} if label_all else {})


def test_what_was_no_fraud_has_a_label_too_if_that_is_asked_for(tmp_path: Path) -> None:
    rows = [given(transaction_id=str(number), is_fraud=number % 2) for number in range(6)]
    file = written(tmp_path / "a.csv", rows)
    result = imported(tmp_path / "archive", file, label="is_fraud=is_fraud", label_all=True, label_delay="12h")

    labels = read(tmp_path / "archive", Kind.LABELS)
    assert {row["transaction_id"]: row["is_fraud"] for row in labels} == {str(n): bool(n % 2) for n in range(6)}
    assert {row["labelled_at"].isoformat() for row in labels} == {"2026-02-01T00:00:00+00:00"}
    assert (result.frauds, result.labels) == (3, 6)


@pytest.mark.parametrize("label_all", [False, True])
def test_the_time_of_a_label_can_be_a_column_that_only_labels_need(tmp_path: Path, label_all: bool) -> None:
    rows = [
        given(transaction_id="fraud", is_fraud="1", labelled_at="2026-02-20T08:00:00Z"),
        given(transaction_id="honest", is_fraud="0", labelled_at=""),
        given(transaction_id="when", is_fraud="1", labelled_at=""),
    ]
    file = written(tmp_path / "a.csv", rows)
    maps = ["labelled_at=labelled_at"]
    result = imported(tmp_path / "archive", file, mapped=maps, label="is_fraud=is_fraud", label_all=label_all)

    [label] = read(tmp_path / "archive", Kind.LABELS)
    assert (label["transaction_id"], label["labelled_at"]) == ("fraud", datetime(2026, 2, 20, 8, tzinfo=UTC))
    assert dict(result.refused) == {"labelled_at is missing or not a time": 2 if label_all else 1}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"user_id": ""}, "user_id is missing"),
        ({"transaction_id": None}, "transaction_id is missing"),
        ({"user_id": "u" * 129}, "user_id has more than 128 characters"),
        ({"merchant_id": "m" * 129}, "merchant_id has more than 128 characters"),
        ({"amount": "12,50"}, "amount is missing or not a number"),
        ({"amount": "nan"}, "amount is missing or not a number"),
        ({"amount": "-1"}, "amount is not between 0 and 1e+12"),
        ({"amount": "inf"}, "amount is not between 0 and 1e+12"),
        ({"created_at": "31/01/2026"}, "created_at is missing or not a time"),
        ({"created_at": "1769860800"}, "created_at is missing or not a time"),
        ({"created_at": "infinity"}, "created_at is missing or not a time"),
        ({"created_at": "1969-12-31 23:59:59"}, "created_at is not between 1970 and 9999"),
        ({"is_vpn": "maybe"}, "is_vpn is neither true nor false"),
        ({"is_fraud": "2"}, "is_fraud is neither true nor false"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_row_that_cannot_be_used_is_refused_by_number_and_the_others_are_not(
    tmp_path: Path, ending: str, fields: Row, reason: str
) -> None:
    good = given(is_vpn="", merchant_id="", is_fraud="no")
    file = written(tmp_path / f"history.{ending}", [good, good | fields, good])
    maps = ["is_vpn=is_vpn", "merchant_id=merchant_id"]
    result = imported(
        tmp_path / "archive", file, mapped=maps, label="is_fraud=is_fraud", reject=tmp_path / "rejected.csv"
    )

    assert result.transactions == 2
    assert dict(result.refused) == {reason: 1}
    assert result.examples == {reason: [f"history.{ending}:2"]}
    with (tmp_path / "rejected.csv").open(newline="") as rejected:
        assert list(csv.reader(rejected)) == [["file", "row", "reason"], [f"history.{ending}", "2", reason]]
    assert [(row["is_vpn"], row["merchant_id"]) for row in read(tmp_path / "archive")] == [(False, None)] * 2


def test_rows_that_are_not_even_rows_are_counted(tmp_path: Path) -> None:
    broken = tmp_path / "a.csv"
    broken.write_text("transaction_id,user_id,amount,created_at\n1,u,2,2026-01-31\n2,u\n3,u,2,2026-01-31,x\n")
    lines = tmp_path / "b.jsonl"
    lines.write_text(f"{json.dumps(given())}\n[1]\n{{\n")
    result = imported(tmp_path / "archive", broken, lines)

    assert result.transactions == 2
    assert result.examples == {
        "it does not have as many values as the header has columns": ["a.csv:2", "a.csv:3"],
        "it is not a JSON object": ["b.jsonl:2", "b.jsonl:3"],
    }


@pytest.mark.parametrize("text", ["[{}]", "[{},\n{}]", "\n [\n{},\n{}\n]\n"])
def test_a_json_list_is_one_error_and_not_its_last_object_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(text.replace("{}", json.dumps(given())))

    with pytest.raises(UnusableHistoryError, match=r"a\.json is a JSON list: write an object a line.* lines=True"):
        imported(tmp_path / "archive", file)


@pytest.mark.parametrize(
    ("content", "begins"),
    [
        ('1,"two\nlines",2,2026-01-31\n2,u,3,"2026"x\n3,u,3,2026-01-31\n', 4),
        ("1,u,2,2026-01-31\n" + '2,"5 inch,3,2026-01-31\n' + "3,u,3,2026-01-31\n" * 9_000, 3),
        ('1,u,2,"2026-01-31\n', 2),
    ],
)
def test_of_a_stray_quote_the_line_is_named_that_its_row_begins_in(tmp_path: Path, content: str, begins: int) -> None:
    file = tmp_path / "a.csv"
    file.write_text(f"transaction_id,user_id,amount,created_at\n{content}")

    with pytest.raises(UnusableHistoryError, match=rf"a\.csv: the row that begins in line {begins} cannot be read: "):
        imported(tmp_path / "archive", file)


def test_gzip_is_known_by_what_it_is_and_endings_by_any_letters(tmp_path: Path) -> None:
    text = written(tmp_path / "a.csv", [given()]).read_bytes()
    contents = {"z.csv": gzip.compress(text), "not.csv.gz": text, "X.CSV": text, "Y.Csv.GZ": gzip.compress(text)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert imported(tmp_path / "archive", *(tmp_path / name for name in contents)).transactions == len(contents)

    for damaged, message in (
        (gzip.compress(text)[:-9], "Compressed file ended"),
        (gzip.compress(text)[:10] + b"\xff" * 20, "invalid block"),
    ):
        (tmp_path / "bad.csv.gz").write_bytes(damaged)
        with pytest.raises(UnusableHistoryError, match=rf"bad\.csv\.gz cannot be read: .*{message}"):
            imported(tmp_path / "other", tmp_path / "bad.csv.gz")


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_column_of_a_field_must_be_there_once(tmp_path: Path, name: str) -> None:
    header = ["transaction_id", "user_id", "amount", "created_at", "merchant_id", "merchant_id", "other", "other"]
    row = ["t1", "u1", "1", "2026-01-31", "s", "other", "", ""]
    if name == "a.csv":
        (tmp_path / name).write_text(f"{','.join(header)}\n{','.join(row)}\n")
    else:
        pq.write_table(pa.Table.from_arrays([pa.array([value]) for value in row], header), tmp_path / name)

    with pytest.raises(UnusableHistoryError, match="has column 'merchant_id' more than once"):
        imported(tmp_path / "archive", tmp_path / name)
    again = {"mapped": ["merchant_id=user_id"]}
    assert imported(tmp_path / "archive", tmp_path / name, **again).transactions == 1, "others may be"


def test_a_column_with_a_blank_that_cannot_be_seen_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("transaction_id, user_id,amount,created_at\n")
    with pytest.raises(UnusableHistoryError, match="It has ' user_id', 'amount'"):
        imported(tmp_path / "archive", tmp_path / "a.csv")


def test_examples_are_few_and_carry_no_user_data(tmp_path: Path) -> None:
    rows = [given(user_id="", transaction_id=f"secret-{number}") for number in range(20)] + [given()]
    result = imported(tmp_path / "archive", written(tmp_path / "a.csv", rows))

    [(_, examples)] = result.examples.items()
    assert examples == [f"a.csv:{number}" for number in range(1, 6)]


def lines_of(result: Imported) -> list[str]:
    return summary_lines(result, "archive", {name: name.upper() for name in ("amount", "created_at", "is_fraud")})


def test_a_value_as_another_country_writes_it_is_shown_with_how_to_write_it(tmp_path: Path) -> None:
    rows = [
        given(),
        given(amount="19,90", transaction_id="secret"),
        given(amount="1.234,56", created_at="01.03.2026"),
        given(created_at="01.03.2026 18:21", user_id="secret"),
        given(is_fraud="maybe" * 20),
        given(user_id=""),
    ]
    rows = [{"is_fraud": "no"} | row for row in rows]
    result = imported(tmp_path / "archive", written(tmp_path / "a.csv", rows), label="is_fraud=is_fraud")

    assert lines_of(result)[3] == "5 rows refused:"
    amount, time, truth, user = lines_of(result)[4:]
    assert amount == (
        "  2: amount is missing or not a number (row a.csv:2, a.csv:3); a.csv:2 has '19,90' in column AMOUNT: "
        'write 1234.56; with pandas, read_csv(FILE, decimal=",", thousands=".") reads 1.234,56'
    )
    assert time.startswith(
        "  1: created_at is missing or not a time (row a.csv:4); a.csv:4 has '01.03.2026 18:21' in column CREATED_AT: "
        'write 2018-04-01 12:00:00, or RFC 3339; with pandas, to_datetime(COLUMN, format="%d.%m.%Y %H:%M") reads '
    )
    assert truth.endswith(f"has '{'maybe' * 8}…' in column IS_FRAUD: write true, yes or 1, or false, no or 0")
    assert user == "  1: user_id is missing (row a.csv:6)"
    assert "19,90" not in json.dumps(result.as_dict()), "JSON may be kept"
    assert result.as_dict()["refused"] == dict(result.refused)


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
@pytest.mark.parametrize("sign", [1, -1])
def test_times_in_a_wrong_unit_refuse_their_rows_whatever_they_are(tmp_path: Path, sign: int, zone: str | None) -> None:
    """Nanoseconds that were stored as milliseconds, before and after 1970."""
    good, beyond = 1_767_225_600_000, sign * 1_767_225_600_000_000_000
    rows = pa.Table.from_pylist([given(transaction_id=name) for name in "abc"])
    times = pa.array([good, beyond, None], pa.timestamp("ms", zone))
    place = rows.schema.get_field_index("created_at")
    pq.write_table(rows.set_column(place, "created_at", times), tmp_path / "a.parquet")

    result = imported(tmp_path / "archive", tmp_path / "a.parquet")

    assert [row["created_at"] for row in read(tmp_path / "archive")] == [datetime(2026, 1, 1, tzinfo=UTC)]
    [refused] = lines_of(result)[4:]
    assert refused.startswith(
        f"  2: created_at is missing or not a time (row a.parquet:2, a.parquet:3); a.parquet:2 has '{beyond}' in column"
    )


def test_a_value_that_is_written_well_and_out_of_range_is_shown_without_how_to_write_it(tmp_path: Path) -> None:
    rows = [given(), given(amount="-2"), given(created_at="1969-12-31")]
    result = imported(tmp_path / "archive", written(tmp_path / "a.csv", rows))

    assert lines_of(result)[4:] == [
        "  1: amount is not between 0 and 1e+12 (row a.csv:2); a.csv:2 has '-2' in column AMOUNT",
        "  1: created_at is not between 1970 and 9999 (row a.csv:3); a.csv:3 has '1969-12-31' in column CREATED_AT",
    ]


def test_where_no_row_can_be_used_the_error_shows_a_value_of_each_kind(tmp_path: Path) -> None:
    text = "transaction_id;user_id;SUM;created_at\nt1;u1;19,90;01.03.2026\nt2;u2;5;01.03.2026\n"
    (tmp_path / "a.csv").write_text(text)

    with pytest.raises(UnusableHistoryError, match=r"^no row can be used: amount is missing") as refused:
        imported(tmp_path / "archive", tmp_path / "a.csv", mapped=["amount=SUM"])

    assert "(row a.csv:1); a.csv:1 has '19,90' in column SUM: write" in str(refused.value)
    assert "; created_at is missing or not a time (row a.csv:2); a.csv:2 has '01.03.2026' in" in str(refused.value)


def test_csv_as_spreadsheets_write_it(tmp_path: Path) -> None:
    """A byte order mark, semicolons, quotes with a line break, compressed."""
    text = '\ufefftransaction_id;user_id;amount;created_at\r\n"t;1";"two\r\nlines";"3.5";2026-01-31T12:00:00+02:00\r\n'
    file = tmp_path / "a.csv.gz"
    file.write_bytes(gzip.compress(text.encode()))
    imported(tmp_path / "archive", file)

    [row] = read(tmp_path / "archive")
    assert (row["transaction_id"], row["user_id"], row["amount"]) == ("t;1", "two\r\nlines", 3.5)
    assert row["created_at"] == datetime(2026, 1, 31, 10, tzinfo=UTC)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_times_without_an_offset_are_in_the_zone_that_is_given(tmp_path: Path, ending: str) -> None:
    naive = [datetime(2026, 1, 31, 12), datetime(2026, 7, 31, 12)]  # noqa: DTZ001 - that is the point
    values = naive if ending == "parquet" else [str(at) for at in naive]
    rows = [given(transaction_id=str(number), created_at=at) for number, at in enumerate(values)]
    imported(tmp_path / "archive", written(tmp_path / f"a.{ending}", rows), zone="Europe/Brussels")

    assert [row["created_at"].hour for row in read(tmp_path / "archive")] == [11, 10]


def test_numbers_that_a_tool_made_floats_are_ids_all_the_same(tmp_path: Path) -> None:
    rows = [given(user_id=596.0, transaction_id=1), given(user_id=None, transaction_id=2)]
    result = imported(tmp_path / "archive", written(tmp_path / "a.parquet", rows))

    assert [row["user_id"] for row in read(tmp_path / "archive")] == ["596"]
    assert result.refused.total() == 1


def test_labels_of_an_import_that_are_still_to_come_do_not_end_the_delay_and_no_clock_is_blamed(tmp_path: Path) -> None:
    rows = [given(transaction_id=str(day), created_at=f"2026-01-{day:02d}", is_fraud=1) for day in range(1, 31)]
    imported(tmp_path / "archive", written(tmp_path / "a.csv", rows), label="is_fraud=is_fraud")
    now_ms = int(datetime(2026, 1, 30, 12, tzinfo=UTC).timestamp() * 1000)
    with open_labels(open_archive(str(tmp_path / "archive")), Topics("transactions", "fraud-labels")) as labels:
        extent = labels.extent(now_ms)
        summary = labels.summary(now_ms)

    assert extent is not None
    _, end = labelled_days(extent, first=None, until=None, label_delay_days=7)
    assert day_date(end).isoformat() == "2026-01-23"
    assert (summary.labels, summary.labels_too_late, summary.stamped_ahead) == (23, 7, 0)


def test_ids_that_repeat_are_told(tmp_path: Path) -> None:
    file = written(tmp_path / "a.csv", [given(), given(amount=2), given(transaction_id="other")])
    result = imported(tmp_path / "archive", file, file)

    assert lines_of(result)[3:] == ["4 payments of an id that is there before: the first of each counts"]
    assert (result.as_dict()["transactions"], result.as_dict()["repeated_transactions"]) == (6, 4)
    unrepeated = imported(tmp_path / "other", written(tmp_path / "b.csv", [given()]))
    assert len(lines_of(unrepeated)) == 3


def test_the_same_import_again_changes_nothing_and_completes_what_was_interrupted(tmp_path: Path) -> None:
    rows = [given(transaction_id=str(number), created_at=f"2026-01-{number:02d} 12:00:00") for number in range(1, 29)]
    file = written(tmp_path / "a.csv", rows)
    imported(tmp_path / "archive", file)
    before = {path: path.read_bytes() for path in (tmp_path / "archive").rglob("*.parquet")}
    for path in list(before)[::3]:
        path.unlink()
    imported(tmp_path / "archive", file)

    assert {path: path.read_bytes() for path in (tmp_path / "archive").rglob("*.parquet")} == before


def test_another_import_into_the_same_archive_is_refused(tmp_path: Path) -> None:
    imported(tmp_path / "archive", written(tmp_path / "a.csv", [given()]))

    with pytest.raises(UnusableHistoryError, match="holds another import"):
        imported(tmp_path / "archive", written(tmp_path / "b.csv", [given(), given()]))
    with pytest.raises(UnusableHistoryError, match="holds another import"):
        imported(tmp_path / "archive", tmp_path / "a.csv", partitions=4)
    put(open_archive(str(tmp_path / "by-hand")), transactions([0, 1], topic_id=IMPORT))
    with pytest.raises(UnusableHistoryError, match="holds another import"):
        imported(tmp_path / "by-hand", tmp_path / "a.csv")


def test_history_comes_before_what_is_live_and_its_partitions_must_suffice(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path / "archive"))
    put(archive, transactions([0, 1], partition=2))
    file = written(tmp_path / "a.csv", [given(user_id=f"u{number}", transaction_id="i") for number in range(20)])

    with pytest.raises(UnusableHistoryError, match="has a partition 2"):
        imported(archive, file, partitions=2)
    imported(archive, file, partitions=3)
    ids = [row["topic_id"] for row in read(tmp_path / "archive") if row["partition"] == 2]
    assert len(ids) > 2
    assert ids == [IMPORT] * (len(ids) - 2) + ["T1"] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mapped": ["user_id"]}, "give FIELD=COLUMN"),
        ({"mapped": ["card=CARD"]}, "one of transaction_id, user_id"),
        ({"mapped": ["user_id=CARD"]}, "has no column 'CARD' for user_id.*It has 'amount', 'created_at'"),
        ({"label": "fraud"}, "is_fraud"),
        ({"label_delay": "a week"}, "--label-delay a week"),
        ({"zone": "Mars/Base"}, "--timezone Mars/Base"),
        ({"zone": "Europe"}, "--timezone Europe"),
        ({"zone": "localtime"}, "--timezone localtime"),
        ({"label_all": True}, "--label-all"),
    ],
)
def test_options_that_cannot_be_used_are_one_line_each(tmp_path: Path, options: Row, message: str) -> None:
    with pytest.raises((UsageError, UnusableHistoryError), match=message):
        imported(tmp_path / "archive", written(tmp_path / "a.csv", [given()]), **options)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"", "must end in"),
        ("a.parquet", b"no", "cannot be read"),
        ("a.csv", b"\xff\xfe\x00", "cannot be read"),
        ("a.csv", b"", "has no column 'transaction_id'"),
        ("a.csv", b"transaction_id,user_id,amount,created_at\n", "no row can be used: the files are empty"),
        ("a.csv", b"transaction_id,user_id,amount,created_at\n,u,1,2026-01-31\n", "no row can be used: transaction_id"),
    ],
)
def test_files_that_cannot_be_used_are_one_line_each(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(UnusableHistoryError, match=message):
        imported(tmp_path / "archive", tmp_path / name)
    with pytest.raises(UnusableHistoryError, match=r"nowhere\.csv"):
        imported(tmp_path / "archive", tmp_path / "nowhere.csv")
