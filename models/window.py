"""A user's rolling window of transactions, and the one function that changes it.

Serving, recovery, training and backtest all call :func:`advance`; that is what makes them agree.
Pure NumPy: no clock, no socket.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SEQUENCE_LENGTH = 10
WINDOW_MAX_AGE_MS = 90 * 24 * 60 * 60 * 1000

VPN = 1  # bit in RECORD["flags"]

#: One transaction as a window keeps it: 29 bytes, little-endian, unaligned.
RECORD = np.dtype(
    [
        ("created_at_ms", "<i8"),  # event time, milliseconds since 1970-01-01T00:00Z
        ("transaction", "<u8"),  # 64-bit hash of the transaction id
        ("amount", "<f8"),
        ("merchant", "<u4"),  # 32-bit hash of the merchant id, 0 where there is none
        ("flags", "u1"),
    ]
)

Records = npt.NDArray[np.void]
Ints = npt.NDArray[np.int64]


class UnknownWindowFormatError(ValueError):
    """A packed window begins with a version byte that this release does not read: rebuild it from the log."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows side by side, each oldest record first.

    ``records`` is ``[n, T] RECORD``, filled from the left and zero behind ``lengths`` (``int64 [n]``, 0 to T).
    """

    records: Records
    lengths: Ints

    @classmethod
    def empty(cls, n: int, sequence_length: int = SEQUENCE_LENGTH) -> "Windows":
        """Return ``n`` windows without a record."""
        return cls(np.zeros((n, sequence_length), RECORD), np.zeros(n, np.int64))

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_] | slice) -> "Windows":
        """Return the windows in ``rows``, in that order."""
        return Windows(self.records[rows], self.lengths[rows])


class _Pool(NamedTuple):
    """The records that a call of :func:`advance` deals with; windows are moved about as indices into it."""

    records: Records
    times: Ints
    ids: npt.NDArray[np.uint64]

    @property
    def nothing(self) -> int:
        """Index of the last record, all zero, which stands where a window has none."""
        return len(self.records) - 1


class Advanced(NamedTuple):
    """What :func:`advance` returns."""

    scored: Windows  # one window per event, ending with the event
    state: Windows  # one window per user, after all events


def advance(windows: Windows, users: npt.NDArray[np.integer], events: Records, max_age_ms: int) -> Advanced:
    """Run ``events`` through their users' windows, in order of arrival.

    A window keeps its user's last T records by event time, equal times in order of arrival. An event is scored on
    the kept records not later than itself, plus itself, without those more than ``max_age_ms`` older than it. Then
    it takes its place; the oldest record beyond T leaves, which is the event itself where it is older than T kept
    ones. An event whose transaction id the window already holds is scored on the window ending at that record, and
    changes nothing.

    Args:
        windows: ``[U, T]`` the users' windows before the events.
        users: ``int [N]`` row of ``windows`` that each event belongs to; a user may have several.
        events: ``[N] RECORD`` in order of arrival.
        max_age_ms: age in milliseconds of event time up to which a record counts.

    Returns:
        ``scored`` ``[N, T]`` in the order of ``events`` and ``state`` ``[U, T]`` in the order of ``windows``.
    """
    if not len(events):
        return Advanced(windows.take(slice(0)), windows)
    n_users, length = windows.records.shape
    records = np.concatenate([windows.records.ravel(), events, np.zeros(1, RECORD)])
    pool = _Pool(records, records["created_at_ms"].copy(), records["transaction"].copy())
    kept = np.arange(n_users * length).reshape(n_users, length)
    kept[np.arange(length) >= windows.lengths[:, None]] = pool.nothing
    arrivals = np.arange(n_users * length, pool.nothing)

    order = np.argsort(users, kind="stable")
    scored, state, irregular = _append(kept, users[order], arrivals[order], pool, max_age_ms)
    if irregular.any():
        mine = irregular[users[order]]
        renumbered = (np.cumsum(irregular) - 1)[users[order][mine]]
        scored[mine], state[irregular] = _insert(kept[irregular], renumbered, arrivals[order][mine], pool, max_age_ms)
    by_arrival = np.empty_like(scored)
    by_arrival[order] = scored
    return Advanced(_look_up(pool, by_arrival), _look_up(pool, state))


def _look_up(pool: _Pool, indices: Ints) -> Windows:
    return Windows(pool.records.take(indices), (indices < pool.nothing).sum(axis=1))


def _append(
    kept: Ints, users: npt.NDArray[np.integer], arrivals: Ints, pool: _Pool, max_age_ms: int
) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
    """Advance as if every event came in order and once; say for which users that was not so.

    ``users`` is sorted. Each user's kept records and events are laid end to end, so that every window is a slice.
    """
    n_users, length = kept.shape
    nothing, times, ids = pool.nothing, pool.times, pool.ids
    column = np.arange(length)
    present = kept < nothing
    n_kept, counts = present.sum(axis=1), np.bincount(users, minlength=n_users)
    ends = np.cumsum(n_kept + counts)
    begins = ends - n_kept - counts
    chain = np.empty(ends[-1], np.int64)
    chain[(begins[:, None] + column)[present]] = kept[present]
    rank = np.arange(len(users)) - (np.cumsum(counts) - counts)[users]
    position = (begins + n_kept)[users] + rank
    chain[position] = arrivals

    # the T records ahead of each event and the event, [N, T + 1]
    reach = position[:, None] + np.arange(-length, 1)
    exists = reach >= begins[users, None]
    reach = chain[np.maximum(reach, 0)]
    own_time, own_id = times[arrivals, None], ids[arrivals, None]
    late = exists[:, -2] & (times[reach[:, -2]] > own_time[:, 0])
    seen = ((ids[reach[:, :-1]] == own_id) & exists[:, :-1]).any(axis=1)
    irregular = np.zeros(n_users, np.bool_)
    irregular[users[late | seen]] = True

    young = exists[:, 1:] & (times[reach[:, 1:]] >= own_time - max_age_ms)
    scored = _left_align(np.where(young, reach[:, 1:], nothing), young.sum(axis=1), nothing)
    last = ends[:, None] + np.arange(-length, 0)
    exists = last >= begins[:, None]
    state = _left_align(np.where(exists, chain[np.maximum(last, 0)], nothing), exists.sum(axis=1), nothing)
    return scored, state, irregular


def _left_align(indices: Ints, lengths: Ints, nothing: int) -> Ints:
    """Move the ``lengths`` last entries of each row to its front; ``nothing`` goes behind them."""
    width = indices.shape[1]
    column = np.arange(width) + (width - lengths)[:, None]
    aligned = np.take_along_axis(indices, np.minimum(column, width - 1), axis=1)
    aligned[column >= width] = nothing
    return aligned


def _insert(
    kept: Ints, users: npt.NDArray[np.integer], arrivals: Ints, pool: _Pool, max_age_ms: int
) -> tuple[Ints, Ints]:
    """Advance by the definition, one event of each user at a time. ``users`` is sorted."""
    n_users, length = kept.shape
    nothing, times, ids = pool.nothing, pool.times, pool.ids
    state, scored = kept.copy(), np.empty((len(users), length), np.int64)
    counts = np.bincount(users, minlength=n_users)
    firsts = np.cumsum(counts) - counts
    column = np.arange(length + 1)
    for turn in range(int(counts.max())):
        rows = np.flatnonzero(counts > turn)
        at = firsts[rows] + turn
        event, before = arrivals[at, None], state[rows]
        present = before < nothing
        same = present & (ids[before] == ids[event])
        known = same.any(axis=1)
        place = (present & (times[before] <= times[event])).sum(axis=1)
        inserted = np.where(
            column < place[:, None],
            np.pad(before, ((0, 0), (0, 1)), constant_values=nothing),
            np.pad(before, ((0, 0), (1, 0))),
        )
        np.put_along_axis(inserted, place[:, None], event, axis=1)
        after = np.where(known[:, None], np.pad(before, ((0, 0), (0, 1)), constant_values=nothing), inserted)

        last = np.where(known, same.argmax(axis=1), place)  # the record that the scored window ends with
        newest = times[np.take_along_axis(after, last[:, None], axis=1)]
        young = (column <= last[:, None]) & (times[after] >= newest - max_age_ms)
        first = np.maximum(np.argmax(young, axis=1), last + 1 - length)
        scored[at] = _slide(after, first, last + 1, nothing)
        overfull = (after[:, length] < nothing).astype(np.int64)
        state[rows] = _slide(after, overfull, overfull + length, nothing)
    return scored, state


def _slide(indices: Ints, first: Ints, end: Ints, nothing: int) -> Ints:
    """Return ``indices[first:end]`` of each row, one column narrower, ``nothing`` behind it."""
    column = first[:, None] + np.arange(indices.shape[1] - 1)
    taken = np.take_along_axis(indices, np.minimum(column, indices.shape[1] - 1), axis=1)
    taken[column >= end[:, None]] = nothing
    return taken


_VERSION = b"\x01"


def pack(windows: Windows) -> list[bytes]:
    """Return each window as the bytes that Redis keeps: a version byte and the records, at most 291 bytes."""
    width = windows.records.shape[1] * RECORD.itemsize
    raw = windows.records.tobytes()
    ends = (windows.lengths * RECORD.itemsize).tolist()
    return [_VERSION + raw[row * width : row * width + end] for row, end in enumerate(ends)]


def unpack(packed: Sequence[bytes | None], sequence_length: int = SEQUENCE_LENGTH) -> Windows:
    """Return the windows that :func:`pack` wrote; ``None`` is an empty one.

    Raises:
        UnknownWindowFormatError: a value of another version, or cut short.
    """
    width = sequence_length * RECORD.itemsize
    for value in packed:
        if value is not None and (value[:1] != _VERSION or len(value) % RECORD.itemsize != 1 or len(value) > width + 1):
            raise UnknownWindowFormatError(
                f"a stored window has version byte {value[:1].hex() or 'none'} and {len(value)} bytes; this release "
                f"reads version {_VERSION.hex()} of up to {sequence_length} records"
            )
    bodies = [b"" if value is None else value[1:] for value in packed]
    records = np.frombuffer(b"".join([body.ljust(width, b"\0") for body in bodies]), RECORD)
    lengths = np.fromiter(map(len, bodies), np.int64, len(bodies)) // RECORD.itemsize
    return Windows(records.reshape(len(bodies), sequence_length), lengths)
