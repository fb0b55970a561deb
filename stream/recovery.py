"""Where a partition is taken up: the table of recovery, as a function of what was found. Pure.

Redis is a view of the log that may trail it and never leads. The mark says up to which offset the windows are, the
group's committed offset up to where scores are published; the two and the log's ends decide what to do.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from stream.window_store import Mark

#: Offset of a mark whose windows are being rebuilt, or less: they are not whole, and good for nothing.
UNFINISHED = -1


class Cause(StrEnum):
    """Why a partition is not simply gone on with: a label of the metric and a word in the log."""

    NONE = "none"
    FRESH_GROUP = "fresh-group"
    WINDOWS_BEHIND = "windows-behind"  # a crash between commit and save, or Redis lost its last writes
    WINDOWS_LOST = "windows-lost"  # Redis is empty, or holds another release's windows
    NEVER_COMMITTED = "never-committed"  # offsets expired, or a crash before the first commit
    MOVED_BACK = "moved-back"  # someone moved the group's offsets back
    EVENTS_LOST = "events-lost"  # retention took events before they were scored
    NEW_TOPIC = "new-topic"  # the topic was deleted and made again
    LOG_TRUNCATED = "log-truncated"  # the topic is the same, and the broker has lost the end of its log
    PARTITION_ADDED = "partition-added"  # the topic has more partitions than the group began with


@dataclass(frozen=True, slots=True)
class Found:
    """What a partition's recovery starts from."""

    topic_id: str
    mark: Mark | None
    committed: int | None
    log_start: int  # first offset that the log still has
    log_end: int  # offset that the next record will get
    readable: bool = True  # whether this release can read the windows
    added: bool = False  # whether the partition was added to the topic after the group began


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: commit ``commit`` if given, bring the windows from ``windows_from`` up to ``start``, go on there."""

    cause: Cause
    start: int
    windows_from: int
    new_epoch: bool = False
    commit: int | None = None
    events_lost: int = 0

    @property
    def behind(self) -> bool:
        """Whether the windows have to be advanced before scoring can go on."""
        return self.windows_from < self.start


def plan(found: Found, start_from: Literal["earliest", "latest"]) -> Plan:
    """Return what the table of recovery says of ``found``; ``start_from`` is for a group without offsets.

    A partition that was added is taken from its beginning: what was sent there before the group knew of it is new.
    """
    mark, log_start = found.mark, found.log_start
    if mark is not None and mark.offset <= UNFINISHED:
        mark = None
    positions = [offset for offset in (found.committed, mark.offset if mark else None) if offset is not None]
    beyond_end = max(positions, default=0) > found.log_end
    same_topic = mark is not None and mark.topic_id == found.topic_id
    if beyond_end or not positions or (mark is not None and not same_topic):
        # after a truncation too: below the old offset, producers may have written anew by now
        start = log_start if start_from == "earliest" or found.added else found.log_end
        if positions:
            cause = Cause.LOG_TRUNCATED if same_topic else Cause.NEW_TOPIC
        else:
            cause = Cause.PARTITION_ADDED if found.added else Cause.FRESH_GROUP
        return Plan(cause, start, log_start, new_epoch=True, commit=start)
    start = positions[0]  # what is committed, else the mark
    if start < log_start:
        lost = log_start - start
        return Plan(Cause.EVENTS_LOST, log_start, log_start, new_epoch=True, commit=log_start, events_lost=lost)
    if found.committed is None:
        return Plan(Cause.NEVER_COMMITTED, start, start, commit=start)
    if mark is None or not found.readable:
        return Plan(Cause.WINDOWS_LOST, start, log_start, new_epoch=True)
    if mark.offset > start:
        return Plan(Cause.MOVED_BACK, start, log_start, new_epoch=True)
    if mark.offset == start:
        return Plan(Cause.NONE, start, start)
    reaches_back = mark.offset >= log_start  # else the log no longer has what the windows lack
    return Plan(Cause.WINDOWS_BEHIND, start, mark.offset if reaches_back else log_start, new_epoch=not reaches_back)
