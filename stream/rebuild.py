"""Rebuild a stopped group's windows from the logs of all partitions, each event on the partition where its user is now.

A scorer rebuilds a partition's windows from that partition's log. When partitions are added, users move, and what they
did before is in another log. Here all logs are replayed as one, in order of Kafka timestamps
(:mod:`stream.merged_log`), up to the group's offsets, and each event goes into its user's window on the partition
that the partitioner gives to the user now.

While that goes on, each mark says so (:data:`stream.recovery.UNFINISHED`): a scorer that finds one, because this died
on its way or somebody started it too early, begins a new epoch from its own log. The marks move to the group's
offsets when every window is there.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from confluent_kafka import OFFSET_INVALID, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from models.spec import BundleSpec
from models.window import Ints, Windows
from stream.errors import TenfoldError
from stream.growth import begun_with, was_added
from stream.held_windows import HeldWindows, WindowsMovedError
from stream.history import History
from stream.merged_log import Events, Range, read_merged
from stream.partitioner import partitions_of
from stream.progress import Progress
from stream.recovery import UNFINISHED, Found, plan
from stream.replay import take_some
from stream.settings import Settings
from stream.topics import topic_id
from stream.window_store import Mark, Save, WindowStore

log = logging.getLogger(__name__)

_CALL_S = 15.0
_CHUNK = 10_000
_HELD = 1_000_000  # windows in memory, of all partitions


class InterruptedRebuildError(TenfoldError):
    """A scorer took a partition up while the windows were rebuilt."""


class Rebuilt(NamedTuple):
    """One partition after the rebuild."""

    partition: int
    before: int | None  # the group's offset, None if there is none
    after: int | None  # the same
    events: int  # replayed into its windows
    from_others: int  # of them, read on another partition
    waiting_elsewhere: int  # events of its own log, not scored yet, whose users belong on another partition


@dataclass(frozen=True)
class Rebuild:
    """What a rebuild needs; nobody may be scoring for the group."""

    settings: Settings
    admin: AdminClient
    reader: Consumer  # with stream.merged_log.READER_CONFIG
    store: WindowStore  # of windows as long as the spec's
    spec: BundleSpec
    history: History | None = None  # what came before the logs

    def run(self, committed: Sequence[TopicPartition]) -> list[Rebuilt]:
        """Rebuild the windows of all partitions of the topic, given with the group's offsets.

        Raises:
            InterruptedRebuildError: a scorer was started meanwhile.
            KafkaException: Kafka does not do its part.
            redis.RedisError: Redis does not do its part.
        """
        its_id = topic_id(self.admin, self.settings.input_topic, _CALL_S)
        ranges = [self._range(position, its_id, len(committed)) for position in committed]
        held = {each.partition: self._begin(each.partition, its_id, len(ranges)) for each in ranges}
        events, from_others = (dict.fromkeys(held, 0) for _ in range(2))
        archived = 0
        progress = Progress(log, "rebuilding windows", of=sum(each.end - each.begin for each in ranges))
        for chunk, homes, is_archived in self._events(ranges, its_id, len(committed)):
            archived += len(homes) if is_archived else 0
            for partition in np.unique(homes).tolist():
                mine = chunk.take(np.flatnonzero(homes == partition))
                with _noticing_scorers(partition):
                    held[partition].advance(mine.users.tolist(), mine.records)
                events[partition] += len(mine.users)
                from_others[partition] += int((mine.partitions != partition).sum())
            progress.add(len(homes))
        waiting = {each.partition: self._waiting_elsewhere(each.partition, each.end, len(committed)) for each in ranges}
        for each in ranges:
            with _noticing_scorers(each.partition):
                held[each.partition].finish(each.end)
        if any(waiting.values()):
            log.warning(
                "events that are not scored yet are on another partition than their user's window: let the scorers "
                "catch up first, or these are scored without history and stay out of their users' windows",
                extra={"events": sum(waiting.values())},
            )
        begun = begun_with(self.store, its_id)
        may_have_moved = any(from_others.values()) or begun is None or len(committed) > begun
        if archived and self.store.pseudonyms.keys and may_have_moved:
            log.warning(
                "what the archive has from before the logs is on the partitions where it was archived, since a "
                "pseudonym does not say where its user is placed: the windows of users who moved when partitions were "
                "added begin with the logs (docs/pseudonyms.md)",
                extra={"archived": archived, "events_of_users_who_moved": sum(from_others.values())},
            )
        return [
            Rebuilt(partition, before, before, events[partition], from_others[partition], waiting[partition])
            for partition, before in ((each.partition, offset_of(each)) for each in committed)
        ]

    def _events(self, ranges: Sequence[Range], its_id: str, count: int) -> Iterator[tuple[Events, Ints, bool]]:
        """Yield events, users named as their windows are, each with its user's partition now, and if they are archived.

        First what the archive has from before the logs, a partition after the other, then the logs as one. Nobody can
        say where a pseudonym would be placed: what the archive has of it goes to the partition that it was read on.
        """
        pseudonyms = self.store.pseudonyms
        if self.history is not None:
            for partition, begin, _ in ranges:
                for past in self.history(partition, its_id, begin):
                    here = np.full(len(past.users), partition)
                    chunk = Events(np.zeros_like(here), here, _objects(past.users), past.records)
                    yield chunk, here if pseudonyms.keys else self._homes(chunk, count), True
        for chunk in read_merged(self.reader, self.settings.input_topic, self.settings.input_framing, ranges):
            yield chunk._replace(users=_objects(pseudonyms.of(chunk.users.tolist()))), self._homes(chunk, count), False

    def _range(self, position: TopicPartition, its_id: str, count: int) -> Range:
        """Return what of a log has been scored; where there is no offset, what the next scorer would not score."""
        log_start, log_end = self.reader.get_watermark_offsets(position, timeout=_CALL_S)
        end = offset_of(position)
        if end is None:
            added = was_added(self.admin, self.store, its_id, position.partition, count, _CALL_S)
            end = plan(Found(its_id, None, None, log_start, log_end, added=added), self.settings.start_from).start
        return Range(position.partition, log_start, max(end, log_start))

    def _begin(self, partition: int, its_id: str, partitions: int) -> HeldWindows:
        """Take the windows of every epoch away, those of rebuilds that died included; begin a new one."""
        mark = Mark(its_id, self.store.new_epoch(), UNFINISHED)
        nothing = Windows.empty(0, self.spec.sequence_length)
        self.store.forget(partition)
        if self.store.save([Save(partition, None, mark, [], nothing)]) != [True]:
            raise _interrupted(partition)
        most = max(_HELD // partitions, 1)
        return HeldWindows(self.store, partition, mark, self.spec.window_max_age_ms, most)

    def _homes(self, events: Events, count: int) -> Ints:
        if self.settings.partitioner == "any":
            return events.partitions
        return partitions_of(events.users.tolist(), count, self.settings.partitioner)

    def _waiting_elsewhere(self, partition: int, begin: int, count: int) -> int:
        """Return how many events behind the group's offset are not on their user's partition."""
        _, end = self.reader.get_watermark_offsets(TopicPartition(self.settings.input_topic, partition), _CALL_S)
        if self.settings.partitioner == "any" or begin >= end:
            return 0
        self.reader.assign([TopicPartition(self.settings.input_topic, partition, begin)])
        waiting = 0
        while begin < end:
            messages, begin = take_some(self.reader, begin, end, _CHUNK, _CALL_S)
            keys = [key for key in (message.key() for message in messages) if key]
            if keys:
                waiting += int((partitions_of(keys, count, self.settings.partitioner) != partition).sum())
        return waiting


def _objects(names: Sequence[bytes]) -> npt.NDArray[np.object_]:
    found: npt.NDArray[np.object_] = np.array(names, np.object_)
    return found


def offset_of(position: TopicPartition) -> int | None:
    """Return the offset of a position, ``None`` if it has none."""
    return None if position.offset == OFFSET_INVALID else int(position.offset)


@contextmanager
def _noticing_scorers(partition: int) -> Iterator[None]:
    try:
        yield
    except WindowsMovedError:
        raise _interrupted(partition) from None


def _interrupted(partition: int) -> InterruptedRebuildError:
    return InterruptedRebuildError(
        f"a scorer took partition {partition} up while its windows were rebuilt, and has rebuilt them from that "
        "partition's log alone: stop all scorers and run it again"
    )
