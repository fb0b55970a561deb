"""Erasing a user from files: the user's rows go, everything else stays as it was, whenever it is interrupted."""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.context import ProfileDefinition
from tests.archives import DAY, put, transactions
from tests.profile_archives import TOPICS, archive_past
from tests.profile_reference import random_past
from training.archive import SCHEMAS, Archive, ArchiveError, FileName, Kind, open_archive, partitions
from training.archive_reader import read_partition
from training.archive_writer import UNFINISHED, unfinished_files, write_rows
from training.compact import compact
from training.erase import Swept, SweptTables, sweep_tables, sweep_topic
from training.profiles_table import build_table, read_table

TOPIC = "transactions"
USER = "user-3"


class Killed(BaseException):
    """The process ends here."""


def content(archive: Archive) -> list[pa.Table]:
    """Return what replay reads of each partition."""
    return [
        pa.concat_tables(read_partition(archive, TOPIC, Kind.TRANSACTIONS, partition)).combine_chunks()
        for partition in partitions(archive.files(TOPIC))
    ]


def without(tables: list[pa.Table], user: str = USER) -> list[pa.Table]:
    return [rows.filter(pc.not_equal(rows["user_id"], user)) for rows in tables]


def small_files(archive: Archive, seed: int = 1) -> None:
    """Archive two partitions over two days in small files, some of which overlap, and some of one user only."""
    rng = random.Random(seed)
    for partition in (0, 1):
        for day in (0, 1):
            offset = 100 * day
            while offset < 100 * (day + 1) - 10:
                end = offset + rng.choice([1, 1, 10, 30])
                put(archive, transactions(range(offset, end), DAY + timedelta(day), partition))
                offset = max(end - rng.choice([0, 0, 5]), offset + 1)


def bytes_of(archive: Archive, names: list[FileName]) -> dict[FileName, bytes]:
    return {name: Path(archive.full(name.path)).read_bytes() for name in names}


def test_the_users_rows_go_and_all_others_stay_in_order(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    small_files(archive)
    before, names = content(archive), archive.files(TOPIC)
    swept = sweep_topic(archive, TOPIC, USER, dry_run=False)

    assert content(archive) == without(before)
    assert swept.files == len(names)
    assert min(swept.rewritten, swept.removed) > 0, "both kinds of files are among them"
    assert swept.rows >= sum(map(len, before)) - sum(map(len, content(archive)))
    assert set(archive.files(TOPIC)) < set(names), "no name is new"
    assert len(archive.files(TOPIC)) == len(names) - swept.removed
    assert sweep_topic(archive, TOPIC, USER, dry_run=False) == Swept(len(names) - swept.removed, 0, 0, 0)


def test_files_without_the_user_are_not_touched_nor_any_by_a_dry_run(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    names = [put(archive, transactions(offsets)) for offsets in ([1, 2], [3, 4], [13])]
    before = bytes_of(archive, names)

    assert sweep_topic(archive, TOPIC, USER, dry_run=True) == Swept(3, 1, 1, 2)
    assert sweep_topic(archive, TOPIC, "nobody", dry_run=False) == Swept(3, 0, 0, 0)
    assert bytes_of(archive, names) == before
    sweep_topic(archive, TOPIC, USER, dry_run=False)
    assert bytes_of(archive, names[:1]) == {names[0]: before[names[0]]}


def test_a_file_keeps_schema_compression_and_the_columns_that_this_release_does_not_know(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    name = put(archive, transactions(range(20)))
    path = tmp_path / name.path
    rows = pq.read_table(path).append_column("channel", pa.array(["web", "app"] * 10))
    rows = rows.replace_schema_metadata({b"made": b"elsewhere"})
    pq.write_table(rows, path, compression="zstd")
    before = pq.read_schema(path)
    sweep_topic(archive, TOPIC, USER, dry_run=False)

    assert pq.read_schema(path).equals(before, check_metadata=True)
    assert pq.read_table(path).equals(rows.filter(pc.not_equal(rows["user_id"], USER)))
    metadata = pq.ParquetFile(path).metadata
    assert {metadata.row_group(0).column(each).compression for each in range(metadata.num_columns)} == {"ZSTD"}


def test_a_score_under_the_users_key_goes_too_and_one_without_a_key_stays(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    rows = transactions(range(3))
    keys = pa.array([USER, None, "user-2"])
    put(archive, rows.set_column(rows.schema.get_field_index("key"), rows.schema.field("key"), keys))
    sweep_topic(archive, TOPIC, USER, dry_run=False)

    assert [table["offset"].to_pylist() for table in content(archive)] == [[1, 2]]


def test_a_long_file_is_read_in_parts_of_which_some_are_the_users_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.erase.BATCH_ROWS", 4)
    archive = open_archive(str(tmp_path))
    rows = transactions([0, 1, 2, 4, 13, 23, 33, 43, 51, 52, 61, 62, 73, 83, 93, 103])
    put(archive, rows)

    assert sweep_topic(archive, TOPIC, USER, dry_run=False) == Swept(1, 1, 0, 8)
    assert content(archive) == without([rows])


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), dies_after=st.integers(0, 25))
def test_killed_anywhere_the_archive_reads_and_the_next_run_completes(
    tmp_path_factory: pytest.TempPathFactory, seed: int, dies_after: int
) -> None:
    archive = open_archive(str(tmp_path_factory.mktemp("archive")))
    small_files(archive, seed)
    before = content(archive)
    with pytest.MonkeyPatch.context() as patch:
        steps = iter(range(dies_after))
        patch.setattr(Archive, "remove", dying(Archive.remove, steps))
        patch.setattr(Path, "replace", dying(Path.replace, steps))
        try:
            sweep_topic(archive, TOPIC, USER, dry_run=False)
        except Killed:
            assert without(content(archive)) == without(before)
    sweep_topic(archive, TOPIC, USER, dry_run=False)

    assert content(archive) == without(before)


def dying(function: Callable[..., object], steps: Iterator[int]) -> Callable[..., object]:
    def call(*args: object) -> object:
        if next(steps, None) is None:
            raise Killed
        return function(*args)

    return call


def test_a_disk_that_takes_no_file_is_named_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = open_archive(str(tmp_path))
    name = put(archive, transactions(range(10)))
    before = bytes_of(archive, [name])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(ArchiveError, match=r"transactions\+0\+0-9\.parquet cannot be written: No space left"):
            sweep_topic(archive, TOPIC, USER, dry_run=False)
    assert bytes_of(archive, [name]) == before
    assert unfinished_files(archive, TOPIC) == []


def test_the_archiver_does_not_write_an_erased_file_again(tmp_path: Path) -> None:
    """It was killed before its commit, and reads the same records again."""
    archive = open_archive(str(tmp_path))
    rows = transactions(range(10))
    name = put(archive, rows)
    sweep_topic(archive, TOPIC, USER, dry_run=False)
    written = write_rows(archive, name, rows)

    assert (written.name, written.size) == (name, 0)
    assert content(archive) == without([rows])


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1000), done=st.integers(0, 15))
def test_compaction_between_two_attempts_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, seed: int, done: int
) -> None:
    archive = open_archive(str(tmp_path_factory.mktemp("archive")))
    small_files(archive, seed)
    compact(archive, TOPIC, Kind.TRANSACTIONS, DAY)
    small_files(archive, seed + 1)  # the archiver was set back: its files lie over the merged one
    before = content(archive)
    with pytest.MonkeyPatch.context() as patch:
        steps = iter(range(done))
        patch.setattr(Archive, "remove", dying(Archive.remove, steps))
        patch.setattr(Path, "replace", dying(Path.replace, steps))
        with suppress(Killed):
            sweep_topic(archive, TOPIC, USER, dry_run=False)
    compact(archive, TOPIC, Kind.TRANSACTIONS, DAY)
    compact(archive, TOPIC, Kind.TRANSACTIONS, DAY + timedelta(1))
    assert without(content(archive)) == without(before)
    sweep_topic(archive, TOPIC, USER, dry_run=False)

    assert content(archive) == without(before)


