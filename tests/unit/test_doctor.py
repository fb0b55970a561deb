"""What the doctor makes of what it has been told; on real parts in tests/integration/test_doctor.py."""

import re
import shlex
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from stream.doctor import examine, exit_code, report_lines
from stream.doctor_finding import Finding, Severity, checked, error, note, ok, warning
from stream.doctor_group import judge_members
from stream.doctor_marks import Standing, judge_keys, judge_standings
from stream.doctor_redis import WINDOW_BYTES, judge_latency, judge_memory, judge_server, judge_skew
from stream.doctor_settings import judge_settings, judge_ttl
from stream.doctor_topics import Topic, judge_input, judge_sizes, judge_topic
from stream.errors import TenfoldError
from stream.members import Member
from stream.recovery import Cause, Found, plan
from stream.settings import Settings, load
from stream.window_store import Mark

DAY_MS = 86_400_000
GIB = 2**30


def bad(findings: Iterable[Finding]) -> list[str]:
    return [each.code for each in findings if each.severity >= Severity.WARNING]


def topic(partitions: int = 6, replicas: int = 3, **config: str) -> Topic:
    its = {"min.insync.replicas": "2", "cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
    its |= {"max.message.bytes": "1048588"}
    return Topic("payments", partitions, replicas, [], its | {each.replace("_", "."): config[each] for each in config})


@pytest.mark.parametrize(
    ("replicas", "brokers", "config", "found"),
    [
        (3, 3, {}, []),
        (1, 1, {"min_insync_replicas": "1"}, []),
        (1, 3, {"min_insync_replicas": "1"}, ["one-replica"]),
        (3, 3, {"min_insync_replicas": "1"}, ["insync-loose"]),
        (3, 3, {"min_insync_replicas": "3"}, ["insync-tight"]),
        (2, 3, {"min_insync_replicas": "3"}, ["too-few-replicas"]),
        (3, 3, {"cleanup_policy": "compact,delete"}, ["compacted"]),
    ],
)
def test_a_topic_survives_a_broker(replicas: int, brokers: int, config: dict[str, str], found: list[str]) -> None:
    assert bad(judge_topic(topic(replicas=replicas, **config), brokers, Settings())) == found


@pytest.mark.parametrize("least", ["1", "2"])
def test_of_two_replicas_no_setting_is_advised_that_would_be_warned_of_next(least: str) -> None:
    [finding] = judge_topic(topic(replicas=2, min_insync_replicas=least), 3, Settings())

    assert not finding.command
    assert "give it three" in finding.fix


def test_what_is_advised_can_be_typed_and_done_on_the_brokers_there_are() -> None:
    settings = Settings(bootstrap_servers="a:1, b:2")
    [few] = judge_topic(topic(replicas=1, min_insync_replicas="1"), 2, settings)
    [loose] = judge_topic(topic(min_insync_replicas="1"), 3, settings)

    assert "--replication 2" in few.fix
    assert shlex.split(loose.command)[1:3] == ["--bootstrap-server", "a:1, b:2"]


def test_a_topic_whose_configuration_is_not_to_be_seen_is_not_judged_by_it() -> None:
    unseen = topic()._replace(config=None)

    assert [each.code for each in judge_topic(unseen, 3, Settings())] == ["not-seen"]
    assert bad(judge_input(unseen, Settings(), 2, 0, 90 * DAY_MS)) == []
    assert bad(judge_sizes(unseen, unseen, Settings())) == []


@pytest.mark.parametrize(
    ("config", "archive", "found"),
    [
        ({}, "", []),
        ({"retention_ms": str(90 * DAY_MS)}, "", []),
        ({"retention_ms": str(90 * DAY_MS - 1)}, "", ["retention-short"]),
        ({"retention_ms": str(DAY_MS)}, "/srv/archive", []),
        ({"retention_bytes": "1000"}, "", ["retention-bytes"]),
    ],
)
def test_the_input_keeps_what_a_rebuild_needs(config: dict[str, str], archive: str, found: list[str]) -> None:
    assert bad(judge_input(topic(**config), Settings(archive=archive), 2, 0, 90 * DAY_MS)) == found


def test_partitions_are_held_against_scorers_and_cores() -> None:
    def found(partitions: int, members: int) -> list[str]:
        judged = judge_input(topic(partitions), Settings(), 4, members, DAY_MS)
        return [each.code for each in judged if each.severity > Severity.OK]

    assert found(4, 4) == []
    assert found(3, 0) == ["few-partitions"]
    assert found(4, 5) == ["idle-scorers"]
    assert found(1, 1) == ["one-partition"]


def test_a_dead_letter_is_larger_than_its_input() -> None:
    assert bad(judge_sizes(topic(), topic(max_message_bytes="2097176"), Settings())) == []
    assert bad(judge_sizes(topic(), topic(), Settings())) == ["dead-letters-cut"]


def server(**changes: Any) -> dict[str, Any]:
    return {"redis_version": "7.4.1", "maxmemory_policy": "noeviction", "role": "master", "used_memory": GIB, **changes}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, []),
        ({"maxmemory_policy": "volatile-lru"}, ["redis-evicts"]),
        ({"role": "slave"}, ["redis-replica"]),
        ({"loading": 1}, ["redis-loading"]),
        ({"rdb_last_bgsave_status": "err"}, ["redis-cannot-persist"]),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, ["redis-cannot-persist"]),
    ],
)
def test_a_server_is_judged_by_what_it_says_of_itself(changes: dict[str, Any], found: list[str]) -> None:
    assert bad(judge_server(server(**changes), Settings())) == found


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("redis://cache.internal:6380/2", "redis-cli -h cache.internal -p 6380 CONFIG SET {}"),
        ("redis://u:s3@cache:6380/2", "redis-cli -h cache -p 6380 --user u --askpass CONFIG SET {}"),
        ("redis://:s3@cache", "redis-cli -h cache -p 6379 --askpass CONFIG SET {}"),
        ("redis://", "redis-cli -h localhost -p 6379 CONFIG SET {}"),
        ("rediss://cache:6380", ""),
        ("unix:///run/redis.sock", ""),
        ("redis+cluster://a:6379,b:6379", ""),
        ("redis+sentinel://a:26379/main", ""),
    ],
)
def test_the_command_against_eviction_is_for_the_redis_that_was_asked(url: str, command: str) -> None:
    settings = Settings(redis_url=SecretStr(url))
    found = {each.code: each for each in judge_server(server(maxmemory_policy="volatile-lru"), settings)}

    assert found["redis-evicts"].command == command.format("maxmemory-policy noeviction")


