"""``tenfold reset``: move a stopped group, and its windows with it.

A group's offsets and its windows belong together. Here both are moved: the offsets in Kafka, and the marks in Redis are
taken away, so that the next scorer finds no windows and rebuilds them in a new epoch, up to where the group now stands.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import redis
from confluent_kafka import (
    OFFSET_END,
    OFFSET_INVALID,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from stream.clients import common_config, open_client, reader_config
from stream.errors import TenfoldError
from stream.settings import Settings
from stream.window_store import WindowStore

_CALL_S = 15.0

#: Returns the offset to go to, of a partition and the first and last offset that its log has.
Target = Callable[[TopicPartition, int, int], int]


class ResetError(TenfoldError):
    """The group cannot be moved; the message says why."""


class Moved(NamedTuple):
    """One partition, before and after; ``None`` is no committed offset."""

    partition: int
    before: int | None
    after: int | None


@dataclass(frozen=True)
class Reset:
    """Moves the group of ``settings``; nobody may be scoring for it."""

    settings: Settings
    admin: AdminClient
    reader: Consumer
    store: WindowStore

    @classmethod
    def open(cls, settings: Settings, store: WindowStore) -> "Reset":
        """Connect to Kafka."""
        admin = open_client(AdminClient, common_config(settings))
        return cls(settings, admin, open_client(Consumer, reader_config(settings)), store)

    def run(self, target: Target | None, *, dry_run: bool) -> list[Moved]:
        """Move every partition to its ``target``, or with ``None`` only have the windows built anew.

        Raises:
            ResetError: scorers are running, there is no such topic, or Kafka or Redis do not answer.
        """
        try:
            self._refuse_members()
            before = self._committed()
            moved = [self._move(position, target) for position in before]
            if not dry_run:
                if target is not None:
                    self._alter(moved)
                for each in moved:
                    self.store.forget(each.partition)
        except KafkaException as error:
            raise ResetError(f"Kafka at {self.settings.bootstrap_servers} refuses: {error.args[0].str()}") from None
        except redis.RedisError as error:
            raise ResetError(
                f"Redis does not answer ({error}): the offsets may be moved, the windows are not; run it again"
            ) from None
        return moved

    def at(self, when: datetime) -> Target:
        """Return the target "first record at or after ``when``"; the log's end where there is none."""
        when_ms = int(when.timestamp() * 1000)

        def target(position: TopicPartition, _: int, log_end: int) -> int:
            [found] = self.reader.offsets_for_times(
                [TopicPartition(position.topic, position.partition, when_ms)], _CALL_S
            )
            return log_end if found.offset in {OFFSET_END, OFFSET_INVALID} else int(found.offset)

        return target

    def _refuse_members(self) -> None:
        group = self.settings.group_id
        description = self.admin.describe_consumer_groups([group], request_timeout=_CALL_S)[group].result()
        if description.members:
            raise ResetError(
                f"group {group} has {len(description.members)} running scorers: stop them, and wait until a killed "
                "one's session has timed out"
            )

    def _committed(self) -> Sequence[TopicPartition]:
        topic = self.settings.input_topic
        partitions = self.reader.list_topics(topic, _CALL_S).topics[topic].partitions
        if not partitions:
            raise ResetError(f"no topic {topic} at {self.settings.bootstrap_servers}")
        return self.reader.committed([TopicPartition(topic, partition) for partition in sorted(partitions)], _CALL_S)

    def _move(self, position: TopicPartition, target: Target | None) -> Moved:
        before = None if position.offset == OFFSET_INVALID else int(position.offset)
        if target is None:
            return Moved(position.partition, before, before)
        log_start, log_end = self.reader.get_watermark_offsets(position, timeout=_CALL_S)
        after = target(position, log_start, log_end)
        if not log_start <= after <= log_end:
            raise ResetError(
                f"partition {position.partition} has offsets {log_start} to {log_end}: {after} is not among them"
            )
        return Moved(position.partition, before, after)

    def _alter(self, moved: Sequence[Moved]) -> None:
        topic, group = self.settings.input_topic, self.settings.group_id
        positions = [TopicPartition(topic, each.partition, each.after or 0) for each in moved]
        request = [ConsumerGroupTopicPartitions(group, positions)]
        answer = self.admin.alter_consumer_group_offsets(request, request_timeout=_CALL_S)[group].result()
        for position in answer.topic_partitions:
            if position.error is not None:
                raise KafkaException(position.error)


def earliest(_: TopicPartition, log_start: int, __: int) -> int:
    """Return the first offset that the log still has."""
    return log_start


def offset(wanted: int) -> Target:
    """Return the target "this offset, in every partition"."""
    return lambda _position, _start, _end: wanted


def parse_time(text: str) -> datetime:
    """Return an RFC 3339 time.

    Raises:
        ResetError: it is none, or has no offset.
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        when = datetime.min  # noqa: DTZ901
    if when.tzinfo is None:
        raise ResetError(f"--to-datetime {text} is not an RFC 3339 time with an offset, as 2026-01-31T12:00:00Z")
    return when
