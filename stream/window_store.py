"""Windows in Redis, and the mark that says up to which offset of the log they are.

Keys of a partition share a hash tag, so they share a slot of Redis Cluster::

    tenfold:{<group>:<topic>:<partition>}:mark              topic id, epoch, offset
    tenfold:{<group>:<topic>:<partition>}:<epoch>:<name>    a packed window
    tenfold:{<group>:<topic>:<partition>}:carried           set of epochs, to be dropped when under older keys
    tenfold:{<group>:<topic>:<partition>}:over              set of epochs that are over, to be dropped

Every window of an epoch holds exactly the events below the mark. The epoch is random, so an old writer can never
match a new one; where users have pseudonyms (:mod:`stream.pseudonyms`), it also says under which keys, so that owners
with other keys never share an epoch. Here a user is whatever name stands in the key.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, NamedTuple, Protocol, Self, cast

from models.window import SEQUENCE_LENGTH, UnknownWindowFormatError, Windows, pack, unpack
from stream.pseudonyms import CLEAR, Pseudonyms
from stream.redis_client import Client, connect, owner, ping, round_trip, run_script
from stream.redis_cluster import Command
from stream.settings import Settings

#: Sets windows and mark together, if the mark still is what the batch started from.
_COMPARE_AND_SET = """
local mark = redis.call('GET', KEYS[1]) or ''
if mark == ARGV[2] then return 1 end  -- saved by an attempt whose answer was lost
if mark ~= ARGV[1] then return 0 end
for i = 2, #KEYS do redis.call('SET', KEYS[i], ARGV[i + 2], 'EX', ARGV[3]) end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
_SCAN_COUNT = 1000


class UnknownMarkError(UnknownWindowFormatError):
    """What stands where a partition's mark should be is none that this release reads: as with windows, rebuild them."""


class Mark(NamedTuple):
    """Up to where the windows of an epoch are: they hold the events of topic ``topic_id`` below ``offset``."""

    topic_id: str
    epoch: str
    offset: int

    def to_bytes(self) -> bytes:
        """Return the value that Redis keeps."""
        return f"{self.topic_id} {self.epoch} {self.offset}".encode()

    @classmethod
    def from_bytes(cls, value: bytes | None) -> Self | None:
        """Read what :meth:`to_bytes` wrote; ``None`` where there is no mark.

        Raises:
            ValueError: the value is not a mark.
        """
        if value is None:
            return None
        topic_id, epoch, offset = value.decode().split(" ")
        return cls(topic_id, epoch, int(offset))


class Load(NamedTuple):
    """A request for windows of one partition."""

    partition: int
    epoch: str
    users: Sequence[bytes]


class Loaded(NamedTuple):
    """One partition's mark and the windows asked for, read at one instant."""

    mark: Mark | None
    windows: Windows  # [users, T]


class Beside(Protocol):
    """What else is read in the round trip that loads windows."""

    def ask(self) -> list[Command]:
        """Return the commands."""

    def take(self, answers: Sequence[Any]) -> None:
        """Take the answers to those commands."""


class Save(NamedTuple):
    """A request to move one partition from ``expected`` to ``mark``, windows included."""

    partition: int
    expected: Mark | None
    mark: Mark
    users: Sequence[bytes]
    windows: Windows  # [users, T]


def open_store(settings: Settings, sequence_length: int = SEQUENCE_LENGTH) -> "WindowStore":
    """Return the store of the group and the topic of ``settings``."""
    ttl_s = settings.window_ttl_days * 86_400
    client, pseudonyms = connect(settings), settings.pseudonyms
    return WindowStore(client, settings.group_id, settings.input_topic, sequence_length, ttl_s, pseudonyms)


