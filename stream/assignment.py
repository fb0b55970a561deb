"""The partitions of this process: each is ready at a mark, or being taken up in a thread beside the loop."""

import logging
import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue

import redis
from confluent_kafka import Consumer, KafkaException, TopicPartition

from models.window import UnknownWindowFormatError
from stream.catch_up import CancelledError, NotTakenUpError, OffsetNotStableError, Recoverer
from stream.outage import Outage
from stream.window_store import Mark

log = logging.getLogger(__name__)

_THREADS = 8
_UNSTABLE_S = 0.25
_PATIENT_ATTEMPTS = 40  # of 0.75 s or so each: longer than the broker lets a dead owner's transaction be open
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.05, 5.0
_COMMIT_S = 10.0
_COMPLAIN_EVERY_S = 30.0


@dataclass
class _Owned:
    """A partition of this process. ``mark`` is what its next batch starts from, ``None`` while it is taken up."""

    mark: Mark | None = None
    revoked: threading.Event = field(default_factory=threading.Event)
    taking_up: Future[Mark] | None = None
    attempts: int = 0
    unstable: int = 0  # attempts in which the committed offset was not stable
    rebuild: bool = False  # its windows were written by another release
    unread: bool = False  # the consumer could not read it
    failed: Mark | None = None  # end of a batch that did not get through, until one does


