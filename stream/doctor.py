"""``tenfold doctor``: look at everything that a scorer needs, and say what is wrong and what to do about it.

It reads, and writes nothing but transactions that it aborts (:mod:`stream.doctor_rights`). Where a part is away, what
depends on it is left out: one cause is one finding.
"""

import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing

import redis
from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient

from models.spec import BundleSpec
from models.window import SEQUENCE_LENGTH, WINDOW_MAX_AGE_MS
from stream import doctor_group, doctor_marks, doctor_redis, doctor_rights, doctor_topics
from stream.clients import common_config, open_client, reader_config
from stream.doctor_finding import Finding, Severity, checked, error, is_forbidden
from stream.doctor_model import check_archive, check_bundle, check_store, has_challenger
from stream.doctor_settings import judge_settings, judge_ttl
from stream.doctor_topics import Topic
from stream.kafka_token import NoTokenError
from stream.members import Member, look_at_members
from stream.plurals import count_of
from stream.redis_client import RedisAwayError, why_unusable
from stream.settings import Settings
from stream.window_store import WindowStore, open_store

_MARKS = {Severity.OK: "ok", Severity.NOTE: "note", Severity.WARNING: "WARNING", Severity.ERROR: "ERROR"}
_COLOURS = {Severity.OK: "green", Severity.NOTE: "cyan", Severity.WARNING: "yellow", Severity.ERROR: "bold red"}


