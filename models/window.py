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


def _plain(records: int) -> np.dtype[np.void]:
    """Return so many RECORDs as bytes, to move them: NumPy copies fields one by one, which takes ten times as long."""
    return np.dtype((np.void, records * RECORD.itemsize))


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
        return Windows(self.records.view(_plain(self.records.shape[1]))[rows].view(RECORD), self.lengths[rows])

    def put(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_], windows: "Windows") -> None:
        """Set the windows in ``rows``, in that order."""
        plain = _plain(self.records.shape[1])
        self.records.view(plain)[rows] = windows.records.view(plain)
        self.lengths[rows] = windows.lengths


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
    advanced, irregular = _append(windows, users, events, max_age_ms)
    if irregular.any():
        theirs = np.flatnonzero(irregular[users])
        theirs = theirs[np.argsort(users[theirs], kind="stable")]
        renumbered = (np.cumsum(irregular) - 1)[users[theirs]]
        inserted = _insert(windows.take(irregular), renumbered, events.take(theirs), max_age_ms)
        advanced.scored.put(theirs, inserted.scored)
        advanced.state.put(irregular, inserted.state)
    return advanced


def _append(
    windows: Windows, users: npt.NDArray[np.integer], events: Records, max_age_ms: int
) -> tuple[Advanced, npt.NDArray[np.bool_]]:
    """Advance as if every event came in order and once; say for which users that was not so.

    Each user's kept records and events are laid end to end, so that every window is a slice of that chain.
    """
    n_users, length = windows.records.shape
    counts = np.bincount(users, minlength=n_users)
    ends = np.cumsum(windows.lengths + counts)
    begins = ends - windows.lengths - counts
    order = np.argsort(users, kind="stable")
    place = np.empty(len(users), np.int64)  # of each event in the chain
    place[order] = (ends - np.cumsum(counts))[users[order]] + np.arange(len(users))
    chain = _chain(windows, events, place)

    times, ids = chain["created_at_ms"].copy(), chain["transaction"].copy()
    begin, own_time, own_id = begins[users], times[place], ids[place]
    unforeseen = (place > begin) & (times[place - 1] > own_time)
    for back in range(1, length + 1):
        unforeseen |= (place - back >= begin) & (ids[place - back] == own_id)
    irregular = np.zeros(n_users, np.bool_)
    irregular[users[unforeseen]] = True

    firsts, oldest_ms = np.maximum(begin, place - length + 1), own_time - max_age_ms
    aged = np.flatnonzero(times[firsts] < oldest_ms)
    while len(aged):
        firsts[aged] += 1
        aged = aged[times[firsts[aged]] < oldest_ms[aged]]
    kept = np.maximum(begins, ends - length)
    scored = _slices(chain, firsts, place + 1 - firsts, length)
    return Advanced(scored, _slices(chain, kept, ends - kept, length)), irregular


def _chain(windows: Windows, events: Records, place: Ints) -> Records:
    """Return the windows' records end to end with the events at ``place``, and a window's length of zeros behind."""
    n_users, length = windows.records.shape
    pool = _pool(windows, events)
    source = np.full(int(windows.lengths.sum()) + len(events) + length, len(pool) - 1)
    is_kept = np.ones(len(source), np.bool_)
    is_kept[place] = is_kept[-length:] = False
    source[is_kept] = np.flatnonzero(np.arange(length) < windows.lengths[:, None])
    source[place] = n_users * length + np.arange(len(events))
    return pool.take(source)


def _pool(windows: Windows, events: Records) -> Records:
    """Return the windows' records, whether they are any or not, then the events, then one of zeros."""
    plain = _plain(1)
    records = [windows.records.ravel(), events, np.zeros(1, RECORD)]
    return np.concatenate([each.view(plain) for each in records]).view(RECORD)


def _slices(chain: Records, firsts: Ints, lengths: Ints, sequence_length: int) -> Windows:
    """Return the windows that begin at ``firsts`` and are ``lengths`` long."""
    whole = _plain(sequence_length)
    slices = np.ndarray(len(chain) - sequence_length + 1, whole, chain, strides=chain.strides)
    records = slices[firsts].view(RECORD).reshape(len(firsts), sequence_length)
    short = np.flatnonzero(lengths < sequence_length)
    row, column = np.nonzero(np.arange(sequence_length) >= lengths[short, None])
    records.view(_plain(1))[short[row], column] = np.zeros(1, _plain(1))
    return Windows(records, lengths)


#: Users with an event left from which one call for all is worth it: NumPy takes 0.4 ms a turn, Python 5 µs an event.
_MANY = 80


def _insert(windows: Windows, users: npt.NDArray[np.integer], events: Records, max_age_ms: int) -> Advanced:
    """Advance by the definition, one event of each user at a time. ``users`` is sorted.

    Windows are moved about as indices into a pool of records, whose last one stands where a window has none.
    """
    n_users, length = windows.records.shape
    pool = _pool(windows, events)
    times, ids, nothing = pool["created_at_ms"].copy(), pool["transaction"].copy(), len(pool) - 1
    state = np.arange(n_users * length).reshape(n_users, length)
    state[np.arange(length) >= windows.lengths[:, None]] = nothing
    arrivals, scored = np.arange(n_users * length, nothing), np.empty((len(users), length), np.int64)
    counts = np.bincount(users, minlength=n_users)
    firsts = np.cumsum(counts) - counts
    column = np.arange(length + 1)
    for turn in range(int(counts.max())):
        rows = np.flatnonzero(counts > turn)
        if len(rows) < _MANY:
            _insert_singly(rows, firsts[rows] + turn, (firsts + counts)[rows], state, scored, (times, ids), max_age_ms)
            break
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
    return Advanced(*(Windows(pool.take(each), (each < nothing).sum(axis=1)) for each in (scored, state)))


def _insert_singly(
    rows: Ints,
    begins: Ints,
    ends: Ints,
    state: Ints,
    scored: Ints,
    columns: tuple[Ints, npt.NDArray[np.uint64]],
    max_age_ms: int,
) -> None:
    """Do what is left of :func:`_insert`, the events from ``begins`` to ``ends`` of the users in ``rows``, in place.

    ``columns`` are times and ids of the pool.
    """
    times, ids = (column.tolist() for column in columns)
    nothing, first_event, length = len(times) - 1, state.size, state.shape[1]
    for row, begin, end in zip(rows.tolist(), begins.tolist(), ends.tolist(), strict=True):
        held = [index for index in state[row].tolist() if index != nothing]
        for at in range(begin, end):
            event = first_event + at
            last = next((place for place, index in enumerate(held) if ids[index] == ids[event]), len(held))
            known = last < len(held)
            if not known:
                while last and times[held[last - 1]] > times[event]:
                    last -= 1
                held.insert(last, event)
            first, oldest_ms = max(0, last + 1 - length), times[held[last]] - max_age_ms
            while times[held[first]] < oldest_ms:
                first += 1
            scored[at] = held[first : last + 1] + [nothing] * (length - (last + 1 - first))
            if len(held) > length:
                del held[0]
        state[row] = held + [nothing] * (length - len(held))


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
