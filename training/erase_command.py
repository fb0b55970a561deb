"""``tenfold erase-user``: archive, tables of profiles, Redis, then all of them once more as the proof.

The user's id is in no line of the report, of a log or of an error.
"""

from dataclasses import asdict, dataclass
from functools import partial
from typing import NamedTuple

import redis

from stream.errors import TenfoldError, UsageError
from stream.plurals import count_of
from stream.progress import Counted, nobody
from stream.redis_client import Client
from stream.settings import Settings
from training.archive import Archive
from training.archive_command import kinds_of
from training.archive_writer import unfinished_files
from training.erase import Swept, SweptTables, sweep_tables, sweep_topic
from training.erase_redis import sweep_profiles, sweep_windows

_LONGEST_ID = 128  # as the contract of a transaction has it

#: What this command has no hand on; docs/erasure.md says what to do about each.
NOT_ERASED = (
    "records in Kafka's topics and dead letters, until their retention",
    "what a running archiver has in memory: it becomes a file after this",
    "rules of `tenfold suppress` and their history: lift them, docs/erasure.md",
    "windows of other groups, and those that a scorer rebuilds from a log that still has the user",
    "files that imports read and that other commands wrote, and copies and backups of anything",
    "bundles: they hold no ids, but weights and test windows were made with the user's payments",
)


class EraseError(TenfoldError):
    """The user is not erased, or not everywhere; the message says why and what to do."""


class Left(NamedTuple):
    """What a second look finds."""

    rows: int
    unfinished_files: int  # half written: nobody can say whether they hold the user
    profile_tables: int
    profiles: int
    windows: int


@dataclass(frozen=True)
class Erased:
    """The report: what was found of a user and removed, or with ``dry_run`` would be."""

    dry_run: bool
    topics: dict[str, Swept]  # the archive's, by name
    profile_tables: SweptTables
    profiles: int  # in Redis, one for each published table
    windows: int  # in Redis
    left: Left

    @property
    def complete(self) -> bool:
        """Whether the second look found nothing."""
        return not any(self.left)

    def as_dict(self) -> dict[str, object]:
        """Return the report for JSON."""
        return {
            **asdict(self),
            "topics": {topic: swept._asdict() for topic, swept in self.topics.items()},
            "profile_tables": self.profile_tables._asdict(),
            "left": self.left._asdict(),
            "complete": self.complete,
            "not_erased": list(NOT_ERASED),
        }


def erase_user(
    settings: Settings,
    archive: Archive,
    tables: Archive,
    client: Client,
    user: str,
    progress: Counted = nobody,
    *,
    dry_run: bool,
) -> Erased:
    """Erase a user and look again; what is killed or fails on the way is completed by running it again.

    The archive comes first: the tables are made of it, and what is in Redis of the tables.

    Args:
        settings: names of topics and group.
        archive: where the user's rows are.
        tables: root of the tables of profiles.
        client: of the Redis of windows and profiles.
        user: the id.
        progress: counts the files of the archive that were looked at, each twice.
        dry_run: change nothing.

    Raises:
        UsageError: no user has such an id.
        EraseError: Redis does not do its part.
        training.archive.ArchiveError: a file cannot be read, written or removed.
    """
    if not 1 <= len(user) <= _LONGEST_ID:
        raise UsageError(f"ID has {len(user)} characters: a user's has 1 to {_LONGEST_ID}")
    sweep = partial(_sweep, settings, archive, tables, client, user, progress)
    swept, in_tables, profiles, windows = sweep(dry_run=dry_run)
    again, tables_again, profiles_again, windows_again = sweep(dry_run=True)
    left = Left(
        sum(each.rows for each in again.values()),
        sum(len(unfinished_files(archive, topic)) for topic in again),
        tables_again.removed,
        profiles_again,
        windows_again,
    )
    return Erased(dry_run, swept, in_tables, profiles, windows, left)


def _sweep(
    settings: Settings,
    archive: Archive,
    tables: Archive,
    client: Client,
    user: str,
    progress: Counted,
    *,
    dry_run: bool,
) -> tuple[dict[str, Swept], SweptTables, int, int]:
    try:
        client.ping()  # before anything is changed
        topics = {topic: sweep_topic(archive, topic, user, progress, dry_run=dry_run) for topic in kinds_of(settings)}
        in_tables = sweep_tables(tables, user, dry_run=dry_run)
        names = settings.pseudonyms.every(user.encode())  # a rotation may not have come to all that lies there
        profiles = sum(sweep_profiles(client, settings.input_topic, name, dry_run=dry_run) for name in names)
        windows = sum(
            sweep_windows(client, settings.group_id, settings.input_topic, name, dry_run=dry_run) for name in names
        )
    except redis.RedisError as error:
        raise EraseError(
            f"Redis does not do its part ({error}): the user may be erased in the archive already, and is not in "
            "Redis; see TENFOLD_REDIS_URL and run it again"
        ) from None
    except UnicodeEncodeError:
        raise UsageError("ID is not UTF-8: a user's is") from None
    return topics, in_tables, profiles, windows


def report_lines(erased: Erased) -> list[str]:
    """Return what to tell a person."""
    would = "would be " if erased.dry_run else ""
    lines = [
        f"{topic}: {count_of(swept.rows, 'row')} {would}removed; "
        f"of {count_of(swept.files, 'file')} {swept.rewritten:,} {would}rewritten, "
        f"{swept.removed:,} that held nobody else {would}removed"
        for topic, swept in erased.topics.items()
    ]
    tables = erased.profile_tables
    lines += [
        f"tables of profiles: {tables.removed:,} of {tables.files:,} {would}removed",
        f"Redis: {count_of(erased.profiles, 'profile')} and {count_of(erased.windows, 'window')} {would}removed",
    ]
    if erased.dry_run:
        lines.append("nothing was changed")
    elif erased.complete:
        lines.append("a second look found nothing")
    else:
        left = erased.left._asdict().items()
        found = ", ".join(count_of(count, what.replace("_", " ").removesuffix("s")) for what, count in left if count)
        lines.append(f"a second look found {found}: see that nothing writes, and run it again (docs/erasure.md)")
    return [*lines, "", "Not erased by this command:", *(f"- {what}" for what in NOT_ERASED)]
