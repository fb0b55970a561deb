"""Archiver processes for tests, and what they must have archived: read from Kafka without the archiver's code."""

import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stream.pseudonyms import CLEAR, Pseudonyms
from tests.oracle import BAD, read_topic
from tests.processes import ChildProcess, free_port, http_get
from training.archive import Archive, Kind, open_archive, partitions
from training.archive_reader import read_partition

Row = dict[str, Any]
Place = tuple[int, int]  # partition, offset


@dataclass
class Archiving:
    """Topics and a group of their own, an archive, and the archivers that serve them."""

    bootstrap: str
    group_id: str
    directory: Path
    topics: dict[Kind, str]
    settings: dict[str, str] = field(default_factory=dict)
    pseudonyms: Pseudonyms = CLEAR  # of who reads; those of archivers are in the settings
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def archive(self) -> Archive:
        """What is archived by now."""
        return open_archive(str(self.directory / "archive"), self.pseudonyms)

    def archiver(
        self, *options: str, ending: tuple[str, int] | None = None, with_signal: str = "SIGKILL"
    ) -> "ArchiverProcess":
        """Start one more archiver. One that is ``ending`` does it at a point, when it comes there the N-th time."""
        port = free_port()
        settings = {
            "BOOTSTRAP_SERVERS": self.bootstrap,
            "GROUP_ID": self.group_id,
            "INPUT_TOPIC": self.topics[Kind.TRANSACTIONS],
            "LABELS_TOPIC": self.topics[Kind.LABELS],
            "OUTPUT_TOPIC": self.topics[Kind.SCORES],
            "METRICS_PORT": str(port),
            "ARCHIVE": str(self.directory / "archive"),
            **self.settings,
        }
        assignments = [f"TENFOLD_{name}={value}" for name, value in settings.items()]
        unset = [option for name in os.environ if name.startswith("TENFOLD_") for option in ("-u", name)]
        module = ["stream", "archive", "run"]
        if ending is not None:
            module = ["tests.integration.stopping_archiver", ending[0], str(ending[1]), with_signal]
        command = ["env", *unset, *assignments, sys.executable, "-m", *module, *options]
        return ArchiverProcess(command, self.directory / f"archiver-{next(self._numbers)}.log", port)

    def read(self, kind: Kind) -> list[Row]:
        """Return what is archived, as replay reads it."""
        archive, topic = self.archive, self.topics[kind]
        return [
            row
            for partition in partitions(archive.files(topic))
            for table in read_partition(archive, topic, kind, partition)
            for row in table.to_pylist()
        ]

    def wait_until_archived(self, archivers: "list[ArchiverProcess]", timeout_s: float = 120) -> None:
        """Return once each of ``archivers``, which together own all partitions, has nothing left to archive.

        Raises:
            AssertionError: one ended, or it took longer than ``timeout_s``.
        """
        deadline = time.monotonic() + timeout_s
        expected = {kind: set(self.expected(kind)) for kind in self.topics}
        while any({place(row) for row in self.read(kind)} != expected[kind] for kind in self.topics):
            for archiver in archivers:
                assert archiver.process.running, f"an archiver ended:\n{archiver.log_text[-3000:]}"
            assert time.monotonic() < deadline, f"not archived after {timeout_s} s:\n{archivers[0].log_text[-3000:]}"
            time.sleep(0.2)

    def expected(self, kind: Kind) -> dict[Place, Row]:
        """Return what must be archived of a topic: the committed records that were not made bad on purpose."""
        found = {}
        for message in read_topic(self.bootstrap, self.topics[kind]):
            headers = dict(message.headers() or [])
            if BAD in headers:
                continue
            row: Row = json.loads(message.value())
            row |= {name: _time(row[name]) for name in ("created_at", "labelled_at", "scored_at") if name in row}
            row["kafka_timestamp"] = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
            row["key"] = message.key().decode()
            if kind is Kind.SCORES:
                if "reasons" in row:
                    row["reasons"] = [reason["name"] for reason in row["reasons"]]
                row["source_topic"] = headers["source-topic"].decode()
                row |= {f"source_{name}": int(headers[f"source-{name}"]) for name in ("partition", "offset")}
            found[message.partition(), message.offset()] = row
        return found

    def check(self) -> None:
        """Hold the archive against the topics.

        Raises:
            AssertionError: a record is missing, there twice, or different.
        """
        for kind, topic in self.topics.items():
            rows, expected = self.read(kind), self.expected(kind)
            assert [place(row) for row in rows] == sorted(expected), f"{topic}: missing, doubled or in another order"
            for row in rows:
                wanted = expected[place(row)]
                assert {name: row[name] for name in wanted} == wanted
            for name in self.archive.files(topic):
                with self.archive.open_file(name) as file:
                    days = {time.date() for time in file.read(["kafka_timestamp"])["kafka_timestamp"].to_pylist()}
                assert days == {name.day}, "the date is the record's"


def place(row: Row) -> Place:
    """Return where a row was in its topic."""
    return row["partition"], row["offset"]


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


class ArchiverProcess:
    """One ``tenfold archive run``."""

    def __init__(self, command: list[str], log: Path, port: int) -> None:
        self._log, self._port = log, port
        self.process = ChildProcess(command, log)

    @property
    def log_text(self) -> str:
        """What it has logged."""
        return self._log.read_text()

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body of an HTTP path; status 0 where nothing answers."""
        return http_get(self._port, path)

    def metric(self, name: str) -> float:
        """Return the sum of a metric's samples over its labels."""
        lines = [line for line in self.get("/metrics")[1].splitlines() if line.split("{")[0].split(" ")[0] == name]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def wait_until(self, ready: Callable[[], bool]) -> "ArchiverProcess":
        """Return once ``ready()`` holds."""
        self.process.wait_until(ready, 60)
        return self

    def wait_until_ready(self) -> "ArchiverProcess":
        """Return once ``/readyz`` says so."""
        return self.wait_until(lambda: self.get("/readyz")[0] == 200)

    def stop(self) -> int:
        """Ask it to stop, as an orchestrator does; return its exit code."""
        return self.process.end(signal.SIGTERM)

    def wait_until_stopped(self) -> None:
        """Return once it has stopped itself."""
        status = Path(f"/proc/{self.process.pid}/stat")
        self.wait_until(lambda: status.read_text().rpartition(")")[2].split()[0] == "T")

    def wait_until_dead(self) -> None:
        """Return once it has killed itself.

        Raises:
            AssertionError: it came to another end.
        """
        code = self.process.wait(120)
        assert code == -signal.SIGKILL, f"ended with {code}:\n{self.log_text[-3000:]}"
