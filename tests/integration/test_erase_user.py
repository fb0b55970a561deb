"""``tenfold erase-user``, as a user runs it: on a real Redis and an archive of the archiver's own rows."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from models.context import ProfileDefinition
from models.window import Windows
from stream.contract import SOURCE_OFFSET, SOURCE_PARTITION, SOURCE_TOPIC, timestamp
from stream.profile_layout import ProfileKeys
from stream.window_store import Mark, Save, WindowStore
from tests.archives import DAY, start_ms
from tests.redis_servers import client_of
from training.archive import Archive, Kind, open_archive
from training.archive_buffer import Buffer
from training.archive_reader import read_partition
from training.archive_records import Records
from training.archive_writer import write_rows
from training.profiles import Topics
from training.profiles_publish import publish
from training.profiles_table import build_table, read_table
from training.replay import replay_partition

pytestmark = pytest.mark.broker

#: Who is erased. What the id matches as a pattern, and what ends with it, are other users.
ERASED = "a*[n]"
USERS = ["ann", f"shop:{ERASED}", ERASED, "axxn", "zoë"]
TABLE_DAYS = [DAY + timedelta(1), DAY + timedelta(2)]
DEFINITION = ProfileDefinition("UTC", 7)
KINDS = {"transactions": Kind.TRANSACTIONS, "fraud-labels": Kind.LABELS, "fraud-scores": Kind.SCORES}


def values(kind: Kind, number: int, user: str, at_ms: int) -> dict[str, object]:
    common = {"transaction_id": f"t{number}", "user_id": user}
    if kind is Kind.LABELS:
        return {**common, "is_fraud": number % 2 == 0, "labelled_at": timestamp(at_ms)}
    common["created_at"] = timestamp(at_ms)
    if kind is Kind.TRANSACTIONS:
        return {**common, "amount": number / 4, "merchant_id": f"m{number % 3}"}
    return {
        **common,
        "fraud_probability": 0.5,
        "lstm_score": 50,
        "sequence_anomaly": False,
        "insufficient_history": True,
        "window_length": 1,
        "profile_day": None,
        "model_version": "v1",
        "scored_at": timestamp(at_ms),
    }


def archive_topic(archive: Archive, topic: str, kind: Kind) -> None:
    """Archive two partitions over two days as the archiver does, seven records a file."""
    for partition in (0, 1):
        buffer = Buffer(topic, kind, partition, "a-topic-id-of-22-chars", 0, 0)
        for begin in range(0, 70, 7):
            records = Records()
            for offset in range(begin, begin + 7):
                user = USERS[(offset * 7 // 3) % len(USERS)]
                at_ms = start_ms(DAY) + offset * 2_000_000
                records.offsets.append(offset)
                records.timestamps_ms.append(at_ms)
                records.keys.append(user.encode())
                records.values.append(json.dumps(values(kind, 100 * partition + offset, user, at_ms)).encode())
                records.headers.append(
                    {SOURCE_TOPIC: b"transactions", SOURCE_PARTITION: b"%d" % partition, SOURCE_OFFSET: b"%d" % offset}
                )
            assert not buffer.add(records, 0.0)
            for name, rows in buffer.files():
                write_rows(archive, name, rows)
            buffer.done()


class Place:
    """An archive, tables of profiles in files and in Redis, windows, and the environment of the command."""

    def __init__(self, redis_url: str, group_id: str, directory: Path) -> None:
        self.client = client_of(redis_url)
        self.archive, self.tables = open_archive(str(directory / "archive")), open_archive(str(directory / "profiles"))
        self.group_id = group_id
        self.kinds = {f"{topic}-{group_id}": kind for topic, kind in KINDS.items()}
        self.input, labels, scores = self.kinds
        for topic, kind in self.kinds.items():
            archive_topic(self.archive, topic, kind)
        for day in TABLE_DAYS:
            build_table(self.archive, Topics(self.input, labels), DEFINITION, day, self.tables)
            table = read_table(self.tables, DEFINITION, day)
            publish(self.client, ProfileKeys(self.input, DEFINITION), table, datetime(2026, 2, 2, tzinfo=UTC))
        self.save_windows(self.group_id)
        self.environment = {
            "TENFOLD_REDIS_URL": redis_url,
            "TENFOLD_GROUP_ID": group_id,
            "TENFOLD_INPUT_TOPIC": self.input,
            "TENFOLD_LABELS_TOPIC": labels,
            "TENFOLD_OUTPUT_TOPIC": scores,
            "TENFOLD_ARCHIVE": str(directory / "archive"),
        }

    def save_windows(self, group_id: str) -> None:
        """Save a window of each user in two partitions, and in two epochs of each."""
        store = WindowStore(self.client, group_id, self.input, 10, ttl_s=1000)
        users = [user.encode() for user in USERS]
        for partition in (0, 11):
            mark = None
            for epoch in ("0d", "3f"):
                windows = Windows.empty(len(users))
                windows.lengths[:] = 1
                windows.records["amount"][:, 0] = np.arange(len(users))
                new = Mark("topic-id", epoch, 5)
                assert store.save([Save(partition, mark, new, users, windows)]) == [True]
                mark = new

    def in_redis(self) -> dict[bytes, Any]:
        """Return this test's keys and what they hold."""
        keys = [key for key in self.client.scan_iter("tenfold:*") if self.group_id.encode() in key]
        hashes = {key for key in keys if self.client.type(key) == b"hash"}
        return {key: self.client.hgetall(key) if key in hashes else self.client.get(key) for key in keys}

    def rows(self) -> dict[tuple[str, int], pa.Table]:
        """Return what is archived, by topic and partition."""
        return {
            (topic, partition): pa.concat_tables(read_partition(self.archive, topic, kind, partition)).combine_chunks()
            for topic, kind in self.kinds.items()
            for partition in (0, 1)
        }

    def replayed(self) -> dict[str, list[bytes]]:
        """Return the windows that training would see, by user, as bytes."""
        seen: dict[str, list[bytes]] = {}
        for partition in (0, 1):
            for chunk in replay_partition(
                self.archive, self.input, partition, sequence_length=10, max_age_ms=10**10, columns=["user_id"]
            ):
                for user, window in zip(chunk.rows["user_id"].to_pylist(), chunk.scored.records, strict=True):
                    seen.setdefault(user, []).append(window.tobytes())
        return seen

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TENFOLD_")}
        command = [sys.executable, "-m", "stream", "erase-user", *arguments]
        environment = inherited | self.environment
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def place(request: pytest.FixtureRequest, group_id: str, tmp_path: Path) -> Place:
    at = request.getfixturevalue(getattr(request, "param", "redis_url"))
    return Place(at if isinstance(at, str) else at.url, group_id, tmp_path)