def examine(settings: Settings, users: int | None, *, write: bool) -> list[Finding]:
    """Return what is found; ``users`` is how many are expected, ``write`` whether aborted transactions are tried.

    Raises:
        SettingsError: an option is refused by librdkafka or redis-py.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    findings = list(judge_settings(settings, cores))
    proved, spec = check_bundle(settings)
    findings += [*proved, *checked("model store", lambda: check_store(settings))]
    findings += checked("archive", lambda: check_archive(settings))
    store, of_redis = _look_at_redis(settings, users, spec)
    findings += of_redis
    try:
        with closing(open_client(Consumer, reader_config(settings))) as reader:
            admin = open_client(AdminClient, common_config(settings))
            findings += _look_at_kafka(reader, admin, store, settings, spec, cores, write=write)
    except NoTokenError as failed:
        findings.append(_unanswered("Kafka", failed))
    if store is not None:
        store.client.close()
    return findings


def exit_code(findings: Sequence[Finding], *, strict: bool) -> int:
    """Return 1 if there is an error or, with ``strict``, a warning; else 0."""
    return int(any(each.severity >= (Severity.WARNING if strict else Severity.ERROR) for each in findings))


def report_lines(findings: Sequence[Finding]) -> list[str]:
    """Return the findings as plain lines, the worst last, and a count."""
    lines = []
    for each in sorted(findings, key=lambda finding: finding.severity):
        lines.append(f"{_MARKS[each.severity]:7} {each.code}: {each.what}")
        lines += [f"        -> {each.fix}"] if each.fix else []
        lines += [f"           {each.command}"] if each.command else []
    return [*lines, summary(findings)]


def print_findings(findings: Sequence[Finding]) -> None:
    """Print what :func:`report_lines` tells in colour: the worst last, where a terminal ends.

    It is broken between words, but for a command: that is one line to whoever copies it.
    """
    from rich.console import Console  # noqa: PLC0415 -- only for who looks at a terminal
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    for each in sorted(findings, key=lambda finding: finding.severity):
        table = Table.grid(padding=(0, 1))
        table.add_column(width=max(map(len, _MARKS.values())))
        mark = Text(_MARKS[each.severity], style=_COLOURS[each.severity])
        fix = [("\n-> " + each.fix, "cyan")] if each.fix else []
        table.add_row(mark, Text.assemble((each.code, "bold"), ": ", each.what, *fix))
        console.print(table)
        if each.command:
            console.print(Text(f"           {each.command}", style="cyan"), soft_wrap=True)
    console.print(summary(findings))


def summary(findings: Sequence[Finding]) -> str:
    """Return how many there are of each severity."""
    counts = Counter(each.severity for each in findings)
    bad = [count_of(counts[each], each.name.lower()) for each in (Severity.ERROR, Severity.WARNING, Severity.NOTE)]
    return ", ".join([*bad, f"{counts[Severity.OK]} ok"])


def _look_at_redis(
    settings: Settings, users: int | None, spec: BundleSpec | None
) -> tuple[WindowStore | None, list[Finding]]:
    """Return the store, ``None`` if Redis does not answer."""
    try:
        store = open_store(settings, spec.sequence_length if spec else SEQUENCE_LENGTH)
        store.ping()
    except (RedisAwayError, redis.RedisError) as failed:
        cause = failed.__cause__ if isinstance(failed, RedisAwayError) else failed
        return None, [error("redis-away", *why_unusable(settings, cause or failed))]
    findings = checked("Redis", lambda: doctor_redis.check_redis(store.client, settings, users))
    findings += checked("writing to Redis", lambda: doctor_redis.check_rights(store.client, settings))
    return store, findings + checked("Redis' clock", lambda: doctor_redis.check_clock(store.client))


def _look_at_kafka(
    reader: Consumer,
    admin: AdminClient,
    store: WindowStore | None,
    settings: Settings,
    spec: BundleSpec | None,
    cores: int,
    *,
    write: bool,
) -> list[Finding]:
    names = [settings.input_topic, settings.output_topic, settings.dlq_topic]
    if has_challenger(settings):
        names.append(settings.shadow_topic)
    try:
        topics = doctor_topics.look_at_topics(reader, admin, settings, names)
    except KafkaException as failed:
        return [_unanswered("the topics", failed)]
    findings, found = list(topics.findings), topics.found
    if not topics.brokers:
        return findings
    for topic in found.values():
        findings += doctor_topics.judge_topic(topic, topics.brokers, settings)
    members, of_group = _members(admin, settings)
    findings += of_group
    scorers = doctor_group.scorers_among(members or [], settings)
    source, dead_letters = found.get(settings.input_topic), found.get(settings.dlq_topic)
    needed_ms = spec.window_max_age_ms if spec else WINDOW_MAX_AGE_MS
    if source is not None:
        findings += doctor_topics.judge_input(source, settings, cores, scorers, needed_ms)
        findings += judge_ttl(settings.window_ttl_days, needed_ms, source.retention_ms)
        now_ms = time.time_ns() // 1_000_000
        findings += checked("newest records", lambda: doctor_topics.check_timestamps(admin, source, now_ms))
        findings += checked("reading", lambda: doctor_rights.check_reading(settings))
        if dead_letters is not None:
            findings += doctor_topics.judge_sizes(source, dead_letters, settings)
    if source is not None and store is not None and members is not None:
        findings += checked("marks", lambda: _of_marks(reader, admin, store, settings, source, scorers))
    if write and settings.delivery == "exactly-once":
        outputs = [name for name in found if name != settings.input_topic]
        commit = members == [] and source is not None
        findings += checked("writing", lambda: doctor_rights.check_writing(settings, outputs, commit=commit))
    return findings


def _members(admin: AdminClient, settings: Settings) -> tuple[list[Member] | None, list[Finding]]:
    """Return who is in the scorers' group, ``None`` if that is not to be had."""
    try:
        members = look_at_members(admin, settings.group_id)
    except KafkaException as failed:
        if is_forbidden(failed.args[0]):
            return None, [doctor_group.refused_group(settings.group_id, failed)]
        return None, [_unanswered(f"group {settings.group_id}", failed)]
    return members, list(doctor_group.judge_members(members, settings))


def _unanswered(subject: str, failed: KafkaException) -> Finding:
    cause = failed.args[0]
    told = f"{subject}: could not be looked at (Kafka: {cause.name()}, {cause.str()})"
    return error("check-failed", told, "mend that, and run the doctor again")


def _of_marks(
    reader: Consumer, admin: AdminClient, store: WindowStore, settings: Settings, topic: Topic, scorers: int
) -> list[Finding]:
    if foreign := list(doctor_marks.check_kafka(admin, store, settings)):
        return foreign  # marks and offsets are not of each other
    standings = doctor_marks.look_at_partitions(reader, admin, store, settings, topic.partitions)
    return [
        *doctor_marks.judge_standings(standings, settings, scorers),
        *doctor_marks.judge_keys(standings, settings),
    ]
