"""The context of archived events: the profiles that serving had for them, as the columns that a model reads."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.context import (
    DAY_MS,
    PROFILE_KINDS,
    Floats32,
    Profiled,
    ProfileDefinition,
    context_columns,
    local_day,
    replayed_profile_day,
)
from models.window import Ints
from training.archive import Archive
from training.profiles import Profiles, Topics, open_profiles
from training.samples import first_file_day
from training.served_days import ServedDays, open_served_days

#: Events that are good to ask for at once: each time all profiles are looked through.
AT_ONCE = 200_000


class EventContext(NamedTuple):
    """The context of events; all run side by side."""

    columns: Floats32  # [n, C]
    days: Ints  # int64 [n] of the tables of profiles, NO_DAY for none
    archived: npt.NDArray[np.bool_]  # [n] the day is that of an archived score, else that of the rule


@dataclass(frozen=True)
class Contexts:
    """The context of any events between two times; :func:`open_contexts` makes one."""

    names: Sequence[str]
    profiles: Profiles
    served: ServedDays

    def of_events(self, rows: pa.Table) -> EventContext:
        """Return the context of archived transactions, of which ``rows`` has :data:`training.samples.EVENT_COLUMNS`.

        The day of an event's table is the one that an archived score of it names, if there is one. It is never later
        than the event's own, which it could be after a score of a model of another zone. Else the day is that of the
        rule, :func:`models.context.replayed_profile_day`, with tables published at midnight.
        """
        zone = self.profiles.definition.zone
        created_at_ms, arrived_at_ms = (milliseconds(rows[name]) for name in ("created_at", "kafka_timestamp"))
        found = self.served.of_events(rows)
        by_rule = replayed_profile_day(zone, created_at_ms, arrived_at_ms)
        days = np.where(found.known, np.minimum(found.days, local_day(zone, created_at_ms)), by_rule)
        values = self.profiles.of_events(rows["merchant_id"], rows["user_id"], days)
        merchants, users = (values[:, place] for place in range(len(PROFILE_KINDS)))
        columns = context_columns(Profiled(merchants, users, rows["amount"].to_numpy()), self.names)
        return EventContext(columns, days, found.known)


@contextmanager
def open_contexts(
    archive: Archive,
    topics: Topics,
    scores: str,
    names: Sequence[str],
    definition: ProfileDefinition,
    bounds_ms: tuple[int, int],
    *,
    model_version: str | None = None,
    scratch: Path | None = None,
) -> Iterator[Contexts]:
    """Read the archive for the context of events between two times.

    Args:
        archive: where transactions, labels and scores are.
        topics: of transactions and labels.
        scores: the topic of scores.
        names: the context's columns.
        definition: of the profiles.
        bounds_ms: event times, the end not included.
        model_version: the model whose archived scores come before those of others.
        scratch: directory for what does not fit into memory.

    Raises:
        training.archive.ArchiveError: a file cannot be read.
    """
    begin_ms, end_ms = bounds_ms
    with ExitStack() as stack:
        served = stack.enter_context(
            open_served_days(
                archive,
                topics.transactions,
                scores,
                model_version=model_version,
                since=first_file_day(begin_ms, 0),
                scratch=scratch,
            )
        )
        # an event may arrive on the day before its own, a zone's day may be another, and a table may have been older
        first, last = begin_ms // DAY_MS - 2, end_ms // DAY_MS + 1
        earliest = served.earliest()
        first = first if earliest is None else min(first, earliest)
        profiles = stack.enter_context(
            open_profiles(archive, topics, definition, first=first, last=last, scratch=scratch)
        )
        yield Contexts(names, profiles, served)


def milliseconds(column: pa.ChunkedArray) -> Ints:
    """Return the times of a column of the archive, ``int64 [n]`` milliseconds since the epoch."""
    times: Ints = column.cast(pa.int64()).to_numpy()
    return times
