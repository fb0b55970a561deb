"""Publishing a table of profiles: into Redis under a new version, then the index is flipped."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Literal, NamedTuple, cast

import numpy as np
import pyarrow.compute as pc
from pydantic import ValidationError

from models.context import KEPT_DAYS, PROFILE_KINDS, VALUES, ProfileKind
from stream.errors import TenfoldError
from stream.profile_layout import PRIOR, ProfileIndex, ProfileKeys, PublishedTable, buckets_of, pack_profiles
from stream.redis_client import Client, round_trip
from stream.redis_cluster import Command
from training.profiles_table import StoredTable

#: A key expires so soon, until the index names its table.
UNFINISHED_S = 24 * 60 * 60

#: A table that the index no longer names stays so long, for scorers that have asked by the index before.
GRACE_S = 10 * 60

#: Tables under older pseudonym keys stay so long, once there is one under the newest: for scorers not yet restarted.
OLDER_S = 24 * 60 * 60

_AT_ONCE = 10_000  # profiles in a pipeline

_WITHOUT_END = -1  # Redis' word for a key that does not expire

_COMPARE_AND_SET = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


class PublishError(TenfoldError):
    """The table cannot be published; the message says why and what to do."""


class Published(NamedTuple):
    """What :func:`publish` did."""

    version: str
    rows: int
    written: bool  # false: this very table was there already
    tables: int  # in the index now


def publish(client: Client, keys: ProfileKeys, table: StoredTable, now: datetime) -> Published:
    """Publish a table; scorers use the ones before until the index names it.

    Again with the same table, it changes nothing. Killed at any point, it leaves what was there, and keys that expire.

    Args:
        client: where to.
        keys: topic and definition of the table.
        table: what to publish.
        now: the time that the index will give, with a time zone.

    Raises:
        PublishError: the table is older than those that are kept, or the index cannot be read.
        redis.RedisError: Redis does not do its part; publishing again goes on where this stopped.
    """
    entry = PublishedTable(day=table.day, version=table.version, rows=len(table.rows), published_at=now)
    mine = keys.tables(table.version)
    written, after = False, None
    while after is None:
        raw, index = _read_index(client, keys)
        newest = max((each.day for each in index.tables), default=table.day)
        if table.day <= newest - timedelta(days=KEPT_DAYS):
            raise PublishError(f"the table of {table.day} is older than the last {KEPT_DAYS} days, up to {newest}")
        # only a table that an index has named is known to be whole
        named = any(each.version == table.version for each in index.tables)
        if not written and not (named and client.exists(*mine) == len(mine)):
            _write(client, keys, table)
            written = True
        after = _flip(client, keys, raw, index, entry)
    dropped = {each.version for each in index.tables} - {each.version for each in after.tables}
    _keep(client, mine, [key for version in dropped for key in keys.tables(version)])
    for older in keys.pseudonyms.older:
        _retire(client, replace(keys, pseudonyms=older))
    return Published(table.version, len(table.rows), written, len(after.tables))


def newest_published(client: Client, keys: ProfileKeys) -> date | None:
    """Return the day of the newest table that the index names; ``None`` where there is none.

    Raises:
        PublishError: the index cannot be read.
        redis.RedisError: Redis does not answer.
    """
    return max((each.day for each in _read_index(client, keys)[1].tables), default=None)


def _read_index(client: Client, keys: ProfileKeys) -> tuple[bytes | None, ProfileIndex]:
    raw = cast("bytes | None", client.get(keys.index))
    try:
        return raw, ProfileIndex() if raw is None else ProfileIndex.model_validate_json(raw)
    except ValidationError:
        raise PublishError(f"{keys.index.decode()} in Redis is no index of profiles: delete it") from None


def _flip(
    client: Client, keys: ProfileKeys, raw: bytes | None, index: ProfileIndex, entry: PublishedTable
) -> ProfileIndex | None:
    """Put a table into the index, and leave those of the last days only; ``None`` if somebody else has changed it."""
    tables = {each.day: each for each in index.tables}
    if entry.day in tables and tables[entry.day].version == entry.version:
        return index
    tables[entry.day] = entry
    oldest = max(tables) - timedelta(days=KEPT_DAYS - 1)
    after = ProfileIndex(tables=tuple(tables[day] for day in sorted(tables) if day >= oldest))
    flip = ("EVAL", _COMPARE_AND_SET, 1, keys.index, raw or b"", after.model_dump_json().encode())
    return after if round_trip(client, [flip]) == [1] else None


def _write(client: Client, keys: ProfileKeys, table: StoredTable) -> None:
    prior = dict(_profiles(table, "prior", keys))[PRIOR]
    begin: list[Command] = []
    for key in keys.tables(table.version):
        begin += [("HSET", key, PRIOR, prior), ("EXPIRE", key, UNFINISHED_S)]
    round_trip(client, begin)
    for kind in PROFILE_KINDS:
        profiles = _profiles(table, kind, keys)
        while some := dict(islice(profiles, _AT_ONCE)):
            by_bucket: dict[int, list[bytes]] = {}
            for bucket, each in zip(buckets_of(list(some)).tolist(), some.items(), strict=True):
                by_bucket.setdefault(bucket, []).extend(each)
            round_trip(client, [("HSET", keys.table(table.version, kind, at), *its) for at, its in by_bucket.items()])


def _profiles(
    table: StoredTable, kind: ProfileKind | Literal["prior"], keys: ProfileKeys
) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and packed profile of each row of a kind."""
    rows = table.rows.filter(pc.equal(table.rows["kind"], kind))
    for batch in rows.to_batches(_AT_ONCE):
        values = np.column_stack([batch[name].to_numpy() for name in VALUES])
        ids = [entity.encode() for entity in batch["id"].to_pylist()]
        names = ids if kind == "prior" else keys.names(kind, ids, table.generation)
        yield from zip(names, pack_profiles(values), strict=True)


def _keep(client: Client, mine: list[bytes], dropped: list[bytes]) -> None:
    keeping: list[Command] = [("PERSIST", key) for key in mine]
    round_trip(client, [*keeping, *(("EXPIRE", key, GRACE_S) for key in dropped)])


def _retire(client: Client, keys: ProfileKeys) -> None:
    """Let index and tables end that users are in under an older generation of pseudonyms; once, not again each day."""
    if client.ttl(keys.index) != _WITHOUT_END:
        return
    _, index = _read_index(client, keys)
    tables = [key for each in index.tables for key in keys.tables(each.version)]
    round_trip(client, [("EXPIRE", key, OLDER_S) for key in tables])
    round_trip(client, [("EXPIRE", keys.index, OLDER_S)])  # last: it says that the tables do
