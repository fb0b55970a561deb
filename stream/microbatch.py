"""One micro-batch, from records to what has to be published and saved.

Arrays all the way: bytes → transactions → windows → probabilities → bytes. The window store is the only thing asked
for anything; nothing is changed here, so a batch that fails can be dropped.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from models.spec import BundleSpec
from models.window import Advanced, Ints, Windows, advance
from stream.decode import DeadLetter, Decoded, Reason, decode
from stream.encode import Output, Verdict, dead_letter, encode_scores, rounded, source_headers
from stream.errors import TenfoldError
from stream.window_store import Load, Loaded, Mark, Save


class Model(Protocol):
    """What the scorer needs of a bundle."""

    @property
    def spec(self) -> BundleSpec:
        """What the bundle says of itself."""

    def score(self, windows: Windows) -> npt.NDArray[np.floating]:
        """Return ``[n]`` fraud probabilities."""


class Store(Protocol):
    """Where windows are read."""

    def load(self, requests: Sequence[Load]) -> list[Loaded]:
        """Return mark and windows of several partitions."""


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

    rows: dict[bytes, int]  # user -> row of windows
    windows: Windows


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """What a micro-batch leads to: records to publish, then windows to save."""

    batch: MicroBatch
    scores: list[Output]
    partitions: list[int]  # of the scores
    dead_letters: list[Output]
    reasons: list[Reason]
    states: dict[int, State]  # by partition
    anomalies: int
    insufficient: int
    window_misses: int
    window_hits: int

    @property
    def users(self) -> list[bytes]:
        """Return the scores' keys."""
        return [score.key or b"" for score in self.scores]

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


def score_batch(
    batch: MicroBatch,
    store: Store,
    model: Model,
    *,
    before: ScoredBatch | None,
    scored_at: str,
    timer: Timer,
    truncate: bool = False,
) -> ScoredBatch:
    """Score a micro-batch.

    Args:
        batch: the records.
        store: where the windows are.
        model: what scores them.
        before: the batch before, while its windows may not be in the store yet.
        scored_at: the time to write into the scores.
        timer: times the stages decode, load, advance, model and encode.
        truncate: cut large dead letters, because the broker has refused them whole.

    Raises:
        MarkMovedError: a partition's windows are not where the batch starts.
        ModelFailedError: the model fails on every input.
        redis.RedisError: the store does not answer.
    """
    with timer("decode"):
        decoded = decode(batch.keys, batch.values, batch.timestamps_ms)
        places = _group_by_user(batch, decoded)
    with timer("load"):
        loaded = _load(batch, places, store, before)
    states, scored, raw, unscorable = _advance_and_score(decoded, places, loaded, model, timer)
    with timer("encode"):
        spec = model.spec
        probabilities = rounded(raw)
        good = np.setdiff1d(np.arange(len(decoded.rows)), unscorable)
        verdict = Verdict(spec.model_version, spec.threshold, spec.sequence_length)
        transactions = [decoded.transactions[row] for row in good.tolist()]
        values = encode_scores(transactions, probabilities, scored.lengths, verdict, scored_at)
        rows = decoded.rows[good].tolist()
        partitions = [batch.partitions[row] for row in rows]
        headers = source_headers(batch.topic, partitions, [batch.offsets[row] for row in rows])
        scores = list(map(Output, [batch.keys[row] for row in rows], values, headers))
        dead = decoded.dead + [
            DeadLetter(row, Reason.NOT_SCORABLE, "the model has no finite answer to it: keep it for the model's makers")
            for row in decoded.rows[unscorable].tolist()
        ]
        dead_letters = [_dead_letter(batch, letter, truncate=truncate) for letter in dead]
    hits = sum(int((windows.lengths > 0).sum()) for windows in loaded.values())
    return ScoredBatch(
        batch,
        scores,
        partitions,
        dead_letters,
        [letter.reason for letter in dead],
        states,
        anomalies=int((probabilities > spec.threshold).sum()),
        insufficient=int((scored.lengths < spec.sequence_length).sum()),
        window_misses=sum(map(len, loaded.values())) - hits,
        window_hits=hits,
    )


class _Places(NamedTuple):
    """Which window each decoded event belongs to."""

    rows: dict[int, dict[bytes, int]]  # partition -> user -> row among the partition's windows
    windows: Ints  # int64 [n] row among the windows of all partitions, end to end


def _group_by_user(batch: MicroBatch, decoded: Decoded) -> _Places:
    partitions = np.array(batch.partitions, np.int64)[decoded.rows]
    windows = np.empty(len(partitions), np.int64)
    by_partition: dict[int, dict[bytes, int]] = {}
    base = 0
    for partition in batch.starts:
        mine = np.flatnonzero(partitions == partition)
        rows: dict[bytes, int] = {}
        windows[mine] = [base + rows.setdefault(decoded.users[event], len(rows)) for event in mine.tolist()]
        by_partition[partition] = rows
        base += len(rows)
    return _Places(by_partition, windows)


