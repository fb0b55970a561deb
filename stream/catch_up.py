"""Taking a partition up: find out where it stands, bring its windows up to date, say where to go on.

Runs in a thread beside the service's loop, so that the partitions that are ready go on. Everything it writes to Redis
is compared and set, so that two owners, one of them stale, cannot spoil each other's windows.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import redis
from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from models.spec import BundleSpec
from models.window import Windows
from stream.clients import common_config, open_client, reader_config
from stream.decode import Decoded
from stream.errors import TenfoldError
from stream.growth import was_added
from stream.held_windows import HeldWindows, WindowsMovedError
from stream.history import History
from stream.metrics import Metrics
from stream.progress import Progress
from stream.recovery import UNFINISHED, Cause, Found, Plan, plan
from stream.replay import advance_stored, decode_messages, take
from stream.same_kafka import require_same_kafka
from stream.settings import Settings
from stream.topics import ids_of
from stream.window_store import Mark, Save, UnknownMarkError, WindowStore

log = logging.getLogger(__name__)

_CALL_S = 2.0
_COMMITTED_S = 0.5  # while an offset is not stable, the threads are for the partitions whose offset is
_CHUNK = 10_000

Commit = Callable[[int, int], None]  # partition, offset


class NotTakenUpError(Exception):
    """The partition could not be taken up now; trying again may help. The message says what was in the way."""


class OffsetNotStableError(NotTakenUpError):
    """A dead owner's transaction is still open, and until the broker ends it nobody knows where to start (KIP-447)."""


class CancelledError(Exception):
    """The partition is not this process's any more, or the process is asked to stop."""


