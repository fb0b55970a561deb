"""Profiles as the scorer reads them: in the round trip in which it reads the windows, whose index among them.

Questions are made from the index as it was last seen. The answer brings the index of that moment; is it another one,
the question is asked again. So no time passes for an index to be refreshed, and a table is never taken for another.
"""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from models.context import (
    NO_DAY,
    NOTHING_KNOWN,
    PROFILE_KINDS,
    VALUES,
    Floats32,
    ProfileDefinition,
    day_number,
    local_day,
)
from models.spec import BundleSpec
from models.window import Ints
from stream.profile_layout import PRIOR, WIDTH, WIRE, ProfileIndex, ProfileKeys, buckets_of
from stream.pseudonyms import CLEAR, Pseudonyms
from stream.redis_cluster import Command

log = logging.getLogger(__name__)


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


class ProfileLookup:
    """The profiles of a micro-batch's events, read in the round trip that loads its windows."""

    def __init__(
        self, tables: "ProfileTables", created_at_ms: Ints, merchants: Sequence[str | None], users: Sequence[bytes]
    ) -> None:
        self._tables, self._events = tables, (created_at_ms, merchants, users)
        self.found: Found | None = None  # after an answer, too, where the index was another one: ask again

    def ask(self) -> list[Command]:
        """Return the commands."""
        self._question = self._tables.ask(*self._events)
        of_tables: list[Command] = [("HMGET", key, *fields) for key, fields in self._question.commands]
        return [("GET", self._tables.keys.index), *of_tables]

    def take(self, answers: Sequence[Any]) -> None:
        """Take the answers to the commands."""
        raw, *values = answers
        if not self._tables.learn(raw):
            self.found = self._tables.read(self._question, values)


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
        """Return what to ask for events given as columns: event times (ms) and the ids of merchants, users' names.

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
                commands, places = _commands(ids)
                question.commands.extend(
                    (self.keys.table(self._versions[day], kind, bucket), of_bucket) for bucket, of_bucket in commands
                )
                question.places[rows, place] = fields + places
                fields += sum(len(of_bucket) for _, of_bucket in commands)
        return question

    def read(self, question: Question, answers: Sequence[Sequence[bytes | None]]) -> Found:
        """Return the profiles out of Redis' answers to a question's commands.

        Whoever is not in a table has its prior. Where a table is gone, nothing is known.
        """
        values, there = [NOTHING_KNOWN[None]], [np.zeros(1, np.bool_)]
        for answer in answers:
            prior = answer[0] or b""
            raw = b"".join([value or prior for value in answer])
            whole = len(raw) == len(answer) * WIDTH and len(prior) == WIDTH
            of_command = np.frombuffer(raw if whole else bytes(len(answer) * WIDTH), WIRE)
            values.append(of_command.reshape(len(answer), len(VALUES)).astype(np.float32, copy=False))
            there.append(np.full(len(answer), whole))
        found = np.concatenate(there)[question.places + 1].all(axis=1)
        profiles = np.concatenate(values)[question.places + 1]
        profiles[~found] = NOTHING_KNOWN
        days = np.where(found, question.days, NO_DAY)
        stale = int((found & (days < question.own_days)).sum())
        return Found(profiles, days, missing=int((~found).sum()), stale=stale)


def tables_for(spec: BundleSpec, topic: str, pseudonyms: Pseudonyms = CLEAR) -> ProfileTables | None:
    """Return the tables that a model reads; ``None`` for one that reads none."""
    definition = ProfileDefinition(spec.zone, spec.label_delay_days)
    return ProfileTables(ProfileKeys(topic, definition, pseudonyms)) if spec.context else None


def _commands(ids: Sequence[bytes]) -> tuple[list[tuple[int, list[bytes]]], Ints]:
    """Return bucket and fields of each command that asks for ``ids``, and the place of each id among all the fields."""
    numbers: dict[bytes, int] = {}
    of_id = [numbers.setdefault(entity, len(numbers)) for entity in ids]
    entities = list(numbers)
    buckets = buckets_of(entities)
    order = np.argsort(buckets, kind="stable")
    present, begins = np.unique(buckets[order], return_index=True)
    ordered = [entities[row] for row in order.tolist()]
    commands = [
        (bucket, [PRIOR, *ordered[begin:end]])
        for bucket, begin, end in zip(present.tolist(), begins, [*begins[1:], len(ordered)], strict=True)
    ]
    places = np.empty(len(entities), np.int64)
    places[order] = np.arange(len(entities)) + np.searchsorted(present, buckets[order], side="right")  # with the priors
    return commands, places[of_id]
