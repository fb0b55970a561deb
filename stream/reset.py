"""``tenfold reset``: move a stopped group, and its windows with it; or stay, and rebuild them (:mod:`stream.rebuild`).

A group's offsets and its windows belong together. Here both are moved: the offsets in Kafka, and the marks in Redis are
taken away, so that the next scorer finds no windows and rebuilds them in a new epoch, up to where the group now stands.
From then on they are of the Kafka that the command was given (:mod:`stream.same_kafka`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
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

from models.bundle import BundleError, load_bundle
from stream.clients import common_config, open_client, reader_config
from stream.errors import TenfoldError, UsageError
from stream.history import open_history
from stream.in_force import bundle_in_force
from stream.members import look_at_members
from stream.merged_log import READER_CONFIG
from stream.plurals import count_of
from stream.rebuild import Rebuild, Rebuilt, offset_of
from stream.same_kafka import take_over
from stream.settings import Settings
from stream.topics import cluster_id
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

    def run(self, target: Target, *, dry_run: bool) -> list[Moved]:
        """Move every partition to its ``target``.

        Raises:
            ResetError: scorers are running, there is no such topic, or Kafka or Redis do not answer.
        """
        with self._explained():
            self._refuse_members()
            moved = [self._move(position, target) for position in self._committed()]
            if not dry_run:
                self._take_over()
                self._alter(moved)
                for each in moved:
                    self.store.forget(each.partition)
        return moved

    def rebuild(self) -> list[Rebuilt]:
        """Leave the group where it is, and rebuild its windows as the model in force wants them.

        Raises:
            ResetError: scorers are running, there is no model or no such topic, or Kafka or Redis do not answer.
            stream.rebuild.InterruptedRebuildError: a scorer was started meanwhile.
        """
        try:
            spec = load_bundle(bundle_in_force(self.settings)).spec
        except BundleError as error:
            raise ResetError(str(error)) from None
        reader = open_client(Consumer, reader_config(self.settings, READER_CONFIG))
        store = replace(self.store, sequence_length=spec.sequence_length)
        with self._explained(), closing(reader):
            self._refuse_members()
            self._take_over()
            return Rebuild(self.settings, self.admin, reader, store, spec, open_history(self.settings)).run(
                self._committed()
            )

    def stay(self) -> list[Moved]:
        """Return where the group is.

        Raises:
            ResetError: scorers are running, there is no such topic, or Kafka does not answer.
        """
        with self._explained():
            self._refuse_members()
            return [Moved(each.partition, offset_of(each), offset_of(each)) for each in self._committed()]

    def at(self, when: datetime) -> Target:
        """Return the target "first record at or after ``when``"; the log's end where there is none."""
        when_ms = int(when.timestamp() * 1000)

        def target(position: TopicPartition, _: int, log_end: int) -> int:
            [found] = self.reader.offsets_for_times(
                [TopicPartition(position.topic, position.partition, when_ms)], _CALL_S
            )
            return log_end if found.offset in {OFFSET_END, OFFSET_INVALID} else int(found.offset)

        return target

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            raise ResetError(f"Kafka at {self.settings.bootstrap_servers} refuses: {error.args[0].str()}") from None
        except redis.RedisError as error:
            raise ResetError(
                f"Redis does not answer ({error}): the offsets may be moved, the windows are not; run it again"
            ) from None

    def _take_over(self) -> None:
        take_over(self.store, cluster_id(self.admin, self.settings.input_topic, _CALL_S))

    def _refuse_members(self) -> None:
        group = self.settings.group_id
        members = len(look_at_members(self.admin, group))
        if members:
            raise ResetError(
                f"group {group} has {count_of(members, 'running scorer')}: stop what runs, and wait "
                "until a killed one's session has timed out"
            )

    def _committed(self) -> Sequence[TopicPartition]:
        topic = self.settings.input_topic
        partitions = self.reader.list_topics(topic, _CALL_S).topics[topic].partitions
        if not partitions:
            raise ResetError(f"no topic {topic} at {self.settings.bootstrap_servers}")
        return self.reader.committed([TopicPartition(topic, partition) for partition in sorted(partitions)], _CALL_S)

    def _move(self, position: TopicPartition, target: Target) -> Moved:
        log_start, log_end = self.reader.get_watermark_offsets(position, timeout=_CALL_S)
        after = target(position, log_start, log_end)
        if not log_start <= after <= log_end:
            raise ResetError(
                f"partition {position.partition} has offsets {log_start} to {log_end}: {after} is not among them"
            )
        return Moved(position.partition, offset_of(position), after)

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
        UsageError: it is none, or has no offset.
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        when = datetime.min  # noqa: DTZ901
    if when.tzinfo is None:
        raise UsageError(f"--to-datetime {text} is not an RFC 3339 time with an offset, as 2026-01-31T12:00:00Z")
    return when
