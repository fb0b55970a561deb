"""Windows of a partition that are rebuilt: kept in memory while a long run of events goes through them.

Reading and saving them with every chunk of the log costs more than all the rest of a rebuild. Redis sees them a slice
at a time, when there are too many and at the end; until then the mark says that they are not whole
(:data:`stream.recovery.UNFINISHED`), so that whoever finds them begins anew.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from models.window import Records, Windows, advance
from stream.window_store import Load, Mark, Save, WindowStore

#: Windows of one save: Redis does nothing else meanwhile, for some 10 ms.
_SLICE = 2_000


class WindowsMovedError(Exception):
    """The mark is not where it was left: another process rebuilds these windows, or has."""


class HeldWindows:
    """Windows of an epoch that has just begun with ``mark``; at most about ``most`` of them are in memory at once.

    A window in memory takes about 400 bytes. ``max_age_ms`` is as in :func:`models.window.advance`.
    """

    def __init__(self, store: WindowStore, partition: int, mark: Mark, max_age_ms: int, most: int = 100_000) -> None:
        self._store, self._partition, self._mark = store, partition, mark
        self._max_age_ms, self._most = max_age_ms, most
        self._some_saved = False
        self._forget()

    def advance(self, users: Sequence[bytes], records: Records) -> None:
        """Run ``records`` of ``users``, side by side in order of arrival, through the windows.

        Raises:
            WindowsMovedError: somebody else is at it.
            redis.RedisError: Redis does not do its part.
        """
        if len(self._rows) + len(users) > self._most:
            self._save()
        known = len(self._rows)
        rows = np.fromiter(map(self._rows.__getitem__, users), np.int64, len(users))
        if len(self._rows) > known:
            self._add(known, list(dict.fromkeys(users[place] for place in np.flatnonzero(rows >= known).tolist())))
        needed, places = np.unique(rows, return_inverse=True)
        self._windows.put(needed, advance(self._windows.take(needed), places, records, self._max_age_ms).state)

    def finish(self, offset: int) -> Mark:
        """Save all windows and say that they are whole: they hold the events below ``offset``. Return that mark.

        Raises:
            WindowsMovedError: somebody else is at it.
            redis.RedisError: Redis does not do its part.
        """
        self._save()
        self._move(self._mark._replace(offset=offset), [], Windows.empty(0, self._store.sequence_length))
        return self._mark

    def _forget(self) -> None:
        self._rows: defaultdict[bytes, int] = defaultdict()  # whoever is new has the next row
        self._rows.default_factory = self._rows.__len__
        self._windows = Windows.empty(0, self._store.sequence_length)

    def _add(self, first: int, users: list[bytes]) -> None:
        """Give the windows of ``users``, whose rows begin at ``first``, a place."""
        room = len(self._windows)
        if first + len(users) > room:
            more = Windows.empty(max(first + len(users) - room, room), self._store.sequence_length)
            self._windows = Windows(
                np.concatenate([self._windows.records, more.records]),
                np.concatenate([self._windows.lengths, more.lengths]),
            )
        rows = slice(first, first + len(users))
        if self._some_saved:
            [loaded] = self._store.load([Load(self._partition, self._mark.epoch, users)])
            if loaded.mark != self._mark:
                raise WindowsMovedError
            self._windows.records[rows], self._windows.lengths[rows] = loaded.windows.records, loaded.windows.lengths

    def _save(self) -> None:
        users = list(self._rows)
        for begin in range(0, len(users), _SLICE):
            rows = slice(begin, min(begin + _SLICE, len(users)))
            step = self._mark._replace(offset=self._mark.offset - 1)  # each another, so that a save is made once
            self._move(step, users[rows], self._windows.take(rows))
        self._some_saved |= bool(users)
        self._forget()

    def _move(self, mark: Mark, users: Sequence[bytes], windows: Windows) -> None:
        if self._store.save([Save(self._partition, self._mark, mark, users, windows)]) != [True]:
            raise WindowsMovedError
        self._mark = mark