def test_the_command_against_eviction_asks_for_the_password_of_the_settings() -> None:
    settings = Settings(redis={"username": "scorer", "password": "s3"})
    [_, evicts, *_] = judge_server(server(maxmemory_policy="volatile-lru"), settings)

    assert "--user scorer --askpass CONFIG" in evicts.command


def test_eviction_that_was_allowed_is_told_once_by_the_settings() -> None:
    assert bad(judge_server(server(maxmemory_policy="allkeys-lru"), Settings(allow_eviction=True))) == []
    assert bad(judge_settings(Settings(allow_eviction=True), 8)) == ["eviction-allowed"]


@pytest.mark.parametrize(
    ("maxmemory", "users", "found"),
    [
        (2 * GIB, None, []),
        (GIB + GIB // 10, None, ["redis-nearly-full"]),
        (GIB // 2, None, ["redis-too-small"]),
        (GIB, GIB // WINDOW_BYTES // 2, []),
        (GIB, GIB // WINDOW_BYTES + 1, ["redis-too-small"]),
        (0, 10**9, ["redis-too-small"]),
    ],
)
def test_windows_fit_by_the_bytes_that_were_measured(maxmemory: int, users: int | None, found: list[str]) -> None:
    assert bad(judge_memory(server(maxmemory=maxmemory, total_system_memory=8 * GIB), 1, users)) == found


def test_redis_is_slow_if_half_of_its_answers_are() -> None:
    assert bad(judge_latency([0.2] * 98 + [80.0] * 2)) == []
    assert bad(judge_latency([0.2] * 40 + [8.0] * 60)) == ["redis-slow"]


def test_clocks_may_differ_by_what_the_question_took() -> None:
    assert bad(judge_skew(105.0, before=100.0, after=110.0)) == []
    assert bad(judge_skew(98.0, before=100.0, after=110.0)) == ["clock-skew"]
    assert bad(judge_skew(112.0, before=100.0, after=110.0)) == ["clock-skew"]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, []),
        ({"runtime_threads": 9}, ["threads-over-cores"]),
        ({"outage_limit_s": 5}, ["outage-limit-short"]),
        ({"kafka": {"security.protocol": "SASL_PLAINTEXT"}}, ["password-in-clear"]),
        ({"kafka": {"enable.ssl.certificate.verification": "false"}}, ["certificate-not-verified"]),
        ({"kafka": {"transaction.timeout.ms": "600000"}}, ["transaction-timeout-long"]),
        ({"kafka": {"transaction.timeout.ms": "600000"}, "instance_id": "a"}, []),
        ({"kafka": {"retry.backoff.ms": "100"}}, ["retry-backoff-long"]),
    ],
)
def test_settings_that_are_unwise_together_are_named(given: dict[str, Any], found: list[str]) -> None:
    assert bad(judge_settings(Settings(**given), 8)) == found


def test_redis_keeps_windows_for_as_long_as_they_count_and_events_may_wait() -> None:
    assert bad(judge_ttl(180, 90 * DAY_MS, 7 * DAY_MS)) == []
    assert bad(judge_ttl(96, 90 * DAY_MS, 7 * DAY_MS)) == ["window-ttl-short"]
    assert bad(judge_ttl(90, 90 * DAY_MS, None)) == []


def standing(partition: int, mark: int | None, committed: int | None, *, start: int = 0, epoch: str = "e") -> Standing:
    found = Found("id", None if mark is None else Mark("id", epoch, mark), committed, start, 100)
    return Standing(partition, found, plan(found, "earliest"))


def test_what_a_start_would_do_is_one_finding_for_each_cause() -> None:
    standings = [standing(0, None, 60), standing(1, 50, 50), standing(2, None, 80)]
    [lost, goes_on, lag] = judge_standings(standings, Settings(archive="/srv/archive"), 2)

    assert (lost.severity, lost.code) == (Severity.WARNING, f"start-{Cause.WINDOWS_LOST}")
    assert "would rebuild 2 partitions (0, 2) from archive and log" in lost.what
    assert (goes_on.severity, goes_on.code) == (Severity.OK, "start-none")
    assert lag.what == "2 scorers running, 110 offsets not scored yet (by partition 0: 40, 1: 50, 2: 20)"


@pytest.mark.parametrize(
    ("client_id", "holds", "own", "found"),
    [
        ("tenfold", {"transactions": [0, 1]}, {}, []),
        ("tenfold-a", {"transactions": [0, 1]}, {}, []),
        ("pay", {"transactions": [0, 1]}, {"client.id": "pay"}, []),
        ("pay", {"transactions": [0, 1]}, {}, ["stranger-in-group"]),
        ("tenfoldish", {"transactions": [2]}, {}, ["stranger-in-group"]),
        ("pay", {"refunds": [0]}, {}, []),
        ("pay", {}, {}, []),
    ],
)
def test_who_holds_partitions_of_the_input_topic_is_a_scorer_by_its_client_id(
    client_id: str, holds: dict[str, list[int]], own: dict[str, str], found: list[str]
) -> None:
    members = [Member("tenfold", "10.0.0.1", {"transactions": [3]}), Member(client_id, "10.0.0.2", holds)]
    findings = list(judge_members(members, Settings(kafka=own)))

    assert [each.code for each in findings] == found
    assert all(each.severity is Severity.WARNING and f"{client_id} (10.0.0.2)" in each.what for each in findings)


def test_lost_events_are_an_error_and_counted() -> None:
    [lost, _] = judge_standings([standing(0, 10, 10, start=30)], Settings(), 0)

    assert (lost.severity, lost.code) == (Severity.ERROR, "start-events-lost")
    assert "20 events lost" in lost.what


def test_every_cause_of_the_table_has_words() -> None:
    for cause in Cause:
        its = standing(0, 5, 5)
        told, _ = judge_standings([its._replace(plan=plan_of(cause))], Settings(), 0)
        assert told.code == f"start-{cause}"
        assert told.severity < Severity.WARNING or told.fix


def plan_of(cause: Cause) -> Any:
    return replace(standing(0, 5, 5).plan, cause=cause)


def test_windows_under_keys_that_are_not_given_are_an_error() -> None:
    assert bad(judge_keys([standing(0, 5, 5)], Settings())) == []
    assert bad(judge_keys([standing(0, 5, 5, epoch="e.p1-abcdef")] * 2, Settings())) == ["pseudonym-keys"]


@pytest.mark.parametrize(
    ("raised", "severity", "code"),
    [
        (redis.exceptions.NoPermissionError("no time"), Severity.NOTE, "not-seen"),
        (redis.ConnectionError("gone"), Severity.ERROR, "check-failed"),
        (TenfoldError("no archive"), Severity.ERROR, "check-failed"),
    ],
)
def test_a_check_that_cannot_be_made_is_a_finding(raised: Exception, severity: Severity, code: str) -> None:
    def fails() -> list[Finding]:
        raise raised

    [finding] = checked("something", fails)
    assert (finding.severity, finding.code) == (severity, code)
    assert str(raised) in finding.what


def test_the_rest_is_told_where_a_command_gives_no_token_for_kafka() -> None:
    settings = load(
        kafka={"security.protocol": "sasl_plaintext", "sasl.mechanism": "OAUTHBEARER"},
        kafka_token_command=shlex.join([sys.executable, "-c", "raise SystemExit('nobody is logged in')"]),
        redis_url="redis://127.0.0.1:1/0",
    )
    found = {each.code: each.what for each in examine(settings, None, write=False)}

    assert "redis-away" in found
    assert "it ended with 1: nobody is logged in" in found["check-failed"]


def test_only_errors_fail_unless_strict() -> None:
    fine, known, unwise, broken = ok("a", "a"), note("b", "b"), warning("c", "c", "do"), error("d", "d", "do")

    assert [exit_code([fine, known, each], strict=False) for each in (fine, unwise, broken)] == [0, 0, 1]
    assert [exit_code([fine, known, each], strict=True) for each in (fine, unwise, broken)] == [0, 1, 1]
    assert report_lines([broken._replace(command="do it"), fine]) == [
        "ok      a: a",
        "ERROR   d: d",
        "        -> do",
        "           do it",
        "1 error, 0 warnings, 0 notes, 1 ok",
    ]


def test_the_page_has_every_code() -> None:
    root = Path(__file__).parents[2]
    sources = "".join(file.read_text() for file in (root / "stream").glob("doctor*.py"))
    made = set(re.findall(r"\b(?:ok|note|warning|error)\(\s*\"([a-z-]+)\"", sources))
    rows = re.findall(r"^\| (`.*?`) \| [a-z, ]+ \| .* \|$", (root / "docs" / "doctor.md").read_text(), re.MULTILINE)
    told = {code for row in rows for code in re.findall(r"`([a-z-]+)`", row)}

    assert told == made | {f"start-{cause}" for cause in Cause}
