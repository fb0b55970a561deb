"""One micro-batch, from records to probabilities and the windows behind them.

Arrays all the way: bytes → transactions → windows → probabilities. The window store is the only thing asked for
anything; nothing is changed here, so a batch that fails can be dropped. What is published of it: :mod:`stream.answers`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from models.context import NO_DAY, PROFILE_KINDS, Floats32, Profiled, context_columns
from models.spec import BundleSpec
from models.window import Advanced, Ints, Windows, advance
from stream.decode import DeadLetter, Decoded, Reason, decode
from stream.errors import TenfoldError
from stream.framing import Framing
from stream.parse import ParsedTransaction
from stream.profiles import Found, ProfileLookup, ProfileTables
from stream.pseudonyms import CLEAR, Pseudonyms
from stream.window_store import Beside, Load, Loaded, Mark, Save


class Model(Protocol):
    """What the scorer needs of a bundle."""

    @property
    def spec(self) -> BundleSpec:
        """What the bundle says of itself."""

    def score(self, windows: Windows, context: Floats32 | None = None) -> npt.NDArray[np.floating]:
        """Return ``[n]`` fraud probabilities; ``context`` is ``[n, C]`` where the spec names columns."""


class Store(Protocol):
    """Where windows are read."""

    def load(self, requests: Sequence[Load], beside: Beside | None = None) -> list[Loaded]:
        """Return mark and windows of several partitions, and in the same round trip read what is ``beside``."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """The records of one fetch as columns, in order of arrival; ``starts`` says what each partition starts from."""

    topic: str
    partitions: list[int]
    offsets: list[int]
    timestamps_ms: list[int]
    keys: list[bytes | None]
    values: list[bytes | None]
    starts: Mapping[int, Mark]
    group: object  # the consumer's group metadata, taken right after the fetch that returned the batch
    framing: Framing = "none"  # of the values

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def ends(self) -> dict[int, Mark]:
        """What each partition's mark will be: behind the last record."""
        last = dict(zip(self.partitions, self.offsets, strict=True))  # the last one of a partition stays
        return {
            partition: start._replace(offset=last[partition] + 1 if partition in last else start.offset)
            for partition, start in self.starts.items()
        }


class State(NamedTuple):
    """One partition's windows after a batch."""

    rows: dict[bytes, int]  # user's name -> row of windows
    windows: Windows


@dataclass(frozen=True, slots=True)
class Prepared:
    """A micro-batch after decoding."""

    batch: MicroBatch
    decoded: Decoded
    names: Sequence[bytes]  # [n] what stands for the users in Redis
    rows: dict[int, dict[bytes, int]]  # partition -> name -> row among the partition's windows
    windows: Ints  # int64 [n] row of each event among the windows of all partitions, end to end


@dataclass(frozen=True, slots=True)
class Scored:
    """A micro-batch after the model. The first six after the batch run side by side, in order of arrival."""

    batch: MicroBatch
    transactions: list[ParsedTransaction]
    rows: Ints  # int64 [n] place in the micro-batch
    probabilities: npt.NDArray[np.floating]  # [n], finite
    windows: Windows  # [n, T] that were scored
    profile_days: Ints  # int64 [n] day of the table of profiles that was used, NO_DAY for none
    context: Floats32 | None  # [n, C] what the model read beside the windows
    dead: list[DeadLetter]
    states: dict[int, State]  # by partition
    window_misses: int
    window_hits: int
    profiles_missing: int  # events without a table of profiles, where the model reads them
    profiles_stale: int  # events whose table is of an earlier day

    @property
    def lengths(self) -> Ints:
        """Return the transactions in each window that was scored, ``int64 [n]``."""
        return self.windows.lengths

    @property
    def saves(self) -> list[Save]:
        """Return what the window store has to set."""
        ends = self.batch.ends
        return [
            Save(partition, self.batch.starts[partition], ends[partition], list(state.rows), state.windows)
            for partition, state in self.states.items()
        ]


class MarkMovedError(Exception):
    """Windows are not where the batch starts: another owner, or a Redis that lost writes. Nothing was scored."""

    def __init__(self, partitions: list[int]) -> None:
        super().__init__(f"the windows of partition {', '.join(map(str, partitions))} are not where this batch starts")
        self.partitions = partitions


class ModelFailedError(TenfoldError):
    """The model scores nothing any more."""


Timer = Callable[[str], AbstractContextManager[object]]  # times a stage by its name