def _load(batch: MicroBatch, places: _Places, store: Store, before: ScoredBatch | None) -> dict[int, Windows]:
    """Return each partition's windows, those of the batch before from memory."""
    in_memory = before.states if before else {}
    ends_before = before.batch.ends if before else {}
    requests = []
    for partition, start in batch.starts.items():
        known = in_memory[partition].rows if partition in in_memory else {}
        requests.append(Load(partition, start.epoch, [user for user in places.rows[partition] if user not in known]))
    moved, windows = [], {}
    for request, answer in zip(requests, store.load(requests), strict=True):
        partition, start = request.partition, batch.starts[request.partition]
        expected = [start]
        if before and partition in in_memory:
            expected.append(before.batch.starts[partition])  # not saved yet
        if answer.mark not in expected or ends_before.get(partition, start) != start:
            moved.append(partition)
        elif partition in in_memory:
            windows[partition] = _merge(places.rows[partition], in_memory[partition], request.users, answer.windows)
        else:
            windows[partition] = answer.windows
    if moved:
        raise MarkMovedError(moved)
    return windows


def _merge(rows: dict[bytes, int], known: State, loaded_users: Sequence[bytes], loaded: Windows) -> Windows:
    merged = Windows.empty(len(rows), loaded.records.shape[1])
    at = [rows[user] for user in loaded_users]
    merged.records[at], merged.lengths[at] = loaded.records, loaded.lengths
    pairs = [(row, known.rows[user]) for user, row in rows.items() if user in known.rows]
    if pairs:
        to, source = map(list, zip(*pairs, strict=True))
        merged.records[to], merged.lengths[to] = known.windows.records[source], known.windows.lengths[source]
    return merged


def _advance_and_score(
    decoded: Decoded, places: _Places, loaded: Mapping[int, Windows], model: Model, timer: Timer
) -> tuple[dict[int, State], Windows, npt.NDArray[np.floating], Ints]:
    """Advance the windows and score them, without the events for which the model has no finite answer."""
    kept = [loaded[partition] for partition in places.rows]
    windows = Windows(np.concatenate([w.records for w in kept]), np.concatenate([w.lengths for w in kept]))
    scorable = np.ones(len(decoded.rows), np.bool_)
    while True:
        with timer("advance"):
            events, users = decoded.records[scorable], places.windows[scorable]
            advanced: Advanced = advance(windows, users, events, model.spec.window_max_age_ms)
        with timer("model"):
            probabilities = _score(model, advanced.scored)
        finite = np.isfinite(probabilities)
        if finite.all():
            break
        # without the first such event of each window, since the ones behind it were scored with it
        bad = np.flatnonzero(~finite)
        _, first = np.unique(users[bad], return_index=True)
        scorable[np.flatnonzero(scorable)[bad[first]]] = False
    states, base = {}, 0
    for partition, rows in places.rows.items():
        states[partition] = State(rows, advanced.state.take(slice(base, base + len(rows))))
        base += len(rows)
    return states, advanced.scored, probabilities, np.flatnonzero(~scorable)


def _score(model: Model, windows: Windows) -> npt.NDArray[np.floating]:
    """Score windows; where the model fails on some, find them by halves and give them no finite answer.

    Raises:
        ModelFailedError: it is the model that fails, not the windows.
    """
    try:
        return model.score(windows)
    except Exception as error:  # noqa: BLE001 -- a runtime's errors have no common class
        _check_model(model, error)
        if len(windows) == 1:
            return np.full(1, np.nan)
        half = len(windows) // 2
        return np.concatenate(
            [_score(model, windows.take(slice(half))), _score(model, windows.take(slice(half, None)))]
        )


def _check_model(model: Model, error: Exception) -> None:
    """Raise ModelFailedError if the model cannot score the plainest window there is."""
    plainest = Windows.empty(1, model.spec.sequence_length)
    plainest.lengths[:] = 1
    try:
        model.score(plainest)
    except Exception:  # noqa: BLE001
        raise ModelFailedError(
            f"model {model.spec.model_version} fails on every input ({error}): start with another one, TENFOLD_MODEL"
        ) from error


def _dead_letter(batch: MicroBatch, dead: DeadLetter, *, truncate: bool) -> Output:
    row = dead.row
    source = (batch.topic, batch.partitions[row], batch.offsets[row], batch.timestamps_ms[row])
    return dead_letter(dead, source, batch.keys[row], batch.values[row], truncate=truncate)