class Assignment:
    """What the group has assigned. All but the taking up itself happens in the loop's thread."""

    def __init__(
        self, topic: str, consumer: Consumer, recoverer: Recoverer, outage: Outage, stop: threading.Event
    ) -> None:
        self._topic, self._consumer, self._recoverer = topic, consumer, recoverer
        self._outage, self._stop = outage, stop
        self._owned: dict[int, _Owned] = {}
        self._threads = ThreadPoolExecutor(_THREADS, "recovery")
        self._cleaning = ThreadPoolExecutor(1, "clean-up")  # one at a time: each looks at every key that Redis has
        self._commits: SimpleQueue[tuple[_Owned, TopicPartition, Future[None]]] = SimpleQueue()
        self.joined = False
        self.trouble: Exception | None = None  # why partitions were last taken up again, while one still waits for it
        self._next_complaint = 0.0

    @property
    def ready(self) -> dict[int, Mark]:
        """The partitions that are scored, each with what its next batch starts from."""
        return {partition: owned.mark for partition, owned in self._owned.items() if owned.mark is not None}

    @property
    def recovering(self) -> list[int]:
        """The partitions that are being taken up."""
        return [partition for partition, owned in self._owned.items() if owned.mark is None]

    @property
    def held_up(self) -> list[int]:
        """The partitions of which a batch has failed, and none got through since."""
        return [partition for partition, owned in self._owned.items() if owned.failed is not None]

    def mark(self, partition: int) -> Mark | None:
        """Return what a partition's next batch starts from; ``None`` if it is not ready, or not ours."""
        owned = self._owned.get(partition)
        return owned.mark if owned else None

    def move(self, marks: Mapping[int, Mark]) -> None:
        """Say what the next batch starts from."""
        for partition, mark in marks.items():
            self._owned[partition].mark = mark

    def got_through(self, partitions: Collection[int]) -> None:
        """Say that a batch of these partitions is published and saved."""
        for partition in partitions:
            if partition in self._owned:
                self._owned[partition].attempts, self._owned[partition].failed = 0, None
        self._forget_trouble()

    def failed(self, ends: Mapping[int, Mark]) -> None:
        """Say that a batch with these ends did not get through."""
        for partition, end in ends.items():
            if partition in self._owned:
                self._owned[partition].failed = end

    def assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Take over what the group assigns; nothing is fetched until it is known where to start."""
        consumer.assign([])
        self.joined = True
        self._owned = {given.partition: _Owned() for given in partitions}
        for partition in self._owned:
            self._take_up(partition, delay_s=0)

    def let_go(self) -> None:
        """Forget the partitions: they are another's now."""
        for owned in self._owned.values():
            owned.revoked.set()
        self._owned, self.joined, self.trouble = {}, False, None

    def take_up_again(
        self, partitions: Collection[int], error: Exception | None = None, *, unread: bool = False
    ) -> None:
        """Look at the table of recovery again; no more records of these partitions until then.

        ``unread`` says that the consumer could not read them: they are not ready until somebody can.

        Raises:
            stream.outage.OutageError: this has gone on for too long.
        """
        if error is not None:
            now = time.monotonic()
            if now >= self._next_complaint or str(error) != str(self.trouble):
                log.warning("taking partitions up again", extra={"partitions": list(partitions), "error": str(error)})
                self._next_complaint = now + _COMPLAIN_EVERY_S
            self.trouble = error
            self._outage.failed(error)
        for partition in partitions:
            owned = self._owned.get(partition)
            if owned is None or owned.taking_up is not None:
                continue
            owned.rebuild |= isinstance(error, UnknownWindowFormatError)
            owned.unread |= unread
            owned.attempts += 1
            if owned.mark is not None:
                self._consumer.pause([TopicPartition(self._topic, partition)])
                owned.mark = None
            self._take_up(partition, _backoff_s(owned.attempts))

    def go_on(self) -> None:
        """Go on with the partitions that have been taken up."""
        self._commit_what_is_asked()
        some_ready = False
        for partition, owned in self._owned.items():
            if owned.taking_up is None or not owned.taking_up.done():
                continue
            taken_up, owned.taking_up = owned.taking_up, None
            try:
                mark = taken_up.result()
            except OffsetNotStableError as error:
                self._wait_for_offset(partition, owned, error)
            except (NotTakenUpError, redis.RedisError, UnknownWindowFormatError, KafkaException) as error:
                self.take_up_again([partition], error)
            except CancelledError:
                continue
            else:
                owned.mark, owned.rebuild, owned.unread, owned.unstable = mark, False, False, 0
                if owned.failed and (mark.topic_id != owned.failed.topic_id or mark.offset >= owned.failed.offset):
                    owned.failed = None  # it did get through, or is of another topic
                self._cleaning.submit(self._recoverer.clean_up, partition, mark, partial(self._cancelled, owned))
                log.info("scoring", extra={"partition": partition, "offset": mark.offset, "epoch": mark.epoch})
                some_ready = True
        if some_ready:
            self._forget_trouble()
            self._fetch_ready()
            if not self.recovering:
                log.info("scoring every partition", extra={"partitions": sorted(self._owned)})

    def _wait_for_offset(self, partition: int, owned: _Owned, error: OffsetNotStableError) -> None:
        """Try again until the offset is stable, which is no failure unless it takes too long.

        Raises:
            stream.outage.OutageError: it has taken far too long.
        """
        owned.unstable += 1
        why = {"partition": partition, "why": str(error)}
        if owned.unstable == 1:
            log.info("waiting to take a partition up", extra=why)
        elif owned.unstable == _PATIENT_ATTEMPTS:
            to_do = "see `kafka-transactions.sh find-hanging`, and whether the brokers are well"
            log.warning("still waiting to take a partition up", extra={**why, "to_do": to_do})
        if owned.unstable >= _PATIENT_ATTEMPTS:
            self._outage.failed(error)
        self._take_up(partition, _UNSTABLE_S)

    def _forget_trouble(self) -> None:
        if not self.recovering and not self.held_up:
            self.trouble = None

    def _fetch_ready(self) -> None:
        """Have the consumer fetch the ready partitions, each from its mark, and no other.

        By assigning them anew, since a seek is not to be relied on: after an abort the consumer's position is behind
        the batch, after an offset out of range it does not fetch at all, and a seek soon after an assignment can leave
        a partition that is never fetched again (seen with librdkafka 2.16, in one of sixty trials).
        """
        positions = [TopicPartition(self._topic, partition, mark.offset) for partition, mark in self.ready.items()]
        self._consumer.assign(positions)
        self._consumer.resume(positions)

    def close(self) -> None:
        """Wait for the threads; they have been told to stop."""
        self._commit_what_is_asked()  # with a no: nobody waits for it any longer
        self._threads.shutdown()
        self._cleaning.shutdown()

    def _take_up(self, partition: int, delay_s: float) -> None:
        owned = self._owned[partition]
        cancelled = partial(self._cancelled, owned)

        def take_up() -> Mark:
            if owned.revoked.wait(delay_s) or cancelled():
                raise CancelledError
            commit = partial(self._commit_from_elsewhere, owned)
            return self._recoverer.take_up(partition, commit, cancelled, rebuild=owned.rebuild, unread=owned.unread)

        owned.taking_up = self._threads.submit(take_up)

    def _cancelled(self, owned: _Owned) -> bool:
        return owned.revoked.is_set() or self._stop.is_set()

    def _commit_from_elsewhere(self, owned: _Owned, partition: int, offset: int) -> None:
        """Let the loop commit an offset, and wait until it has."""
        done: Future[None] = Future()
        self._commits.put((owned, TopicPartition(self._topic, partition, offset), done))
        try:
            done.result(_COMMIT_S)
        except TimeoutError:
            if done.cancel():  # nor is it committed later, behind the back of who looks again
                raise NotTakenUpError("the group's first offset could not be committed in time") from None
            done.result()

    def _commit_what_is_asked(self) -> None:
        while not self._commits.empty():
            owned, position, done = self._commits.get_nowait()
            if not done.set_running_or_notify_cancel():
                continue
            if self._cancelled(owned):  # it is another's to commit now
                done.set_exception(CancelledError())
                continue
            try:
                self._consumer.commit(offsets=[position], asynchronous=False)
            except KafkaException as error:
                done.set_exception(error)
            else:
                done.set_result(None)


def _backoff_s(attempts: int) -> float:
    doublings = min(attempts - 1, 10)  # a partition may be refused for days, and a float ends at 2 to the 1024th
    return min(_FIRST_BACKOFF_S * 2.0**doublings, _LONGEST_BACKOFF_S) if attempts > 1 else 0.0
