"""Profiles in Redis, as the scorer reads them: in the round trip in which it reads the windows.

An index, one for each definition of profiles, names the tables of the last days and their versions. A table is spread
over :data:`BUCKETS` hash tags, so that it is spread over the nodes of a Redis Cluster, too::

    tenfold:profiles:<topic>:<definition>                              the index, JSON
    tenfold:profiles:{<topic>:<definition>:<bucket>}:<version>:<kind>  hash: id -> a profile, '' -> the prior

A version is never changed: what is new gets another one, and the index is set last. The index is read again with every
batch; a batch that was asked for by another index than the one it meets is asked for again.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, NamedTuple
from zlib import crc32

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from models.context import (
    NO_DAY,
    NOTHING_KNOWN,
    PROFILE_KINDS,
    VALUES,
    Floats32,
    ProfileDefinition,
    ProfileKind,
    day_number,
    local_day,
)
from models.window import Ints

log = logging.getLogger(__name__)

BUCKETS = 16

#: The field of a table that holds its prior; no id is empty.
PRIOR = b""

_WIRE = np.dtype("<f4")
_WIDTH = len(VALUES) * _WIRE.itemsize


class PublishedTable(BaseModel):
    """A table of profiles in Redis."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    day: date
    version: Annotated[str, Field(pattern=r"^[0-9a-f]+$")]  # of the contents: the same ones have the same
    rows: int
    published_at: AwareDatetime


class ProfileIndex(BaseModel):
    """The tables that are there, by day."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    tables: tuple[PublishedTable, ...] = ()


@dataclass(frozen=True, slots=True)
class ProfileKeys:
    """The keys of the profiles of one topic and definition."""

    topic: str
    definition: ProfileDefinition

    @property
    def index(self) -> bytes:
        """The key of the index."""
        return f"tenfold:profiles:{self.topic}:{self.definition.name}".encode()

    def table(self, version: str, kind: ProfileKind, bucket: int) -> bytes:
        """Return the key of a bucket of a table."""
        return f"tenfold:profiles:{{{self.topic}:{self.definition.name}:{bucket}}}:{version}:{kind}".encode()

    def tables(self, version: str) -> list[bytes]:
        """Return the keys of a table."""
        return [self.table(version, kind, bucket) for kind in PROFILE_KINDS for bucket in range(BUCKETS)]


def bucket_of(entity: bytes) -> int:
    """Return the bucket of a merchant's or a user's id."""
    return crc32(entity) % BUCKETS


def pack_profiles(profiles: Floats32) -> list[bytes]:
    """Return each profile, ``float32 [n, len(VALUES)]``, as the bytes that Redis keeps."""
    raw = profiles.astype(_WIRE).tobytes()
    return [raw[begin : begin + _WIDTH] for begin in range(0, len(raw), _WIDTH)]


class Question(NamedTuple):
    """What a micro-batch asks of the tables, and where in the answers each event finds its own."""

    commands: list[tuple[bytes, list[bytes]]]  # key and fields of an HMGET; the first field is the prior
    places: Ints  # int64 [n, 2] of merchant and user among all fields, end to end; -1 where there is no table
    days: Ints  # int64 [n] day of each event's table, or NO_DAY
    own_days: Ints  # int64 [n] day of each event


class Found(NamedTuple):
    """The profiles of a micro-batch's events."""

    profiles: Floats32  # [n, 2, len(VALUES)] the merchant's, then the user's
    days: Ints  # int64 [n] day of each event's table, or NO_DAY
    missing: int  # events without a table
    stale: int  # events whose table is of an earlier day than their own


class ProfileTables:
    """What a scorer knows of the tables. One thread asks and reads."""

    def __init__(self, keys: ProfileKeys) -> None:
        self.keys = keys
        self._raw: bytes | None = None
        self._days = np.array([NO_DAY], np.int64)  # ascending
        self._versions: dict[int, str] = {}

    def learn(self, raw: bytes | None) -> bool:
        """Take in the index as Redis holds it; return whether it is another than before."""
        if raw == self._raw:
            return False
        try:
            index = ProfileIndex() if raw is None else ProfileIndex.model_validate_json(raw)
        except ValidationError as error:
            log.error("the index of profiles cannot be read: publish again", extra={"error": str(error)})
            index = ProfileIndex()
        self._raw = raw
        self._versions = {day_number(table.day): table.version for table in index.tables}
        self._days = np.array(sorted({NO_DAY, *self._versions}), np.int64)
        log.info("tables of profiles", extra={"days": [table.day.isoformat() for table in index.tables]})
        return True

    def ask(self, created_at_ms: Ints, merchants: Sequence[str | None], users: Sequence[bytes]) -> Question:
        """Return what to ask for events given as columns: event times (ms) and the ids of merchants and users.

        An event's table is that of its day, else the latest before it.
        """
        own_days = local_day(self.keys.definition.zone, created_at_ms)
        days = self._days[np.searchsorted(self._days, own_days, side="right") - 1]
        question = Question([], np.full((len(days), len(PROFILE_KINDS)), -1, np.int64), days, own_days)
        fields = 0
        for day in np.unique(days[days != NO_DAY]).tolist():
            rows = np.flatnonzero(days == day)
            of_day = rows.tolist()
            # who has no merchant asks for '', and is given the prior
            columns = [(merchants[row] or "").encode() for row in of_day], [users[row] for row in of_day]
            for place, (kind, ids) in enumerate(zip(PROFILE_KINDS, columns, strict=True)):
                numbers: dict[bytes, int] = {}
                of_event = [numbers.setdefault(entity, len(numbers)) for entity in ids]
                of_entity = np.empty(len(numbers), np.int64)
                for bucket, entities in _by_bucket(numbers).items():
                    question.commands.append((self.keys.table(self._versions[day], kind, bucket), [PRIOR, *entities]))
                    of_entity[[numbers[entity] for entity in entities]] = fields + 1 + np.arange(len(entities))
                    fields += 1 + len(entities)
                question.places[rows, place] = of_entity[of_event]
        return question

    def read(self, question: Question, answers: Sequence[Sequence[bytes | None]]) -> Found:
        """Return the profiles out of Redis' answers to a question's commands.

        Whoever is not in a table has its prior. Where a table is gone, nothing is known.
        """
        values, there = [NOTHING_KNOWN[None]], [np.zeros(1, np.bool_)]
        for answer in answers:
            prior = answer[0] or b""
            raw = b"".join([value or prior for value in answer])
            whole = len(raw) == len(answer) * _WIDTH and len(prior) == _WIDTH
            of_command = np.frombuffer(raw if whole else bytes(len(answer) * _WIDTH), _WIRE)
            values.append(of_command.reshape(len(answer), len(VALUES)).astype(np.float32, copy=False))
            there.append(np.full(len(answer), whole))
        found = np.concatenate(there)[question.places + 1].all(axis=1)
        profiles = np.concatenate(values)[question.places + 1]
        profiles[~found] = NOTHING_KNOWN
        days = np.where(found, question.days, NO_DAY)
        stale = int((found & (days < question.own_days)).sum())
        return Found(profiles, days, missing=int((~found).sum()), stale=stale)


def _by_bucket(entities: Iterable[bytes]) -> dict[int, list[bytes]]:
    buckets: dict[int, list[bytes]] = {}
    for entity in entities:
        buckets.setdefault(bucket_of(entity), []).append(entity)
    return buckets
