"""The archive's layout: names, schemas, and reading a partition in replay order."""

import math
import resource
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import UsageError
from stream.settings import Settings
from tests.archives import DAY, PLACES, empty_archive, put, transactions
from training.archive import IMPORT, SCHEMAS, Archive, ArchiveError, FileName, Kind, open_archive, partitions
from training.archive_reader import read_partition
from training.archive_sql import connect, relation_sql
from training.monitor_command import table_of
from training.profiles_table import tables_beside, tables_for

Place = tuple[str, int]  # topic id, offset


@pytest.fixture(params=PLACES)
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Archive]:
    """An empty archive, on disk and on an object store."""
    with empty_archive(request.param, tmp_path) as made:
        yield made


def read(archive: Archive, partition: int = 0, batch_rows: int = 65_536, **options: date) -> list[Place]:
    return [
        (row["topic_id"], row["offset"])
        for table in read_partition(
            archive, "transactions", Kind.TRANSACTIONS, partition, batch_rows=batch_rows, **options
        )
        for row in table.select(["topic_id", "offset"]).to_pylist()
    ]


def in_sql(archive: Archive) -> list[Place]:
    with connect(archive) as connection:
        query = relation_sql(archive, "transactions", Kind.TRANSACTIONS)
        return sorted(connection.sql(query).project('topic_id, "offset"').fetchall())


def test_a_file_name_says_what_is_in_it_and_nothing_else_is_one() -> None:
    name = FileName("fraud-scores", date(2026, 1, 31), 11, 0, 4095)

    assert name.path == "fraud-scores/date=2026-01-31/fraud-scores+11+0-4095.parquet"
    assert FileName.parse(name.path) == name
    tagged = name._replace(tag="x2b_-Q")
    assert FileName.parse(tagged.path) == tagged
    for other in ("", "t/t+0+0-1.parquet", "t/date=2026-02-31/t+0+0-1.parquet", "t/date=2026-01-31/u+0+0-1.parquet"):
        assert FileName.parse(other) is None


def test_an_archive_that_is_not_there_is_empty(archive: Archive) -> None:
    assert archive.files("transactions") == []
    assert read(archive) == []
    assert in_sql(archive) == []


@pytest.mark.parametrize(
    ("url", "tables"),
    [("/archive", "/profiles"), ("/srv/archive/", "/srv/profiles"), ("memory://bucket/archive", "/bucket/profiles")],
)
def test_what_is_made_of_an_archive_is_put_and_looked_for_beside_it(url: str, tables: str) -> None:
    archive = open_archive(url)
    assert tables_beside(archive).root == tables_for(None, archive).root == tables
    monitored = table_of(None, Settings(model="m", archive=url))
    assert monitored.root == tables.replace("profiles", "quality")


def test_nothing_is_beside_a_whole_bucket_or_disk() -> None:
    for archive in (Archive(MemoryFileSystem(), "bucket"), open_archive("/")):
        with pytest.raises(UsageError, match="so that profiles cannot be beside it: give --to a place"):
            tables_beside(archive)
        with pytest.raises(UsageError, match="give --profiles a place"):
            tables_for(None, archive)


def test_rows_come_back_as_they_were(archive: Archive) -> None:
    rows = transactions(range(0, 5000, 3))
    put(archive, rows)

    [found] = read_partition(archive, "transactions", Kind.TRANSACTIONS, 0)
    assert found == rows
    with connect(archive) as connection:
        query = relation_sql(archive, "transactions", Kind.TRANSACTIONS)
        in_duckdb = connection.sql(query).order('"offset"').to_arrow_table()
    assert in_duckdb.cast(rows.schema) == rows


