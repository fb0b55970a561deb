"""An archive under pseudonyms is the archive in clear, up to names: round trip, mixed generations, rotation."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.context import ProfileDefinition, day_number
from models.hashing import transaction_hashes
from stream.pseudonyms import CLEAR, Pseudonyms
from stream.settings import Settings
from tests.archives import DAY, PLACES, empty_archive, put, transactions
from tests.profile_archives import SCORES, TOPICS, archive_past, archive_scores
from tests.profile_reference import Past, random_past
from tests.unit.test_import import imported, written
from tests.wanted import WANTED
from training.archive import SCHEMAS, Archive, ArchiveError, FileName, Kind, open_archive, partitions
from training.archive_damage import naming_the_file
from training.archive_dataset import Made, dataset_of
from training.archive_names import NAMED_UNDER, OWNERS
from training.archive_reader import read_partition
from training.archive_records import Records, to_rows
from training.archive_sql import connect, relation_sql
from training.archive_writer import UNFINISHED, write_rows
from training.compact import compact
from training.erase import sweep_tables, sweep_topic
from training.labels import open_labels
from training.monitor_records import keep
from training.profiles import open_profiles
from training.profiles_table import build_table, read_table, table_path, tables_beside
from training.rotate_pseudonyms import NoKeysError, Renamed, report_lines, rotate, rotate_topic

OLD = Pseudonyms((b"\x0a" * 32,))
NEW = Pseudonyms((*OLD.keys, b"\x1b" * 32))
OTHER = Pseudonyms((b"\x02" * 32,))
GENERATIONS = (CLEAR, OLD, NEW)
T = "transactions"
DEFINITION, TABLE_DAY = ProfileDefinition("UTC", 7), date(2026, 3, 20)


@pytest.fixture(params=PLACES)
def clear(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Archive]:
    """An empty archive in clear, on disk and on an object store."""
    with empty_archive(request.param, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def past() -> Past:
    return random_past(1, "UTC", 7, date(2026, 2, 20), 45, 900)


def under(archive: Archive, pseudonyms: Pseudonyms) -> Archive:
    return replace(archive, pseudonyms=pseudonyms)


def names(ids: pa.ChunkedArray, pseudonyms: Pseudonyms = NEW) -> list[str | None]:
    return [None if each is None else pseudonyms.of([each.encode()])[0].decode() for each in ids.to_pylist()]


def renamed(rows: pa.Table, pseudonyms: Pseudonyms = NEW) -> pa.Table:
    """Return rows as a reader must have them: users are named, and nothing else is different."""
    for name in OWNERS:
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, rows.schema.field(place), pa.array(names(rows[name], pseudonyms), pa.string()))
    return rows


def read(archive: Archive, topic: str = T, kind: Kind = Kind.TRANSACTIONS) -> pa.Table:
    tables = [
        table
        for partition in partitions(archive.files(topic))
        for table in read_partition(archive, topic, kind, partition)
    ]
    return pa.concat_tables(tables) if tables else pa.table({}, schema=None)


def read_sql(archive: Archive, topic: str = T, kind: Kind = Kind.TRANSACTIONS) -> pa.Table:
    with connect(archive) as connection:
        rows = connection.sql(relation_sql(archive, topic, kind)).order('"partition", topic_id, "offset"')
        return rows.to_arrow_table().cast(SCHEMAS[kind])


def stored(archive: Archive, topic: str = T) -> dict[str, pa.Table]:
    """Return what the files hold, as any program sees it."""
    found = {}
    for name in archive.files(topic):
        with archive.open_file(name) as file:
            found[name.path] = file.read()
    return found


def mixed(clear: Archive) -> pa.Table:
    """Fill an archive with files in clear and of two generations, which overlap; return their rows in clear."""
    for begin, pseudonyms in ((0, NEW), (30, CLEAR), (60, OLD), (90, NEW), (90 + 29, OLD), (150, CLEAR)):
        put(under(clear, pseudonyms), transactions(range(begin, begin + 30)))
    return transactions([*range(120), *range(120, 149), *range(150, 180)])


@contextmanager
def killed_at(file: int) -> Iterator[None]:
    """Kill what writes at its ``file``-th file, which is written and not in its place."""
    left, fsync = file, os.fsync

    def dying(handle: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        fsync(handle)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("training.archive_writer.os.fsync", dying)
        patched.setattr("training.archive_writer.sync_directory", lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            yield


def test_without_keys_files_are_what_they_always_were(clear: Archive) -> None:
    rows = transactions(range(50))
    name = put(clear, rows)
    plain = pa.BufferOutputStream()
    with pq.ParquetWriter(plain, SCHEMAS[Kind.TRANSACTIONS], compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(rows, row_group_size=65_536)
    assert clear.fs.cat_file(clear.full(name.path)) == plain.getvalue().to_pybytes()


@pytest.mark.parametrize("pseudonyms", [OLD, NEW])
def test_nobody_is_in_the_files_and_what_comes_out_is_the_same_up_to_names(
    clear: Archive, pseudonyms: Pseudonyms
) -> None:
    archive, rows = under(clear, pseudonyms), transactions(range(200))
    put(archive, rows)

    [table] = stored(clear).values()
    assert not {f"user-{number}" for number in range(10)} & {
        value for column in table.columns if column.type == pa.string() for value in column.to_pylist()
    }
    assert set(table[NAMED_UNDER.name].to_pylist()) == {pseudonyms.tag}
    assert read(archive) == read_sql(archive) == renamed(rows, pseudonyms)


def test_labels_and_scores_under_a_strange_key_or_none_are_named_too(clear: Archive) -> None:
    label = b'{"transaction_id": "t", "user_id": "user-1", "is_fraud": true, "labelled_at": "2026-01-31T00:00:00Z"}'
    records = Records([0, 1, 2], [0] * 3, [b"user-1", b"user-2", None], [label] * 3, [{}] * 3)
    rows, _ = to_rows(Kind.LABELS, records, "T1", 0)
    write_rows(under(clear, NEW), FileName("fraud-labels", date(1970, 1, 1), 0, 0, 2), rows)

    found = read(under(clear, NEW), "fraud-labels", Kind.LABELS)
    assert found["user_id"].to_pylist() == names(rows["user_id"])
    assert found["key"].to_pylist() == names(rows["key"])
    assert found["key"][0] == found["user_id"][0] != found["key"][1]
    assert found["key"][2].as_py() is None
    assert read_sql(under(clear, NEW), "fraud-labels", Kind.LABELS) == found


def test_what_the_monitor_keeps_of_a_user_is_the_hash_of_a_pseudonym() -> None:
    score = {
        "created_at": "2026-01-31T00:00:00Z",
        "scored_at": "2026-01-31T00:00:00Z",
        "model_version": "v1",
        "fraud_probability": 0.5,
        "lstm_score": 50,
        "sequence_anomaly": False,
        "insufficient_history": False,
        "window_length": 1,
        "profile_day": None,
    }
    users = ["user-1", "user-2", "user-1"]
    values = [
        json.dumps({**score, "transaction_id": f"t{place}", "user_id": user}).encode()
        for place, user in enumerate(users)
    ]
    records = Records([0, 1, 2], [0] * 3, [user.encode() for user in users], values, [{}] * 3)
    [clear], [kept] = (keep(Kind.SCORES, records, named).by_day.values() for named in (CLEAR, NEW))
    assert kept["user"].tolist() == transaction_hashes(np.array(NEW.of(list(records.keys)), np.object_)).tolist()
    assert not set(kept["user"].tolist()) & set(clear["user"].tolist())
    kept["user"] = clear["user"]
    assert (kept == clear).all()


def test_files_of_several_generations_are_one_archive(clear: Archive) -> None:
    rows, archive = mixed(clear), under(clear, NEW)
    assert read(archive) == read_sql(archive) == renamed(rows)
    assert len(read(archive)["user_id"].unique()) == 10, "each user is one"


@pytest.mark.parametrize("reader", [CLEAR, OLD, OTHER])
def test_who_lacks_the_keys_is_told_which_file_and_what_to_do(clear: Archive, reader: Pseudonyms) -> None:
    mixed(clear)
    archive, has = under(clear, reader), reader.tag or "none"
    what = rf"0-29\.parquet names users under pseudonym keys {NEW.tag}, and TENFOLD_PSEUDONYM_KEYS has {has}: give"
    with pytest.raises(ArchiveError, match=what):
        read(archive)
    with open_labels(archive, TOPICS) as labels:
        query = labels.connection.sql("SELECT count(DISTINCT user_id) FROM transactions")
        with pytest.raises(ArchiveError, match=what), naming_the_file(archive, (T, Kind.TRANSACTIONS)):
            query.fetchall()
    for attempt in (rotate_topic, lambda archive, topic: sweep_topic(archive, topic, "user-1", dry_run=True)):
        if reader.keys or attempt is not rotate_topic:
            with pytest.raises(ArchiveError, match=what):
                attempt(archive, T)
    with pytest.raises(ArchiveError, match="pseudonym keys"):
        compact(archive, T, Kind.TRANSACTIONS, DAY)
    assert read(under(clear, NEW)) == renamed(mixed(clear)), "nothing has changed"
    [offsets, *_] = read_partition(archive, T, Kind.TRANSACTIONS, 0, columns=["offset"])
    assert len(offsets), "who asks for nobody's name needs no keys"


def test_the_same_offsets_are_the_same_file_under_any_keys(clear: Archive) -> None:
    rows = transactions(range(20))
    put(under(clear, OLD), rows)
    before = stored(clear)
    for pseudonyms in (NEW, OLD, CLEAR, OTHER):  # an archiver that is started again
        name = FileName(T, DAY, 0, 0, 19)
        assert write_rows(under(clear, pseudonyms), name, rows) == (name, 0)
    assert stored(clear) == before


def test_compaction_brings_a_day_under_the_newest_key(clear: Archive) -> None:
    rows, archive = mixed(clear), under(clear, NEW)
    assert compact(archive, T, Kind.TRANSACTIONS, DAY) == (6, 1)
    [table] = stored(clear).values()
    assert set(table[NAMED_UNDER.name].to_pylist()) == {NEW.tag}
    assert read(archive) == read_sql(archive) == renamed(rows)


def test_rotation_rewrites_what_is_older_and_only_that(clear: Archive) -> None:
    rows, archive = mixed(clear), under(clear, NEW)
    before = stored(clear)
    assert rotate_topic(archive, T) == Renamed(6, 4)
    after = stored(clear)
    assert after.keys() == before.keys()
    for path, table in after.items():
        assert set(table[NAMED_UNDER.name].to_pylist()) == {NEW.tag}
        assert table.drop([NAMED_UNDER.name, *OWNERS]).equals(
            before[path].drop([each for each in (NAMED_UNDER.name, *OWNERS) if each in before[path].schema.names])
        )
    assert read(archive) == read_sql(archive) == renamed(rows)
    assert rotate_topic(archive, T) == Renamed(6, 0)


def test_rotation_keeps_columns_that_this_release_does_not_know(clear: Archive) -> None:
    rows = transactions(range(10)).append_column("mood", pa.array(["good"] * 10))
    put(clear, rows)
    assert rotate_topic(under(clear, OLD), T) == Renamed(1, 1)
    [table] = stored(clear).values()
    assert table["mood"] == rows["mood"]


def test_rotation_tells_of_files_that_were_left_half_written(tmp_path: Path) -> None:
    archive = under(open_archive(str(tmp_path / "archive")), NEW)
    put(archive, transactions(range(10)))
    rotated = rotate(archive, [T], tables_beside(archive))
    assert not any("half-written" in line for line in report_lines(rotated))
    [file] = (tmp_path / "archive").rglob("*.parquet")
    (file.parent / f".{file.name}.1{UNFINISHED}").write_bytes(b"user-1")

    rotated = rotate(archive, [T], tables_beside(archive))
    assert rotated.unfinished_files == rotated.as_dict()["unfinished_files"] == 1
    assert "1 half-written file may hold" in report_lines(rotated)[-1]


def test_rotation_without_a_key_is_refused(clear: Archive) -> None:
    put(clear, transactions(range(3)))
    with pytest.raises(NoKeysError, match="TENFOLD_PSEUDONYM_KEYS is not set"):
        rotate(clear, [T], tables_beside(clear))


def test_killed_in_a_rotation_no_record_is_missing_or_doubled_and_a_rerun_does_the_rest(tmp_path: Path) -> None:
    clear = open_archive(str(tmp_path / "archive"))
    rows, archive = mixed(clear), under(clear, NEW)
    for file in (0, 1, 2, 0):
        with killed_at(file):
            rotate_topic(archive, T)
        assert len(archive.files(T)) == 6
        assert read(archive) == read_sql(archive) == renamed(rows)
    assert rotate_topic(archive, T) == Renamed(6, 1)
    assert {table[NAMED_UNDER.name][0].as_py() for table in stored(clear).values()} == {NEW.tag}
    assert read(archive) == read_sql(archive) == renamed(rows)


def test_a_file_that_is_rotated_behind_a_readers_back_is_not_brought_forward_twice(tmp_path: Path) -> None:
    archive = under(open_archive(str(tmp_path / "archive")), NEW)
    rows = transactions(range(100))
    put(under(archive, CLEAR), rows)
    reading = read_partition(archive, T, Kind.TRANSACTIONS, 0)
    query = relation_sql(archive, T, Kind.TRANSACTIONS)
    rotate_topic(archive, T)
    assert pa.concat_tables(reading) == renamed(rows)
    with connect(archive) as connection:
        found = connection.sql(query).order('"offset"').to_arrow_table()
    assert found.cast(rows.schema) == renamed(rows)


def make(past: Past, directory: Path, pseudonyms: Pseudonyms) -> tuple[Archive, Made]:
    """Return an archive of a past and what a training gets of it; under keys, its files are of three generations."""
    archive = open_archive(str(directory / "archive"))
    archive_past(past, archive)
    archive_scores(archive, [(each, TABLE_DAY) for each in past.payments[::3]], "v1")
    for keys, file in ((OLD, 40), (NEW, 20)) if pseudonyms.keys else ():
        with killed_at(file):
            rotate_topic(under(archive, keys), TOPICS.transactions)
    archive = under(archive, pseudonyms)
    columns = directory / "columns"
    columns.mkdir()
    return archive, dataset_of(archive, TOPICS, SCORES, WANTED, columns)


def test_training_gets_the_same_windows_features_contexts_and_labels(past: Past, tmp_path: Path) -> None:
    (tmp_path / "clear").mkdir()
    (tmp_path / "named").mkdir()
    clear, of_clear = make(past, tmp_path / "clear", CLEAR)
    named, of_named = make(past, tmp_path / "named", NEW)
    tags = {
        table.schema.names.count(NAMED_UNDER.name) and table[NAMED_UNDER.name][0].as_py()
        for table in stored(named).values()
    }
    assert tags == {0, OLD.tag, NEW.tag}

    its_name = {
        int(transaction_hashes(np.array([user.encode()], np.object_))[0]): int(
            transaction_hashes(np.array(NEW.of([user.encode()]), np.object_))[0]
        )
        for user in {payment.user for payment in past.payments}
    }
    for ours, theirs in zip(vars(of_clear.dataset).values(), vars(of_named.dataset).values(), strict=True):
        assert len(ours)
        assert (ours.windows.records == theirs.windows.records).all()
        assert (ours.windows.lengths == theirs.windows.lengths).all()
        assert (ours.features == theirs.features).all()
        assert (ours.context == theirs.context).all()
        assert (ours.is_fraud == theirs.is_fraud).all()
        assert [its_name[user] for user in ours.users.tolist()] == theirs.users.tolist()
    assert of_clear.summary == of_named.summary
    assert of_clear.profile_days == of_named.profile_days

    number = day_number(TABLE_DAY)
    with (
        open_profiles(clear, TOPICS, DEFINITION, first=number, last=number) as ours_of,
        open_profiles(named, TOPICS, DEFINITION, first=number, last=number) as theirs_of,
    ):
        ours, theirs = ours_of.table(number).to_pylist(), theirs_of.table(number).to_pylist()
    for row in ours:
        row["id"] = NEW.of([row["id"].encode()])[0].decode() if row["kind"] == "user" else row["id"]
    assert sorted(map(repr, ours)) == sorted(map(repr, theirs))


def test_tables_of_profiles_say_their_keys_and_rotate_to_what_would_be_built_anew(past: Past, tmp_path: Path) -> None:
    clear = open_archive(str(tmp_path / "archive"))
    archive_past(past, clear)
    build_table(clear, TOPICS, DEFINITION, TABLE_DAY, tables_beside(clear))
    archive = under(clear, OLD)
    assert read_table(tables_beside(archive), DEFINITION, TABLE_DAY).generation == 0

    rotated = rotate(archive, [TOPICS.transactions, TOPICS.labels], tables_beside(archive))
    assert rotated.profile_tables == Renamed(1, 1)
    assert all(each.rewritten == each.files > 0 for each in rotated.topics.values())
    table = read_table(tables_beside(archive), DEFINITION, TABLE_DAY)
    assert table.generation == 1
    users = table.rows.filter(pa.compute.equal(table.rows["kind"], "user"))["id"].to_pylist()
    assert users
    assert all(each.startswith("p1.") for each in users)
    assert rotate(archive, [TOPICS.transactions], tables_beside(archive)).profile_tables == Renamed(1, 0)

    elsewhere = under(open_archive(str(tmp_path / "elsewhere")), OLD)
    build_table(archive, TOPICS, DEFINITION, TABLE_DAY, elsewhere)
    path = table_path(DEFINITION, TABLE_DAY)
    assert Path(elsewhere.full(path)).read_bytes() == Path(tables_beside(archive).full(path)).read_bytes()

    with pytest.raises(ArchiveError, match=f"profiles.parquet names users under pseudonym keys {OLD.tag}"):
        read_table(tables_beside(clear), DEFINITION, TABLE_DAY)


def test_a_user_is_erased_under_every_name(clear: Archive) -> None:
    rows, archive = mixed(clear), under(clear, NEW)
    of_user = pa.compute.equal(rows["user_id"], "user-7")
    swept = sweep_topic(archive, T, "user-7", dry_run=False)
    assert swept.rows >= pa.compute.sum(of_user).as_py()
    assert swept.rewritten == 6
    assert read(archive) == read_sql(archive) == renamed(rows.filter(pa.compute.invert(of_user)))
    assert sweep_topic(archive, T, "user-7", dry_run=True).rows == 0


def test_a_users_tables_are_found_under_every_name(past: Past, tmp_path: Path) -> None:
    user = past.payments[0].user
    clear = open_archive(str(tmp_path / "archive"))
    archive_past(past, clear)
    for day, pseudonyms in ((TABLE_DAY, CLEAR), (date(2026, 3, 21), OLD), (date(2026, 3, 22), NEW)):
        archive = under(clear, pseudonyms)
        build_table(archive, TOPICS, DEFINITION, day, tables_beside(archive))
    assert sweep_tables(tables_beside(archive), "nobody", dry_run=False) == (3, 0)
    assert sweep_tables(tables_beside(archive), user, dry_run=False) == (3, 3)


def test_an_import_places_users_by_their_ids_and_names_them_afterwards(tmp_path: Path) -> None:
    history = [
        {"transaction_id": f"t{number}", "user_id": f"card-{number % 17}", "amount": "1", "is_fraud": number % 3 == 0}
        | {"created_at": f"2026-01-{1 + number % 28:02d} 12:00:00"}
        for number in range(200)
    ]
    file = written(tmp_path / "history.csv", history)
    clear, named = open_archive(str(tmp_path / "clear")), open_archive(str(tmp_path / "named"), NEW)
    for archive in (clear, named):
        imported(archive, file, label="is_fraud=is_fraud")
    assert [name.path for name in clear.files(T)] == [name.path for name in named.files(T)]
    assert read(named) == renamed(read(clear))
    topic = Settings.model_construct().labels_topic
    assert read(named, topic, Kind.LABELS) == renamed(read(clear, topic, Kind.LABELS))
    imported(under(named, OLD), file, label="is_fraud=is_fraud")  # again, with another list
    assert read(named) == renamed(read(clear))
