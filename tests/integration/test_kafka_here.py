"""``make kafka``: what it lends out is real, goes when it is told to, and leaves nothing behind."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.kafka_here import new_kafka
from tests.kafka_jars import PartMissingError
from tests.pages import ROOT
from tests.processes import accepts_connections, free_port

LEND = [sys.executable, "-m", "tests.kafka_here"]
_IGNORE = """
import os, signal, sys
signal.signal(signal.Signals[sys.argv[1]], signal.SIG_IGN)
os.execv(sys.argv[2], sys.argv[2:])
"""


@contextmanager
def lending(
    scratch: Path, ignored: signal.Signals | None = None
) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Yield the process once it says that it is up, and what it says to export.

    It inherits that a signal is ``ignored``.
    """
    scratch.mkdir()
    environment = os.environ | {"TMPDIR": str(scratch)}
    ignore = [sys.executable, "-c", _IGNORE, ignored.name, *LEND] if ignored else LEND
    with subprocess.Popen(ignore, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told = ""
            while "Ctrl-C stops both" not in told:
                line = process.stdout.readline()
                assert line, f"it ended before it was up: {told}"
                told += line
            yield process, dict(re.findall(r"^export (\w+)=(\S+)$", told, re.MULTILINE))
        finally:
            process.kill()


@pytest.mark.broker
@pytest.mark.parametrize(
    ("number", "ignored"),
    [
        (signal.SIGINT, signal.SIGINT),  # a script's `make kafka &`
        (signal.SIGTERM, signal.SIGHUP),  # nohup, and then the terminal's end
        (signal.SIGHUP, None),
    ],
)
def test_kafka_and_redis_are_lent_until_a_signal(
    number: signal.Signals, ignored: signal.Signals | None, tmp_path: Path
) -> None:
    try:
        new_kafka(tmp_path)
    except PartMissingError as missing:
        pytest.skip(str(missing))
    with lending(tmp_path / "scratch", ignored) as (process, exported):
        if ignored not in (None, number):
            process.send_signal(ignored)
        assert set(exported) == {"TENFOLD_BOOTSTRAP_SERVERS", "TENFOLD_REDIS_URL"}
        made = subprocess.run(
            [sys.executable, "-m", "stream", "topics", "create", "--partitions", "2"],
            env=os.environ | exported,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "transactions: created" in made.stdout
        with redis.Redis.from_url(exported["TENFOLD_REDIS_URL"]) as client:
            assert client.ping()
        process.send_signal(number)
        assert process.wait(30) == 0
    ports = [int(re.findall(r":(\d+)", address)[0]) for address in exported.values()]
    assert not any(map(accepts_connections, ports))
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_port_that_everybody_knows_is_taken_if_it_is_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        port = taken.getsockname()[1]
        taken.listen()
        assert free_port(port) != port
    assert free_port(port) == port


def test_who_has_neither_docker_nor_java_is_told_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "redis-server").symlink_to("/bin/true")
    environment = {"PATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    told = subprocess.run(LEND, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert told.returncode == 1
    assert "no Java" in told.stderr
    assert "apt-get install default-jre-headless maven" in told.stderr
    assert "Traceback" not in told.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["redis-server"]