@dataclass(frozen=True)
class WindowStore:
    """The windows of one group on one topic. Methods raise ``redis.RedisError`` when Redis does not do its part."""

    client: Client
    group_id: str
    topic: str
    sequence_length: int
    ttl_s: int
    pseudonyms: Pseudonyms = CLEAR  # whose names the users of all requests have

    def ping(self) -> None:
        """Return if Redis answers."""
        ping(self.client)

    def mark(self, partition: int) -> Mark | None:
        """Return a partition's mark.

        Raises:
            UnknownMarkError: there is something else in its place.
        """
        key = self._mark_key(partition)
        try:
            return Mark.from_bytes(cast("bytes | None", self.client.get(key)))
        except ValueError:
            raise UnknownMarkError(
                f"partition {partition}: what stands under {key.decode()} is no mark that this release reads"
            ) from None

    def load(self, requests: Sequence[Load], beside: Beside | None = None) -> list[Loaded]:
        """Return mark and windows of several partitions; one MGET each, in one round trip with what is ``beside``.

        A mark that this release cannot read is none here: nobody starts from it.

        Raises:
            models.window.UnknownWindowFormatError: a window was written by another release.
        """
        commands: list[Command] = [
            ("MGET", self._mark_key(each.partition), *self._window_keys(each.partition, each.epoch, each.users))
            for each in requests
        ]
        answers = round_trip(self.client, [*commands, *(beside.ask() if beside else [])])
        if beside is not None:
            beside.take(answers[len(requests) :])
        return [
            Loaded(_read_or_none(values[0]), unpack(values[1:], self.sequence_length))
            for values in answers[: len(requests)]
        ]

    def save(self, requests: Sequence[Save]) -> list[bool]:
        """Set windows and marks, one script a partition in one round trip; say which partitions were moved.

        A partition whose mark is not the expected one is left as it is: somebody else owns it, or Redis lost writes.
        Asking again for what was saved already is answered with yes.
        """
        answers = run_script(self.client, _COMPARE_AND_SET, [self._arguments(request) for request in requests])
        return [answer == 1 for answer in answers]

    def _arguments(self, request: Save) -> list[bytes | int]:
        """Return what the script is run with: the number of its keys, the keys, its arguments."""
        keys = self._window_keys(request.partition, request.mark.epoch, request.users)
        expected = request.expected.to_bytes() if request.expected else b""
        return [
            1 + len(keys),
            self._mark_key(request.partition),
            *keys,
            expected,
            request.mark.to_bytes(),
            self.ttl_s,
            *pack(request.windows),
        ]

    def forget_mark(self, partition: int) -> None:
        """Take a partition's mark away: who takes it up finds none."""
        self.client.delete(self._mark_key(partition))

    def forget(self, partition: int) -> None:
        """Take a partition's mark away, and the windows of every epoch. Only while nobody scores it."""
        self.forget_mark(partition)
        self.drop_epoch(partition, "*")

    def new_epoch(self) -> str:
        """Return an epoch that nobody has had."""
        return self.pseudonyms.epoch(token_hex(8))

    def carry(self, partition: int, mark: Mark) -> Mark | None:
        """Bring the windows below ``mark`` from an older generation of pseudonyms under the newest.

        They are copied by Redis, with what is left of their time, into an epoch of this call alone: one that has lost
        the partition, and does not know yet, so writes to none that is in force. Then the mark moves. Killed before
        that, all is as it was; later, :meth:`drop_carried` does the rest. What an attempt in vain has copied it leaves
        to the next change of keys, and to its end. Return the mark, ``None`` if another process moved it meanwhile.

        Raises:
            stream.pseudonyms.PseudonymsError: they lie under keys that are not this store's.
        """
        generation = self.pseudonyms.generation_of(mark.epoch)
        after = mark._replace(epoch=self.new_epoch())
        self.client.sadd(self._carried_key(partition), mark.epoch, after.epoch)
        [before, to] = (self._window_keys(partition, each.epoch, [b""])[0] for each in (mark, after))
        for keys in filter(None, self._scan(partition, mark.epoch)):
            names = self.pseudonyms.forward([key.removeprefix(before) for key in keys], generation)
            pairs = zip(keys, names, strict=True)
            round_trip(self.client, [("COPY", key, to + name, "REPLACE") for key, name in pairs])
        nothing = Windows.empty(0, self.sequence_length)
        return after if self.save([Save(partition, mark, after, [], nothing)]) == [True] else None

    def drop_carried(self, partition: int, mark: Mark, unwanted: Callable[[], bool] = lambda: False) -> int:
        """Unlink the windows of epochs under older keys than those of ``mark``, which is in force; return how many.

        ``unwanted`` is as in :meth:`drop_over`.
        """
        note, dropped = self._carried_key(partition), 0
        for epoch in self._noted(note):
            if self.pseudonyms.is_older(epoch, mark.epoch):
                dropped += self._drop_noted(note, partition, epoch, unwanted)
            elif epoch == mark.epoch:  # else of an attempt in vain, or of a process with newer keys
                self.client.srem(note, epoch)
        return dropped

    def note_over(self, partition: int, epoch: str) -> None:
        """Note, for :meth:`drop_over`, that an epoch is over as soon as the mark is of another one."""
        self.client.sadd(self._over_key(partition), epoch)

    def drop_over(self, partition: int, mark: Mark, unwanted: Callable[[], bool]) -> int:
        """Unlink the windows of epochs that are noted to be over, ``mark`` being in force; return how many there were.

        Looks at every key of the server. ``unwanted`` is asked on the way, and ends it; what is left stays noted.
        """
        note = self._over_key(partition)
        over = [epoch for epoch in self._noted(note) if epoch != mark.epoch]
        return sum(self._drop_noted(note, partition, epoch, unwanted) for epoch in over)

    def _noted(self, note: bytes) -> list[str]:
        return sorted(each.decode() for each in cast("set[bytes]", self.client.smembers(note)))

    def _drop_noted(self, note: bytes, partition: int, epoch: str, unwanted: Callable[[], bool]) -> int:
        dropped = self.drop_epoch(partition, epoch, unwanted)
        if not unwanted():
            self.client.srem(note, epoch)
        return dropped

    def drop_epoch(self, partition: int, epoch: str, unwanted: Callable[[], bool] = lambda: False) -> int:
        """Unlink the windows of an epoch that is over, until it is ``unwanted``; return how many there were."""
        server, dropped = owner(self.client, self._mark_key(partition)), 0
        for keys in self._scan(partition, epoch):
            if unwanted():
                break
            dropped += server.unlink(*keys) if keys else 0
        return dropped

    def _scan(self, partition: int, epoch: str) -> Iterator[list[bytes]]:
        """Yield the keys of an epoch's windows, some or none at a time, some of them twice."""
        cursor = None
        pattern = self._window_keys(partition, epoch, [b"*"])[0]
        server = owner(self.client, self._mark_key(partition))  # nobody else has keys of this partition
        while cursor != 0:
            cursor, keys = cast("tuple[int, list[bytes]]", server.scan(cursor or 0, pattern, _SCAN_COUNT))
            yield keys

    def _prefix(self, partition: int) -> bytes:
        return f"tenfold:{{{self.group_id}:{self.topic}:{partition}}}:".encode()

    def _mark_key(self, partition: int) -> bytes:
        return self._prefix(partition) + b"mark"

    def _carried_key(self, partition: int) -> bytes:
        return self._prefix(partition) + b"carried"

    def _over_key(self, partition: int) -> bytes:
        return self._prefix(partition) + b"over"

    def _window_keys(self, partition: int, epoch: str, users: Sequence[bytes]) -> list[bytes]:
        prefix = self._prefix(partition) + epoch.encode() + b":"
        return [prefix + user for user in users]


def _read_or_none(value: bytes | None) -> Mark | None:
    try:
        return Mark.from_bytes(value)
    except ValueError:
        return None