def prepare(batch: MicroBatch, timer: Timer, pseudonyms: Pseudonyms = CLEAR) -> Prepared:
    """Decode a micro-batch and find out which windows it needs; ``timer`` times the stage decode."""
    with timer("decode"):
        decoded = decode(batch.keys, batch.values, batch.timestamps_ms, batch.framing)
        decoded.records.setflags(write=False)  # made here, while the batch before is scored; from now on only read
        names = pseudonyms.of(decoded.users)
        partitions = np.array(batch.partitions, np.int64)[decoded.rows]
        windows = np.empty(len(partitions), np.int64)
        by_partition: dict[int, dict[bytes, int]] = {}
        base = 0
        for partition in batch.starts:
            mine = np.flatnonzero(partitions == partition)
            rows: dict[bytes, int] = {}
            windows[mine] = [base + rows.setdefault(names[event], len(rows)) for event in mine.tolist()]
            by_partition[partition] = rows
            base += len(rows)
    return Prepared(batch, decoded, names, by_partition, windows)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What the store had for a micro-batch when it was asked."""

    answers: list[tuple[Load, Loaded]]  # one a partition; a user that the batch before touches is not asked for
    found: Found | None  # profiles, where the model reads them


def fetch(
    prepared: Prepared, store: Store, *, before: Prepared | None, timer: Timer, tables: ProfileTables | None = None
) -> Fetched:
    """Read windows and profiles for a micro-batch, as soon as all batches but the one ``before`` it are saved.

    The windows of users of the batch before are not asked for: it will change them.

    Raises:
        redis.RedisError: the store does not answer.
    """
    with timer("load"):
        lookup = None if tables is None else _lookup(prepared, tables)
        requests = []
        for partition, start in prepared.batch.starts.items():
            touched = before.rows.get(partition, {}) if before else {}
            users = [user for user in prepared.rows[partition] if user not in touched]
            requests.append(Load(partition, start.epoch, users))
        answers = list(zip(requests, store.load(requests, lookup), strict=True))
        while lookup is not None and lookup.found is None:  # tables were published in between
            store.load([], lookup)
    return Fetched(answers, lookup.found if lookup else None)


def score(prepared: Prepared, fetched: Fetched, model: Model, *, before: Scored | None, timer: Timer) -> Scored:
    """Score a micro-batch.

    Args:
        prepared: the records.
        fetched: what :func:`fetch` has read for them, with the same batch before.
        model: what scores them.
        before: the batch before, while its windows may not be in the store yet.
        timer: times the stages advance and model.

    Raises:
        MarkMovedError: a partition's windows are not where the batch starts.
        ModelFailedError: the model fails on every input.
    """
    decoded, found = prepared.decoded, fetched.found
    loaded = _windows(prepared, fetched, before)
    context = None if found is None else _context(decoded, found, model)
    states, scored, probabilities, scorable = _advance_and_score(prepared, loaded, context, model, timer)
    unscorable = decoded.rows[~scorable]
    hits = sum(int((windows.lengths > 0).sum()) for windows in loaded.values())
    return Scored(
        prepared.batch,
        decoded.transactions if scorable.all() else list(compress(decoded.transactions, scorable.tolist())),
        decoded.rows[scorable],
        probabilities,
        scored,
        np.full(int(scorable.sum()), NO_DAY) if found is None else found.days[scorable],
        None if context is None else context[scorable],
        decoded.dead
        + [
            DeadLetter(row, Reason.NOT_SCORABLE, "the model has no finite answer to it: keep it for the model's makers")
            for row in unscorable.tolist()
        ],
        states,
        window_misses=sum(map(len, loaded.values())) - hits,
        window_hits=hits,
        profiles_missing=found.missing if found else 0,
        profiles_stale=found.stale if found else 0,
    )


def rescore(prepared: Prepared, fetched: Fetched, scored: Scored, model: Model) -> npt.NDArray[np.floating]:
    """Return what another model says of the windows of a scored micro-batch, ``[n]``; it need not be finite.

    Where it reads profiles, these have to be the ones that were fetched.
    """
    context = None
    if model.spec.context:
        if fetched.found is None:
            raise AssertionError("a model that reads profiles scores batches that have them")
        events = np.searchsorted(prepared.decoded.rows, scored.rows)
        context = _context(prepared.decoded, fetched.found, model)[events]
    return model.score(scored.windows, context)


def _lookup(prepared: Prepared, tables: ProfileTables) -> ProfileLookup:
    merchants = [transaction.merchant_id for transaction in prepared.decoded.transactions]
    return ProfileLookup(tables, prepared.decoded.records["created_at_ms"], merchants, prepared.names)


def _context(decoded: Decoded, found: Found, model: Model) -> Floats32:
    merchants, users = (found.profiles[:, place] for place in range(len(PROFILE_KINDS)))
    return context_columns(Profiled(merchants, users, decoded.records["amount"]), model.spec.context)


def _windows(prepared: Prepared, fetched: Fetched, before: Scored | None) -> dict[int, Windows]:
    """Return each partition's windows, those of the batch before from memory."""
    batch, rows = prepared.batch, prepared.rows
    in_memory = before.states if before else {}
    ends_before = before.batch.ends if before else {}
    moved, windows = [], {}
    for request, answer in fetched.answers:
        partition, start = request.partition, batch.starts[request.partition]
        expected = [start]
        if before and partition in in_memory:
            expected.append(before.batch.starts[partition])  # not saved yet
        if answer.mark not in expected or ends_before.get(partition, start) != start:
            moved.append(partition)
        elif partition in in_memory:
            windows[partition] = _merge(rows[partition], in_memory[partition], request.users, answer.windows)
        else:
            windows[partition] = answer.windows
    if moved:
        raise MarkMovedError(moved)
    return windows