def test_a_damaged_file_and_one_without_users_are_named(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    name = put(archive, transactions(range(10)))
    path = tmp_path / name.path
    pq.write_table(pq.read_table(path).drop_columns(["user_id"]), path)
    with pytest.raises(ArchiveError, match="it has no column user_id"):
        sweep_topic(archive, TOPIC, USER, dry_run=False)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArchiveError, match=path.name.replace("+", r"\+")):
        sweep_topic(archive, TOPIC, USER, dry_run=False)


def test_an_object_store_is_swept_too(tmp_path: Path) -> None:
    archive = open_archive(f"memory://{tmp_path.name}")
    small_files(archive)
    before = content(archive)
    sweep_topic(archive, TOPIC, USER, dry_run=False)

    assert content(archive) == without(before)
    archive.fs.rm(archive.root, recursive=True)


def test_what_was_left_half_written_is_counted(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    name = put(archive, transactions(range(3)))
    (tmp_path / name.path).with_name(f".x{UNFINISHED}").write_bytes(b"half")

    assert len(unfinished_files(archive, TOPIC)) == 1


def test_tables_with_the_user_are_removed_and_can_be_built_again(tmp_path: Path) -> None:
    archive, place = open_archive(str(tmp_path / "archive")), open_archive(str(tmp_path / "profiles"))
    first, definition = date(2026, 2, 20), ProfileDefinition("UTC", 7)
    archive_past(random_past(1, "UTC", 7, first, 70, 200), archive)
    day = first + timedelta(days=40)
    build_table(archive, TOPICS, definition, day, place)
    users = read_table(place, definition, day).rows
    user = users.filter(pc.equal(users["kind"], "user"))["id"][0].as_py()

    assert sweep_tables(place, "nobody", dry_run=False) == SweptTables(1, 0)
    assert sweep_tables(place, user, dry_run=True) == SweptTables(1, 1)
    for topic in TOPICS:
        assert sweep_topic(archive, topic, user, dry_run=False).rows > 0
    assert sweep_tables(place, user, dry_run=False) == SweptTables(1, 1)
    assert sweep_tables(place, user, dry_run=False) == SweptTables(0, 0)
    build_table(archive, TOPICS, definition, day, place)
    assert user not in read_table(place, definition, day).rows["id"].to_pylist()
    assert sweep_tables(place, user, dry_run=False) == SweptTables(1, 0)


def test_the_columns_by_which_a_user_is_found_are_in_every_table() -> None:
    for kind in Kind:
        assert {"user_id", "key"} <= set(SCHEMAS[kind].names)