@pytest.mark.parametrize("root", ["partition=7", "user_id=bob/archive", "topic_id=other/date=2020-01-01"])
def test_the_directories_of_the_root_say_nothing_of_the_rows(root: str, tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path / root))
    rows = transactions(range(10))
    put(archive, rows)
    with connect(archive) as connection:
        query = relation_sql(archive, "transactions", Kind.TRANSACTIONS)
        assert connection.sql(query).order('"offset"').to_arrow_table().cast(rows.schema) == rows


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.tuples(st.integers(0, 399), st.integers(1, 150)), min_size=1, max_size=12),
    days=st.integers(1, 3),
    batch_rows=st.integers(1, 70),
)
def test_overlapping_files_give_each_record_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[tuple[int, int]], days: int, batch_rows: int
) -> None:
    """Stalled archivers, restarts and timestamps that jump over midnight: whatever files there are, replay is one."""
    archive = open_archive(str(tmp_path_factory.mktemp("archive")))
    log = [offset for offset in range(400) if offset % 11]  # with gaps, as transactions leave them
    archived: set[int] = set()
    for begin, count in cuts:
        taken = log[begin : begin + count]
        archived.update(taken)
        for day in range(days):
            its = [offset for offset in taken if (offset * 7919 // 13) % days == day]
            if its:
                put(archive, transactions(its, DAY + timedelta(day)))

    expected = [("T1", offset) for offset in sorted(archived)]
    assert read(archive, batch_rows=batch_rows) == expected
    assert in_sql(archive) == expected


def test_imported_history_comes_first_and_then_each_topic_of_that_name_as_it_appeared(archive: Archive) -> None:
    put(archive, transactions([0, 1, 2], DAY, topic_id="Zfirst"))
    put(archive, transactions([3, 4], DAY + timedelta(1), topic_id="Zfirst"))
    put(archive, transactions([0, 1], DAY + timedelta(2), topic_id="Asecond"))
    put(archive, transactions([0, 1], DAY + timedelta(3), topic_id=IMPORT))

    assert read(archive) == [
        *[(IMPORT, 0), (IMPORT, 1)],
        *[("Zfirst", offset) for offset in range(5)],
        *[("Asecond", 0), ("Asecond", 1)],
    ]


def test_two_topics_of_one_name_do_not_overwrite_each_other(archive: Archive) -> None:
    first, second = put(archive, transactions([0, 1])), put(archive, transactions([0, 1], topic_id="T2"))
    again = put(archive, transactions([0, 1], topic_id="T2"))

    assert first.tag == ""
    assert second == again == first._replace(tag="T2")
    assert sorted(read(archive)) == [("T1", 0), ("T1", 1), ("T2", 0), ("T2", 1)] == in_sql(archive)


def test_reading_is_restricted_to_days_and_to_a_partition(archive: Archive) -> None:
    for day in range(4):
        put(archive, transactions([10 * day, 10 * day + 1], DAY + timedelta(day)))
    put(archive, transactions([0], partition=1))

    assert partitions(archive.files("transactions")) == [0, 1]
    found = read(archive, since=DAY + timedelta(1), until=DAY + timedelta(3))
    assert found == [("T1", 10), ("T1", 11), ("T1", 20), ("T1", 21)]


def test_columns_can_be_chosen(archive: Archive) -> None:
    put(archive, transactions(range(5)))
    chosen = ["user_id", "amount"]

    [rows] = read_partition(archive, "transactions", Kind.TRANSACTIONS, 0, columns=chosen)
    assert rows == transactions(range(5)).select(chosen)


def test_many_small_files_come_in_large_portions(archive: Archive) -> None:
    for first in range(0, 200, 2):
        put(archive, transactions([first, first + 1]))

    tables = list(read_partition(archive, "transactions", Kind.TRANSACTIONS, 0, batch_rows=50))
    assert len(tables) <= math.ceil(200 / 50)


def rewritten(archive: Archive, name: FileName, rows: pa.Table) -> None:
    with archive.fs.open(archive.full(name.path), "wb") as file:
        pq.write_table(rows, file)


def test_unknown_columns_are_ignored_and_missing_ones_that_may_be_null_are_null(archive: Archive) -> None:
    rows = transactions(range(3))
    name = put(archive, rows)
    rewritten(archive, name, rows.drop(["merchant_id"]).append_column("channel", pa.array(["web"] * 3)))

    [found] = read_partition(archive, "transactions", Kind.TRANSACTIONS, 0)
    assert found["merchant_id"].null_count == 3
    assert found.drop(["merchant_id"]) == rows.drop(["merchant_id"])
    assert in_sql(archive) == [("T1", 0), ("T1", 1), ("T1", 2)]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows.drop(["amount"]), "has no column amount"),
        (lambda rows: rows.drop(["topic_id"]), "has no column topic_id"),
        (lambda rows: rows.set_column(7, "amount", pa.array(["1"] * 3)), "amount is string, not double"),
        (lambda rows: rows.set_column(7, "amount", pa.array([1.0, None, 1.0])), "amount is null in 1 row"),
        (lambda rows: rows.take([2, 1, 0]), "not in order"),
        (lambda rows: rows.slice(0, 0), "no rows"),
        (lambda rows: pa.concat_tables([rows, transactions([9], topic_id="T2")]), "several topic ids"),
        (lambda rows: pa.concat_tables([rows, transactions([9])]), "not those of its name"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_one_error_that_names_it(tmp_path: Path, spoil, message: str) -> None:
    archive = open_archive(str(tmp_path))
    name = put(archive, transactions(range(3)))
    rewritten(archive, name, spoil(transactions(range(3))))

    with pytest.raises(ArchiveError, match=message) as raised:
        read(archive)
    assert archive.url(name.path) in str(raised.value)


@pytest.mark.parametrize("where", ["all", "end", "middle"])
def test_a_damaged_file_is_one_error_that_names_it(tmp_path: Path, where: str) -> None:
    archive = open_archive(str(tmp_path))
    name = put(archive, transactions(range(20_000)))
    path = tmp_path / name.path
    content = bytearray(path.read_bytes())
    if where == "all":
        content = bytearray(b"not a Parquet file")
    elif where == "end":
        del content[len(content) // 2 :]
    else:
        for place in range(100, len(content) - 10_000, 1000):
            content[place] ^= 0xFF
    path.write_bytes(content)

    with pytest.raises(ArchiveError, match="cannot be read") as raised:
        read(archive)
    assert archive.url(name.path) in str(raised.value)


def test_a_name_that_replay_would_not_read_is_refused(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    name = put(archive, transactions(range(3)))
    (tmp_path / name.path).rename((tmp_path / name.path).with_name("part-0.parquet"))

    with pytest.raises(ArchiveError, match=r"part-0\.parquet is not named"):
        archive.files("transactions")


def test_a_file_that_finds_no_room_leaves_nothing_behind_and_the_others_as_they_were(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    name = put(archive, transactions(range(10)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(ArchiveError, match="cannot be written: File too large"):
            put(archive, transactions(range(10, 50_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert archive.files("transactions") == [name]
    assert list((tmp_path / name.path).parent.iterdir()) == [tmp_path / name.path]
    assert len(read(archive)) == 10


def test_an_unfinished_file_is_not_seen(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    name = put(archive, transactions(range(3)))
    (tmp_path / name.path).with_name(f".{name.path.rpartition('/')[2]}.k2j.unfinished").write_bytes(b"half")

    assert archive.files("transactions") == [name]


def test_a_url_without_a_file_system_is_an_error() -> None:
    with pytest.raises(ArchiveError, match="nowhere://"):
        open_archive("nowhere://there")


def test_the_columns_are_those_that_are_promised() -> None:
    """The layout is read by other programs; this is a change of format if it fails."""
    record = "topic_id partition offset kafka_timestamp key"
    assert {kind: " ".join(schema.names) for kind, schema in SCHEMAS.items()} == {
        Kind.TRANSACTIONS: f"{record} transaction_id user_id amount created_at is_vpn merchant_id",
        Kind.LABELS: f"{record} transaction_id user_id is_fraud labelled_at",
        Kind.SCORES: f"{record} transaction_id user_id created_at fraud_probability lstm_score sequence_anomaly "
        "insufficient_history window_length profile_day model_version scored_at reasons suppressed "
        "source_topic source_partition source_offset",
    }