@pytest.mark.parametrize("place", ["redis_url", "redis_nodes"], indirect=True)
def test_the_user_is_gone_everywhere_and_all_else_is_as_it_was(place: Place) -> None:
    rows, replayed, in_redis = place.rows(), place.replayed(), place.in_redis()
    told = place.run(ERASED, "--json")

    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout)
    after = place.rows()
    assert after == {where: table.filter(pc.not_equal(table["user_id"], ERASED)) for where, table in rows.items()}
    for topic in place.kinds:
        gone = sum(len(rows[topic, partition]) - len(after[topic, partition]) for partition in (0, 1))
        assert report["topics"][topic]["rows"] == gone > 0
    assert place.replayed() == {user: windows for user, windows in replayed.items() if user != ERASED}
    assert set(replayed) == set(USERS), "the others are there to be compared"

    kept = {
        key: {name: value for name, value in held.items() if name != ERASED.encode()}
        if isinstance(held, dict)
        else held
        for key, held in in_redis.items()
        if not key.endswith((f"}}:0d:{ERASED}".encode(), f"}}:3f:{ERASED}".encode()))
    }
    assert place.in_redis() == kept
    assert (report["windows"], report["profiles"]) == (len(in_redis) - len(kept), len(TABLE_DAYS)) == (4, 2)
    assert report["profile_tables"] == {"files": 2, "removed": 2}
    assert report["complete"]
    assert not any(report["left"].values())
    assert ERASED not in told.stdout + told.stderr


def test_again_and_for_nobody_there_is_nothing_to_do(place: Place) -> None:
    before = place.in_redis(), place.rows()
    told = place.run("nobody-at-all", "--json")
    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout)
    assert {each["rows"] for each in report["topics"].values()} == {0}
    assert all(each["files"] for each in report["topics"].values()), "they were looked at"
    assert (report["windows"], report["profiles"], report["profile_tables"]["removed"]) == (0, 0, 0)
    assert (place.in_redis(), place.rows()) == before

    assert place.run(ERASED).returncode == 0
    again = place.run(ERASED)
    assert again.returncode == 0
    assert "0 profiles and 0 windows removed" in again.stdout
    assert "a second look found nothing" in again.stdout
    assert "Kafka's topics" in again.stdout.partition("Not erased by this command:")[2]


def test_a_dry_run_says_what_would_be_and_changes_nothing(place: Place) -> None:
    before = place.in_redis(), place.rows()
    told = place.run(ERASED, "--dry-run")

    assert told.returncode == 0, told.stderr
    assert "2 profiles and 4 windows would be removed" in told.stdout
    assert "nothing was changed" in told.stdout
    assert ERASED not in told.stdout
    assert (place.in_redis(), place.rows()) == before
    assert place.tables.fs.glob(f"{place.tables.root}/*/*/profiles.parquet")


def test_windows_of_another_group_stay(place: Place) -> None:
    other = f"{place.group_id}:b"
    place.save_windows(other)
    assert place.run(ERASED).returncode == 0
    keys = [key for key in place.in_redis() if f"{{{other}:".encode() in key]

    assert len([key for key in keys if key.endswith(f":{ERASED}".encode())]) == 4 + 4, "two users' ids end so"


def test_what_may_still_hold_the_user_is_no_success(place: Place) -> None:
    directory = Path(place.archive.full(place.archive.files(place.input)[0].path)).parent
    (directory / ".half.unfinished").write_bytes(b"half")
    told = place.run(ERASED)

    assert told.returncode == 1
    assert "a second look found 1 unfinished file" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "words"),
    [
        (["x" * 129], {}, 2, "ID has 129 characters"),
        (["user-4711", "--archive", "elsewhere"], {}, 2, "there is no archive at"),
        (["user-4711"], {"TENFOLD_REDIS_URL": "redis://127.0.0.1:1/0"}, 1, "see TENFOLD_REDIS_URL and run it again"),
    ],
)
def test_what_cannot_be_is_one_line_and_changes_nothing(
    place: Place, arguments: list[str], settings: dict[str, str], code: int, words: str
) -> None:
    before = place.rows()
    place.environment |= settings
    refused = place.run(*arguments)

    assert (refused.returncode, refused.stderr.count("\n")) == (code, 1), refused.stderr
    assert words in refused.stderr
    assert arguments[0] not in refused.stderr
    assert place.rows() == before
