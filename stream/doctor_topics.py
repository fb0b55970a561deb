"""The topics: are they there, do they keep what they must, and do they survive a broker."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

from models.window import WINDOW_MAX_AGE_MS
from stream.clients import why_away
from stream.doctor_finding import Finding, error, is_forbidden, note, ok, warning
from stream.plurals import count_of
from stream.settings import Settings

_CALL_S = 10.0
_DAY_MS = 86_400_000
_AHEAD_MS = 5_000
_REPLICAS = 3  # of which one may be away and another one lost, with two in sync


class Topic(NamedTuple):
    """What Kafka says of a topic. ``config`` is ``None`` where this account may not ask for it."""

    name: str
    partitions: int
    replicas: int
    leaderless: Sequence[int]
    config: Mapping[str, str] | None

    @property
    def retention_ms(self) -> int | None:
        """How long records are kept; ``None`` if for ever, or not known."""
        value = int((self.config or {}).get("retention.ms", -1))
        return None if value < 0 else value


class Topics(NamedTuple):
    """What was found."""

    findings: list[Finding]
    found: dict[str, Topic]
    brokers: int


def look_at_topics(reader: Consumer, admin: AdminClient, settings: Settings, names: Sequence[str]) -> Topics:
    """Ask for the topics ``names``; nothing is judged but that they are there."""
    try:
        brokers = len(reader.list_topics(timeout=_CALL_S).brokers)
    except KafkaException as failed:
        why = why_away(reader, failed.args[0])
        fix = "start it, or set TENFOLD_BOOTSTRAP_SERVERS and TENFOLD_KAFKA__…"
        return Topics([error("kafka-away", f"Kafka at {settings.bootstrap_servers}: {why}", fix)], {}, 0)
    findings = [ok("kafka", f"Kafka at {settings.bootstrap_servers} answers, {count_of(brokers, 'broker')}")]
    missing, found = [], {}
    for name in names:
        told = reader.list_topics(name, _CALL_S).topics[name]
        if told.error is not None and is_forbidden(told.error):
            findings.append(_forbidden_topic(name, settings))
        elif not told.partitions:
            missing.append(name)
        else:
            parts = told.partitions.values()
            replicas = min(len(each.replicas) for each in parts)
            leaderless = [each.id for each in parts if each.leader < 0]
            found[name] = Topic(name, len(parts), replicas, leaderless, _config(admin, name))
    if missing:
        create = _creating(found, brokers, settings)
        findings.append(error("topic-missing", f"no topic {', '.join(missing)}", "create what is missing", create))
    if brokers == 1 and all(each.replicas == 1 for each in found.values()):
        findings.append(note("one-broker", "Kafka is one broker: while it is away nothing is scored"))
    return Topics(findings, found, brokers)


def judge_topic(topic: Topic, brokers: int, settings: Settings) -> Iterator[Finding]:
    """Yield whether a topic survives the loss of a broker; pure."""
    if topic.leaderless:
        yield error(
            "no-leader",
            f"{topic.name} has no leader for partitions {', '.join(map(str, topic.leaderless))}",
            "bring the brokers back that have them",
        )
    if topic.replicas == 1 and brokers > 1:
        most = min(_REPLICAS, brokers)
        yield warning(
            "one-replica",
            f"{topic.name} has one replica on {brokers} brokers: without the one that has it nothing is scored",
            f"give it {most} (kafka-reassign-partitions.sh); new topics: `tenfold topics create --replication {most}`",
        )
    if topic.config is None:
        yield note(
            "not-seen",
            f"{topic.name}: this account may not ask for its configuration",
            "look again with an administrator's account",
        )
        return
    least = int(topic.config.get("min.insync.replicas", 1))
    if least > topic.replicas:
        yield error(
            "too-few-replicas",
            f"{topic.name} asks for {least} replicas in sync, of {topic.replicas} that it has: nothing can be written",
            "lower min.insync.replicas, or add replicas",
            _setting(topic, "min.insync.replicas", max(topic.replicas - 1, 1), settings),
        )
    elif topic.replicas > 1 and least == topic.replicas:
        yield warning(
            "insync-tight",
            f"{topic.name} has {topic.replicas} replicas and needs all in sync: one broker away stops it",
            *_insync(topic, topic.replicas - 1, settings),
        )
    elif topic.replicas > 1 and least == 1:
        yield warning(
            "insync-loose",
            f"{topic.name} takes records that one replica has: losing that broker may lose them",
            *_insync(topic, 2, settings),
        )
    if "compact" in topic.config.get("cleanup.policy", "delete"):
        yield error(
            "compacted",
            f"{topic.name} is compacted: of each user only the last record stays",
            "set cleanup.policy to delete",
            _setting(topic, "cleanup.policy", "delete", settings),
        )


def judge_input(topic: Topic, settings: Settings, cores: int, scorers: int, needed_ms: int) -> Iterator[Finding]:
    """Yield whether the input can be shared out, and keeps what a rebuild needs: ``needed_ms`` of the past; pure."""
    if topic.partitions == 1:
        yield warning(
            "one-partition",
            f"{topic.name} has one partition: one scorer at most, and partitions that are added later move users",
            "add partitions while there are few users (docs/operations.md, Adding partitions)",
        )
    elif topic.partitions < cores:
        told = f"{topic.name} has {topic.partitions} partitions, and this machine {cores} cores: some stay idle"
        yield note("few-partitions", told)
    if scorers > topic.partitions:
        yield warning(
            "idle-scorers",
            f"{scorers} scorers share {count_of(topic.partitions, 'partition')}, and each partition has one: "
            f"{scorers - topic.partitions} more than have something to do",
            "stop those, or add partitions (docs/operations.md, Adding partitions)",
        )
    if topic.config is None:
        return
    retention_ms = topic.retention_ms
    kept_bytes = int(topic.config.get("retention.bytes", -1))
    if settings.archive:
        yield ok("retention", "what the input topic no longer has is rebuilt from the archive")
    elif retention_ms is not None and retention_ms < needed_ms:
        yield warning(
            "retention-short",
            f"{topic.name} keeps payments for {retention_ms / _DAY_MS:g} of the {needed_ms / _DAY_MS:g} days that "
            "windows reach back: were Redis lost, they would be rebuilt without what is older",
            "keep them for as long, or in an archive: `tenfold archive run`, TENFOLD_ARCHIVE (docs/archive.md)",
            _setting(topic, "retention.ms", needed_ms, settings),
        )
    elif kept_bytes >= 0:
        yield warning(
            "retention-bytes",
            f"{topic.name} keeps {kept_bytes:,} bytes a partition, however few days that is: were Redis lost, windows "
            "would be rebuilt without what is older",
            "keep by time alone, or in an archive: `tenfold archive run`, TENFOLD_ARCHIVE (docs/archive.md)",
            _setting(topic, "retention.bytes", -1, settings),
        )
    else:
        yield ok("retention", f"{topic.name} keeps what a rebuild needs")


def judge_sizes(source: Topic, dead_letters: Topic, settings: Settings) -> Iterator[Finding]:
    """Yield whether a dead letter fits: it is its input and the reason; pure."""
    name = "max.message.bytes"
    largest, fits = (int((each.config or {}).get(name, 0)) for each in (source, dead_letters))  # 0: not to be seen
    if 0 < fits <= largest:
        yield warning(
            "dead-letters-cut",
            f"{dead_letters.name} takes {fits:,} bytes and {source.name} {largest:,}: a large dead letter is cut",
            f"let {dead_letters.name} take twice as much",
            _setting(dead_letters, "max.message.bytes", 2 * largest, settings),
        )


def check_timestamps(admin: AdminClient, topic: Topic, now_ms: int) -> Iterator[Finding]:
    """Yield whether the input's newest record is of this machine's past.

    Raises:
        KafkaException: Kafka does not say.
    """
    newest = OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]
    asked = {TopicPartition(topic.name, each): newest for each in range(topic.partitions)}
    answers = admin.list_offsets(asked, request_timeout=_CALL_S).values()
    newest_ms = max(answer.result().timestamp for answer in answers)
    if newest_ms > now_ms + _AHEAD_MS:
        yield warning(
            "records-of-the-future",
            f"{topic.name} has a record that is {(newest_ms - now_ms) / 1000:.0f} s ahead of this machine's clock",
            "let producers, brokers and this machine follow NTP",
        )


def _insync(topic: Topic, least: int, settings: Settings) -> tuple[str, str]:
    """Return what to do, and the command for it where there is one: of two replicas no setting is right."""
    if topic.replicas < _REPLICAS:
        three = "give it three, on three brokers (kafka-reassign-partitions.sh), of which two are in sync"
        return f"{three}: of two, one is not enough, and both are too many", ""
    return f"set min.insync.replicas to {least}", _setting(topic, "min.insync.replicas", least, settings)


def _setting(topic: Topic, name: str, value: int | str, settings: Settings) -> str:
    kafka = f"--bootstrap-server {shlex.quote(settings.bootstrap_servers)}"
    return f"kafka-configs.sh {kafka} --alter --topic {topic.name} --add-config {name}={value}"


def _creating(found: Mapping[str, Topic], brokers: int, settings: Settings) -> str:
    """Return the command that creates what is missing beside what was ``found``, which it leaves as it is."""
    source = found.get(settings.input_topic)
    replicated = f" --replication {min(_REPLICAS, brokers)}" if brokers > 1 else ""
    kept = "" if source or settings.archive else f" --keep-days {WINDOW_MAX_AGE_MS // _DAY_MS}"
    return f"tenfold topics create --partitions {source.partitions if source else 12}{replicated}{kept}"


def _config(admin: AdminClient, name: str) -> dict[str, str] | None:
    resource = ConfigResource(ResourceType.TOPIC, name)
    try:
        entries = admin.describe_configs([resource], request_timeout=_CALL_S)[resource].result()
    except KafkaException as failed:
        cause: KafkaError = failed.args[0]
        if is_forbidden(cause):
            return None
        raise
    return {key: entry.value for key, entry in entries.items() if entry.value is not None}


def _forbidden_topic(name: str, settings: Settings) -> Finding:
    operation = "Read" if name == settings.input_topic else "Write"
    return error("no-right", f"this account may not see topic {name}", f"allow {operation} on it (deploy/acls.md)")