@dataclass(frozen=True)
class Recoverer:
    """What taking a partition up needs. It has clients of its own: a ``Consumer`` serves one thread at a time."""

    settings: Settings
    store: WindowStore
    spec: BundleSpec
    metrics: Metrics
    history: History | None = None  # what came before the log

    def take_up(
        self,
        partition: int,
        commit: Commit,
        cancelled: Callable[[], bool],
        *,
        rebuild: bool = False,
        unread: bool = False,
    ) -> Mark:
        """Return the mark at which scoring goes on; the windows are there, and the group's offset is committed.

        ``commit`` commits an offset as the group's member, which only the service's own thread may do. ``rebuild`` says
        that mark or windows cannot be read by this release, ``unread`` that the log could not be, and is to be tried.

        Raises:
            NotTakenUpError: Kafka does not answer, a transaction is open, or somebody else moved the mark.
            models.window.UnknownWindowFormatError: mark or windows are another release's: try again with ``rebuild``.
            stream.same_kafka.OtherKafkaError: the windows are another Kafka cluster's.
            stream.pseudonyms.PseudonymsError: the windows lie under pseudonym keys that are not this process's.
            CancelledError: ``cancelled`` says so.
            redis.RedisError: Redis does not answer.
        """
        # both its own: a client that an outage has left without a broker never finds one again (see stream.lost_client)
        admin = open_client(AdminClient, common_config(self.settings))
        reader = open_client(Consumer, reader_config(self.settings))  # last: it is closed below
        try:
            found = self._find(reader, admin, partition, readable=not rebuild)
            older = found.mark is not None and self._under_older_keys(found.mark)
            decision = plan(found, self.settings.start_from)
            self._tell(partition, found, decision)
            if older and not decision.new_epoch:
                found = replace(found, mark=self._carry(partition, found.mark))
            if decision.commit is not None:
                commit(partition, decision.commit)
            self._count(decision)
            if decision.new_epoch and (decision.behind or self.history):
                mark = self._rebuild(reader, partition, found, decision, cancelled)
            elif decision.new_epoch or found.mark is None:
                self._say_what_lacks(partition, found, decision, archived_to=None)
                mark = self._begin(partition, found, decision.start)
            elif decision.behind:
                mark = self._advance(reader, partition, found.mark, decision.start, cancelled)
            else:
                mark = found.mark
            if unread:
                self._try_to_read(reader, partition, mark.offset)
        except KafkaException as error:
            raise NotTakenUpError(f"Kafka: {error.args[0].str()}") from None
        finally:
            reader.close()
        return mark

    def clean_up(self, partition: int, mark: Mark, cancelled: Callable[[], bool]) -> None:
        """Unlink the windows of epochs before that of ``mark``, at which scoring goes on meanwhile.

        Ends early if ``cancelled`` says so, or the mark is of another epoch: somebody else's, or again the old one's
        where Redis has lost its last writes. What is left stays noted in Redis for whoever takes the partition up next.
        """

        def unwanted() -> bool:
            if cancelled():
                return True
            there = self.store.mark(partition)
            return there is None or there.epoch != mark.epoch

        try:
            dropped = self.store.drop_over(partition, mark, unwanted)
            if self.store.pseudonyms.keys:
                dropped += self.store.drop_carried(partition, mark, unwanted)
        except (redis.RedisError, UnknownMarkError) as error:
            left = {"partition": partition, "error": str(error)}
            log.warning("windows of an old epoch are left until the partition is taken up again", extra=left)
        else:
            if dropped:
                log.info("dropped the windows of the old epoch", extra={"partition": partition, "windows": dropped})

    def _under_older_keys(self, mark: Mark) -> bool:
        pseudonyms = self.store.pseudonyms
        return pseudonyms.generation_of(mark.epoch) < len(pseudonyms.keys)

    def _carry(self, partition: int, mark: Mark | None) -> Mark:
        carried = None if mark is None else self.store.carry(partition, mark)
        if carried is None:
            raise NotTakenUpError("another process moved the mark")
        log.info("the windows lie under the newest pseudonym key now", extra={"partition": partition})
        return carried

    def _find(self, reader: Consumer, admin: AdminClient, partition: int, *, readable: bool) -> Found:
        topic = self.settings.input_topic
        log_start, log_end = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=_CALL_S)
        cluster, its_id = ids_of(admin, topic, _CALL_S)
        require_same_kafka(self.store, cluster)
        mark = self._mark(partition, readable=readable)
        committed = self._committed(reader, partition)
        added = False
        if mark is None and committed is None:
            count = len(reader.list_topics(topic, _CALL_S).topics[topic].partitions)
            added = was_added(admin, self.store, its_id, partition, count, _CALL_S)
        return Found(its_id, mark, committed, log_start, log_end, readable, added)

    def _mark(self, partition: int, *, readable: bool) -> Mark | None:
        try:
            return self.store.mark(partition)
        except UnknownMarkError:
            if readable:
                raise
        self.store.forget_mark(partition)  # it stands in the way of a new one, and says nothing
        return None

    def _committed(self, reader: Consumer, partition: int) -> int | None:
        """Return the group's committed offset."""
        try:
            [answer] = reader.committed([TopicPartition(self.settings.input_topic, partition)], _COMMITTED_S)
        except KafkaException as error:
            if error.args[0].code() in {KafkaError._TIMED_OUT, KafkaError.UNSTABLE_OFFSET_COMMIT}:
                raise OffsetNotStableError(
                    "the committed offset is not known yet: another process's transaction is still open, "
                    "or the group's coordinator does not answer"
                ) from None
            raise
        if answer.error is not None:
            raise KafkaException(answer.error)
        return None if answer.offset == OFFSET_INVALID else int(answer.offset)

    def _count(self, decision: Plan) -> None:
        self.metrics.recoveries.labels(decision.cause).inc()
        self.metrics.events_lost.inc(decision.events_lost)

    def _tell(self, partition: int, found: Found, decision: Plan) -> None:
        level = logging.INFO if decision.cause in {Cause.NONE, Cause.FRESH_GROUP} else logging.WARNING
        log.log(
            level,
            "taking a partition up",
            extra={
                "partition": partition,
                "cause": str(decision.cause),
                "start": decision.start,
                "windows_from": decision.windows_from,
                "new_epoch": decision.new_epoch,
                "events_lost": decision.events_lost,
                "log_start": found.log_start,
            },
        )

    def _advance(self, reader: Consumer, partition: int, mark: Mark, end: int, cancelled: Callable[[], bool]) -> Mark:
        """Bring the windows from ``mark`` up to ``end``; publish nothing."""
        age_ms = self.spec.window_max_age_ms
        for decoded, next_offset in self._replay(reader, partition, mark.offset, end, cancelled):
            target = mark._replace(offset=next_offset)
            users = self.store.pseudonyms.of(decoded.users)
            if not advance_stored(self.store, partition, (mark, target), users, decoded.records, age_ms):
                raise NotTakenUpError("another process moved the mark")
            mark = target
        return mark

    def _rebuild(
        self, reader: Consumer, partition: int, found: Found, decision: Plan, cancelled: Callable[[], bool]
    ) -> Mark:
        """Build the windows of a new epoch; publish nothing."""
        mark = self._begin(partition, found, UNFINISHED)
        held = HeldWindows(self.store, partition, mark, self.spec.window_max_age_ms)
        try:
            archived_to = self._remember(partition, found, held, cancelled)
            self._say_what_lacks(partition, found, decision, archived_to)
            for decoded, _ in self._replay(reader, partition, decision.windows_from, decision.start, cancelled):
                held.advance(self.store.pseudonyms.of(decoded.users), decoded.records)
            return held.finish(decision.start)
        except WindowsMovedError:
            raise NotTakenUpError("another process moved the mark") from None

    def _remember(self, partition: int, found: Found, held: HeldWindows, cancelled: Callable[[], bool]) -> int | None:
        """Run what the archive has from before the log through the windows; return its last offset."""
        if self.history is None:
            return None
        events, last = 0, None
        try:
            for past in self.history(partition, found.topic_id, found.log_start):
                if cancelled():
                    raise CancelledError
                held.advance(past.users, past.records)
                events, last = events + len(past.users), last if past.last is None else past.last
        except (TenfoldError, OSError) as error:  # payments are scored all the same
            log.error(
                "the archive cannot be read: windows begin with the log",
                extra={"partition": partition, "error": str(error)},
            )
            return None
        log.info(
            "the archive has what came before the log",
            extra={"partition": partition, "events": events, "up_to": last},
        )
        return last

    def _say_what_lacks(self, partition: int, found: Found, decision: Plan, archived_to: int | None) -> None:
        """Count and say that windows may be shorter than they were."""
        known_before = decision.cause not in {Cause.NONE, Cause.FRESH_GROUP, Cause.PARTITION_ADDED, Cause.NEW_TOPIC}
        reaches_back_to = found.log_start if archived_to is None or archived_to + 1 < found.log_start else 0
        if decision.new_epoch and known_before and reaches_back_to > 0:
            self.metrics.history_lost.inc()
            log.warning(
                "windows may lack history: neither log nor archive has all that came before",
                extra={"partition": partition, "log_start": found.log_start, "archived_to": archived_to},
            )

    def _begin(self, partition: int, found: Found, offset: int) -> Mark:
        """Begin a new epoch; return its mark."""
        mark = Mark(found.topic_id, self.store.new_epoch(), offset)
        if found.mark is not None:
            self.store.note_over(partition, found.mark.epoch)
        self._save(Save(partition, found.mark, mark, [], Windows.empty(0, self.spec.sequence_length)))
        return mark

    def _save(self, save: Save) -> None:
        if self.store.save([save]) != [True]:
            raise NotTakenUpError("another process moved the mark")

    def _try_to_read(self, reader: Consumer, partition: int, offset: int) -> None:
        reader.assign([TopicPartition(self.settings.input_topic, partition, offset)])
        records, at = take(reader, offset, offset + 1, 1, _CALL_S)
        if not records and at == offset:  # not even the partition's end
            raise NotTakenUpError("Kafka does not send what is in the log")

    def _replay(
        self, reader: Consumer, partition: int, begin: int, end: int, cancelled: Callable[[], bool]
    ) -> Iterator[tuple[Decoded, int]]:
        """Yield what the log has from ``begin`` up to ``end`` in chunks, each with the offset behind it."""
        reader.assign([TopicPartition(self.settings.input_topic, partition, begin)])
        progress = Progress(log, "bringing windows up to date", partition=partition, end=end)
        at = begin
        while at < end:
            if cancelled():
                raise CancelledError
            chunk, at = take(reader, at, end, _CHUNK, _CALL_S)
            if chunk or at == end:
                yield decode_messages(chunk, self.settings.input_framing), at
                self.metrics.recovered_events.inc(len(chunk))
                progress.add(len(chunk), offset=at)
