"""Profiles as serving reads them from Redis are those that training joins and those of the definition, bit for bit."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models.context import CONTEXT, KEPT_DAYS, NO_DAY, Profiled, ProfileDefinition, context_columns, day_date
from stream.profile_layout import ProfileIndex, ProfileKeys
from stream.profiles import Found, ProfileLookup, ProfileTables
from stream.redis_client import Client, open_redis, round_trip
from stream.redis_url import split_redis_url
from tests.profile_archives import TOPICS, archive_past
from tests.profile_reference import Past, random_past
from training.archive import Archive, open_archive
from training.profiles import open_profiles
from training.profiles_publish import PublishError, publish
from training.profiles_table import StoredTable, build_table, read_table

pytestmark = pytest.mark.broker

FIRST, DAYS = date(2026, 2, 20), 70
NOW = datetime(2026, 5, 1, tzinfo=UTC)


on_one_server_and_on_a_cluster = pytest.mark.parametrize("client", ["redis_url", "redis_nodes"], indirect=True)


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    place = request.getfixturevalue(getattr(request, "param", "redis_url"))
    with open_redis(split_redis_url(place if isinstance(place, str) else place.url), {}) as client:
        yield client


@pytest.fixture
def keys(group_id: str, past: Past) -> ProfileKeys:
    return ProfileKeys(f"transactions-{group_id}", ProfileDefinition(past.zone, past.label_delay_days))


@pytest.fixture
def past(request: pytest.FixtureRequest) -> Past:
    seed, zone, delay = getattr(request, "param", (4, "UTC", 7))
    return random_past(seed, zone, delay, FIRST, DAYS, 300)


@pytest.fixture
def archive(past: Past, tmp_path: Path) -> Archive:
    archive = open_archive(str(tmp_path / "archive"))
    archive_past(past, archive)
    return archive


def build(archive: Archive, keys: ProfileKeys, day: date, tmp_path: Path) -> StoredTable:
    place = open_archive(str(tmp_path / "profiles"))
    build_table(archive, TOPICS, keys.definition, day, place)
    return read_table(place, keys.definition, day)


def serve(
    client: Client, tables: ProfileTables, at_ms: list[int], merchants: list[str | None], users: list[str]
) -> Found:
    """Ask as the scorer does."""
    lookup = ProfileLookup(tables, np.array(at_ms), merchants, [user.encode() for user in users])
    while lookup.found is None:
        lookup.take(round_trip(client, lookup.ask()))
    return lookup.found


def noon_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize(
    "past", [(1, "UTC", 7), (2, "Europe/Paris", 7), (3, "America/New_York", 2)], ids=lambda past: past[1], indirect=True
)
def test_what_serving_reads_is_what_training_joins_and_what_the_definition_says(
    client: Client, keys: ProfileKeys, past: Past, archive: Archive, tmp_path: Path
) -> None:
    last = FIRST + timedelta(days=45)
    published = [last - timedelta(days=back) for back in (0, 1, 3, 6)]  # some days have no table
    for day in sorted(published):
        publish(client, keys, build(archive, keys, day, tmp_path), NOW)
    events: list[tuple[int, str | None, str]] = [
        (payment.created_at, payment.merchant, payment.user)
        for payment in past.payments
        if last - timedelta(days=8) <= past.day(payment.created_at) <= last + timedelta(days=2)
    ]
    events += [(noon_ms(last), "merchant-new", "user-0"), (noon_ms(last), "merchant-0", "user-new")]
    at_ms, merchants, users = map(list, zip(*events, strict=True))
    tables = ProfileTables(keys)

    found = serve(client, tables, at_ms, merchants, users)

    for at, merchant, user, day, profiles in zip(
        at_ms, merchants, users, found.days.tolist(), found.profiles, strict=True
    ):
        own_day = past.day(at)
        fitting = [each for each in published if each <= own_day]
        if not fitting:
            assert day == NO_DAY
            assert not profiles.any()
            continue
        assert day_date(day) == max(fitting)
        assert profiles.tolist() == [past.profile(merchant, None, max(fitting)), past.profile(None, user, max(fitting))]
    assert found.missing == sum(day == NO_DAY for day in found.days.tolist()) > 0
    assert found.stale == sum(
        day_date(d) != past.day(at) for at, d in zip(at_ms, found.days.tolist(), strict=True) if d != NO_DAY
    )

    with open_profiles(archive, TOPICS, keys.definition) as profiles:
        joined = profiles.of_events(pa.array(merchants), pa.array(users), found.days)
    assert joined.tobytes() == found.profiles.tobytes()
    amounts = np.linspace(0, 1e4, len(joined))
    of_training, of_serving = (
        context_columns(Profiled(each[:, 0], each[:, 1], amounts), list(CONTEXT)) for each in (joined, found.profiles)
    )
    assert of_training.tobytes() == of_serving.tobytes()


@on_one_server_and_on_a_cluster
def test_publishing_again_changes_nothing_and_another_table_of_the_day_replaces_it(
    client: Client, keys: ProfileKeys, archive: Archive, tmp_path: Path
) -> None:
    day = FIRST + timedelta(days=40)
    table = build(archive, keys, day, tmp_path)
    first = publish(client, keys, table, NOW)
    index = client.get(keys.index)
    assert build(archive, keys, day, tmp_path) == table
    again = publish(client, keys, table, NOW + timedelta(hours=1))
    assert (first.written, again.written) == (True, False)
    assert client.get(keys.index) == index
    assert all(client.ttl(key) == -1 for key in keys.tables(table.version))

    other = table._replace(version="0123456789abcdef", rows=table.rows.slice(0, len(table.rows)))
    publish(client, keys, other, NOW)
    [named] = ProfileIndex.model_validate_json(client.get(keys.index) or b"").tables
    assert named.version == other.version
    assert all(0 < client.ttl(key) <= 600 for key in keys.tables(table.version))


def test_seven_days_are_kept_and_older_ones_are_refused(
    client: Client, keys: ProfileKeys, archive: Archive, tmp_path: Path
) -> None:
    days = [FIRST + timedelta(days=30 + number) for number in range(KEPT_DAYS + 2)]
    tables = [build(archive, keys, day, tmp_path) for day in days]
    for table in tables:
        publish(client, keys, table, NOW)
    named = ProfileIndex.model_validate_json(client.get(keys.index) or b"").tables
    assert [each.day for each in named] == days[2:]
    gone, kept = tables[0], tables[2]
    assert all(client.ttl(key) > 0 for key in keys.tables(gone.version))
    assert all(client.ttl(key) == -1 for key in keys.tables(kept.version))
    with pytest.raises(PublishError, match="older than the last 7 days"):
        publish(client, keys, tables[1], NOW)


@on_one_server_and_on_a_cluster
def test_a_publisher_killed_half_way_leaves_the_table_before_in_force_and_the_next_one_finishes(
    client: Client, keys: ProfileKeys, past: Past, archive: Archive, tmp_path: Path
) -> None:
    before, after = (build(archive, keys, FIRST + timedelta(days=days), tmp_path) for days in (40, 41))
    publish(client, keys, before, NOW)
    for key in keys.tables(after.version):  # as far as the first pipeline goes, but other values
        client.hset(key, "", bytes(36))
        client.expire(key, 60)
    tables = ProfileTables(keys)
    at = [noon_ms(after.day)]
    assert day_date(serve(client, tables, at, ["merchant-0"], ["user-0"]).days.tolist()[0]) == before.day

    publish(client, keys, after, NOW)

    found = serve(client, tables, at, ["merchant-0"], ["user-0"])
    assert found.profiles[0].tolist() == [
        past.profile("merchant-0", None, after.day),
        past.profile(None, "user-0", after.day),
    ]
    assert all(client.ttl(key) == -1 for key in keys.tables(after.version))


@on_one_server_and_on_a_cluster
def test_a_table_that_redis_has_lost_is_missing_and_not_taken_for_a_prior(
    client: Client, keys: ProfileKeys, archive: Archive, tmp_path: Path
) -> None:
    table = build(archive, keys, FIRST + timedelta(days=40), tmp_path)
    publish(client, keys, table, NOW)
    client.delete(*keys.tables(table.version))
    found = serve(client, ProfileTables(keys), [noon_ms(table.day)], ["merchant-0"], ["user-0"])
    assert (found.missing, found.days.tolist()) == (1, [NO_DAY])
    assert not found.profiles.any()

    assert publish(client, keys, table, NOW).written
    assert serve(client, ProfileTables(keys), [noon_ms(table.day)], ["merchant-0"], ["user-0"]).missing == 0


def test_an_index_that_is_none_is_no_crash_for_the_scorer(client: Client, keys: ProfileKeys) -> None:
    client.set(keys.index, b"{")
    found = serve(client, ProfileTables(keys), [noon_ms(FIRST)], ["merchant-0"], ["user-0"])
    assert found.missing == 1
