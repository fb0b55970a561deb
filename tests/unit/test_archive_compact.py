"""Merging small files: the content stays, whenever it is interrupted."""

import random
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.archives import DAY, put, transactions
from training.archive import Archive, ArchiveError, Kind, open_archive, partitions
from training.archive_reader import read_partition
from training.archive_writer import UNFINISHED
from training.compact import Compacted, compact, remove_abandoned


class Killed(BaseException):
    """The process ends here."""


def content(archive: Archive) -> list[pa.Table]:
    """Return what replay reads of each partition."""
    return [
        pa.concat_tables(read_partition(archive, "transactions", Kind.TRANSACTIONS, partition)).combine_chunks()
        for partition in partitions(archive.files("transactions"))
    ]


def small_files(archive: Archive, seed: int = 1) -> None:
    """Archive two partitions over two days, in small files of which some overlap, and a second topic of that name."""
    rng = random.Random(seed)
    for topic_id, days in (("T1", (0, 1)), ("T2", (1, 2))):
        for partition in (0, 1):
            for day in days:
                offset = 100 * day
                while offset < 100 * (day + 1) - 10:
                    end = offset + rng.randrange(10, 30)
                    rows = transactions(range(offset, end), DAY + timedelta(day), partition, topic_id)
                    put(archive, rows)
                    offset = end - rng.choice([0, 0, 5])


def test_a_days_files_become_one_of_each_partition_and_topic_id(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    small_files(archive)
    before, count = content(archive), len(archive.files("transactions"))
    last_day = [name for name in archive.files("transactions") if name.day == DAY + timedelta(2)]
    compacted = compact(archive, "transactions", Kind.TRANSACTIONS)

    assert content(archive) == before
    assert compacted == Compacted(count - len(last_day), 2 + 4), "the last day is still being written"
    assert len(archive.files("transactions")) == 6 + len(last_day)
    compact(archive, "transactions", Kind.TRANSACTIONS, DAY + timedelta(2))
    assert content(archive) == before
    assert len(archive.files("transactions")) == 8


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1000), dies_after=st.integers(0, 40))
def test_killed_anywhere_nothing_is_lost_and_the_next_run_completes(
    tmp_path_factory: pytest.TempPathFactory, seed: int, dies_after: int
) -> None:
    archive = open_archive(str(tmp_path_factory.mktemp("archive")))
    small_files(archive, seed)
    before = content(archive)
    steps = iter(range(dies_after))

    def step() -> None:
        if next(steps, None) is None:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Archive, "remove", dying(Archive.remove, step))
        patch.setattr(Path, "replace", dying(Path.replace, step))
        try:
            compact(archive, "transactions", Kind.TRANSACTIONS)
        except Killed:
            assert content(archive) == before
    again = compact(archive, "transactions", Kind.TRANSACTIONS)

    assert content(archive) == before
    assert again.after == 6


def dying(function: Callable[..., object], step: Callable[[], None]) -> Callable[..., object]:
    def call(*args: object) -> object:
        step()
        return function(*args)

    return call


def test_a_gap_that_was_filled_later_is_not_lost(tmp_path: Path) -> None:
    """The archiver was set forward, its files were merged over the gap, and it was set back."""
    archive = open_archive(str(tmp_path))
    for offsets in ([0, 1], [8, 9]):
        put(archive, transactions(offsets))
    compact(archive, "transactions", Kind.TRANSACTIONS, DAY)
    put(archive, transactions(range(2, 8)))
    compact(archive, "transactions", Kind.TRANSACTIONS, DAY)

    assert [table["offset"].to_pylist() for table in content(archive)] == [list(range(10))]
    [name] = archive.files("transactions")
    assert name.tag, "a name is not given to other content"


def test_a_file_of_another_topic_of_that_name_is_not_written_over(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    put(archive, transactions(range(10), topic_id="T1"))
    put(archive, transactions(range(5), topic_id="T2"))
    put(archive, transactions(range(5, 10), topic_id="T2"))
    before = content(archive)
    compact(archive, "transactions", Kind.TRANSACTIONS, DAY)

    assert content(archive) == before
    assert len(archive.files("transactions")) == 2


def test_an_object_store_is_compacted_too(tmp_path: Path) -> None:
    archive = open_archive(f"memory://{tmp_path.name}")
    small_files(archive)
    before = content(archive)
    compact(archive, "transactions", Kind.TRANSACTIONS)

    assert content(archive) == before
    archive.fs.rm(archive.root, recursive=True)


def test_columns_that_would_be_dropped_are_an_error_and_nothing_changes(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    names = [put(archive, transactions([offset])) for offset in (0, 1)]
    path = tmp_path / names[0].path
    pq.write_table(pq.read_table(path).append_column("channel", pa.array(["web"])), path)

    with pytest.raises(ArchiveError, match="channel"):
        compact(archive, "transactions", Kind.TRANSACTIONS, DAY)
    assert archive.files("transactions") == names


@pytest.fixture
def day_directory(tmp_path: Path) -> Path:
    """A day's directory with an unfinished file."""
    archive = open_archive(str(tmp_path))
    name = put(archive, transactions([0]))
    directory = (tmp_path / name.path).parent
    (directory / ".transactions+0+1-2.parquet.x.unfinished").write_bytes(b"half")
    return directory


def test_unfinished_files_of_the_dead_are_removed_and_those_at_work_are_not(
    tmp_path: Path, day_directory: Path
) -> None:
    archive = open_archive(str(tmp_path))
    written = next(day_directory.glob(".*")).stat().st_mtime

    assert remove_abandoned(archive, "transactions", written + 3600) == 0
    assert remove_abandoned(archive, "transactions", written + 2 * 86_400) == 1
    assert len(list(day_directory.iterdir())) == 1


def test_an_unfinished_file_that_is_finished_behind_ones_back_is_no_trouble(
    tmp_path: Path, day_directory: Path
) -> None:
    (day_directory / f".gone{UNFINISHED}").symlink_to(tmp_path / "gone")  # listed, and not there any more
    later = time.time() + 2 * 86_400

    assert remove_abandoned(open_archive(str(tmp_path)), "transactions", later) == 1
