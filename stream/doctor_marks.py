"""Marks against offsets: what a start now would do, by the table of recovery; and the group's lag."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from stream.doctor_finding import Finding, Severity, error, note, ok
from stream.growth import begun_with
from stream.plurals import count_of
from stream.pseudonyms import PseudonymsError
from stream.recovery import Cause, Found, Plan, plan
from stream.same_kafka import WHAT_TO_DO, other_kafka
from stream.settings import Settings
from stream.topics import cluster_id, topic_id
from stream.window_store import WindowStore

_CALL_S = 10.0


class Standing(NamedTuple):
    """Where one partition is."""

    partition: int
    found: Found
    plan: Plan

    @property
    def lag(self) -> int:
        """Records that a scorer would score, at most: markers of transactions take an offset each as well."""
        return max(self.found.log_end - max(self.plan.start, self.found.log_start), 0)


#: How bad it is, what a start would do about so many partitions, and what a person should do.
_TOLD: dict[Cause, tuple[Severity, str, str]] = {
    Cause.NONE: (Severity.OK, "would go on with {n}", ""),
    Cause.FRESH_GROUP: (Severity.NOTE, "would begin {n} afresh, at the {end} payment", ""),
    Cause.WINDOWS_BEHIND: (Severity.NOTE, "would bring the windows of {n} forward", ""),
    Cause.NEVER_COMMITTED: (Severity.NOTE, "would begin {n} at the mark, for no offset is committed", ""),
    Cause.WINDOWS_LOST: (
        Severity.WARNING,
        "would rebuild {n} from {source}: offsets are committed, and Redis has no windows",
        "see whether TENFOLD_REDIS_URL and TENFOLD_GROUP_ID are the right ones; else start, and wait",
    ),
    Cause.MOVED_BACK: (
        Severity.WARNING,
        "would rebuild {n} from {source}, and score again: offsets are behind the windows",
        "see who moved them; `tenfold reset` moves offsets and windows together",
    ),
    Cause.EVENTS_LOST: (
        Severity.ERROR,
        "would go on at the log's beginning in {n}, and rebuild from {source}: retention took unscored events",
        "start the scorers soon, raise retention.ms, and look for the lost events in the archive",
    ),
    Cause.NEW_TOPIC: (
        Severity.WARNING,
        "would begin {n} anew: the topic was deleted and made again, or the offsets are beyond its end",
        "see whether TENFOLD_BOOTSTRAP_SERVERS is the right Kafka",
    ),
    Cause.LOG_TRUNCATED: (
        Severity.ERROR,
        "would begin {n} anew, at the {end} payment: the topic is the same, and its log ends before the offsets",
        "see why the brokers have lost the end of the log (docs/how-to/recovering.md, The log was truncated)",
    ),
    Cause.PARTITION_ADDED: (
        Severity.WARNING,
        "would take {n} from the beginning: added to the topic, and users have moved",
        "run `tenfold reset --rebuild` first (docs/operations.md, Adding partitions)",
    ),
}


def look_at_partitions(
    reader: Consumer, admin: AdminClient, store: WindowStore, settings: Settings, count: int
) -> list[Standing]:
    """Return where each of the topic's ``count`` partitions is; nothing is written.

    The marks are read before the offsets and these before the log's ends: each can only have moved on since.

    Raises:
        KafkaException: Kafka does not say.
        redis.RedisError: Redis does not say.
        stream.window_store.UnknownMarkError: a mark is none.
    """
    topic, group = settings.input_topic, settings.group_id
    its_id = topic_id(admin, topic, _CALL_S)
    marks = [store.mark(each) for each in range(count)]
    begun = begun_with(store, its_id)
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, each) for each in range(count)])
    answer = admin.list_consumer_group_offsets([asked], request_timeout=_CALL_S)[group].result()
    offsets = {each.partition: int(each.offset) for each in answer.topic_partitions if each.offset >= 0}
    standings = []
    for partition, mark in enumerate(marks):
        start, end = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=_CALL_S)
        committed = offsets.get(partition)
        # as stream.growth.was_added decides, which keeps the number besides
        added = bool(offsets) if begun is None else partition >= begun
        found = Found(its_id, mark, committed, start, end, added=added and mark is None and committed is None)
        standings.append(Standing(partition, found, plan(found, settings.start_from)))
    return standings


def check_kafka(admin: AdminClient, store: WindowStore, settings: Settings) -> Iterator[Finding]:
    """Yield whether the windows are of another Kafka cluster.

    Raises:
        KafkaException: Kafka does not say.
        redis.RedisError: Redis does not say.
    """
    told = other_kafka(store, cluster_id(admin, settings.input_topic, _CALL_S))
    if told:
        yield error("other-kafka", told, WHAT_TO_DO)


def judge_standings(standings: Sequence[Standing], settings: Settings, scorers: int) -> Iterator[Finding]:
    """Yield what a start now would do, a finding for each cause; and the lag. Pure."""
    by_cause: dict[Cause, list[Standing]] = defaultdict(list)
    for each in standings:
        by_cause[each.plan.cause].append(each)
    source = "archive and log" if settings.archive else "the log"
    for cause, those in by_cause.items():
        severity, told, fix = _TOLD[cause]
        which = f"all {len(those)} partitions"
        if len(those) < len(standings) or len(those) == 1:
            numbers = ", ".join(str(each.partition) for each in those)
            which = f"{count_of(len(those), 'partition')} ({numbers})"
        told = told.format(n=which, source=source, end=settings.start_from)
        lost = sum(each.plan.events_lost for each in those)
        more = f"; {count_of(lost, 'event')} lost" if cause is Cause.EVENTS_LOST else ""
        yield Finding(severity, f"start-{cause}", f"a start now {told}{more}", fix)
    lags: Mapping[int, int] = {each.partition: each.lag for each in standings}
    total = sum(lags.values())
    told = f"{count_of(scorers, 'scorer')} running, {count_of(total, 'offset')} not scored yet"
    by_partition = ", ".join(f"{partition}: {lag:,}" for partition, lag in lags.items() if lag)
    yield note("lag", f"{told} (by partition {by_partition})") if total else ok("lag", told)


def judge_keys(standings: Sequence[Standing], settings: Settings) -> Iterator[Finding]:
    """Yield whether the windows lie under pseudonym keys that the settings have. Pure."""
    for each in standings:
        try:
            if each.found.mark is not None:
                settings.pseudonyms.generation_of(each.found.mark.epoch)
        except PseudonymsError as failed:
            yield error("pseudonym-keys", f"partition {each.partition}: {failed}", "give the keys that wrote them")
            return