def _merge(rows: dict[bytes, int], known: State, loaded_users: Sequence[bytes], loaded: Windows) -> Windows:
    merged = Windows.empty(len(rows), loaded.records.shape[1])
    merged.put(np.array([rows[user] for user in loaded_users], np.int64), loaded)
    pairs = [(row, known.rows[user]) for user, row in rows.items() if user in known.rows]
    if pairs:
        to, source = np.array(pairs, np.int64).T
        merged.put(to, known.windows.take(source))
    return merged


def _advance_and_score(
    prepared: Prepared, loaded: Mapping[int, Windows], context: Floats32 | None, model: Model, timer: Timer
) -> tuple[dict[int, State], Windows, npt.NDArray[np.floating], npt.NDArray[np.bool_]]:
    """Advance the windows and score them, without the events for which the model has no finite answer."""
    decoded = prepared.decoded
    kept = [loaded[partition] for partition in prepared.rows]
    windows = Windows(np.concatenate([w.records for w in kept]), np.concatenate([w.lengths for w in kept]))
    scorable = np.ones(len(decoded.rows), np.bool_)
    while True:
        with timer("advance"):
            events, users = decoded.records[scorable], prepared.windows[scorable]
            advanced: Advanced = advance(windows, users, events, model.spec.window_max_age_ms)
        with timer("model"):
            probabilities = _score(model, advanced.scored, None if context is None else context[scorable])
        finite = np.isfinite(probabilities)
        if finite.all():
            break
        # without the first such event of each window, since the ones behind it were scored with it
        bad = np.flatnonzero(~finite)
        _, first = np.unique(users[bad], return_index=True)
        scorable[np.flatnonzero(scorable)[bad[first]]] = False
    states, base = {}, 0
    for partition, rows in prepared.rows.items():
        states[partition] = State(rows, advanced.state.take(slice(base, base + len(rows))))
        base += len(rows)
    return states, advanced.scored, probabilities, scorable


def _score(model: Model, windows: Windows, context: Floats32 | None) -> npt.NDArray[np.floating]:
    """Score windows; where the model fails on some, find them by halves and give them no finite answer.

    Raises:
        ModelFailedError: it is the model that fails, not the windows.
    """
    try:
        return model.score(windows, context)
    except Exception as error:  # noqa: BLE001 -- a runtime's errors have no common class
        _check_model(model, error)
        if len(windows) == 1:
            return np.full(1, np.nan)
        halves = slice(len(windows) // 2), slice(len(windows) // 2, None)
        return np.concatenate(
            [_score(model, windows.take(half), None if context is None else context[half]) for half in halves]
        )


def _check_model(model: Model, error: Exception) -> None:
    """Raise ModelFailedError if the model cannot score the plainest window there is."""
    plainest = Windows.empty(1, model.spec.sequence_length)
    plainest.lengths[:] = 1
    try:
        model.score(plainest, np.zeros((1, len(model.spec.context)), np.float32) if model.spec.context else None)
    except Exception:  # noqa: BLE001
        raise ModelFailedError(
            f"model {model.spec.model_version} fails on every input ({error}): start with another one, TENFOLD_MODEL"
        ) from error
