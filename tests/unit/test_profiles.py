"""Profiles against their definition in plain Python: a random past, point in time, bit for bit."""

import random
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models.context import NO_DAY, VALUES, ProfileDefinition, day_number
from tests.profile_archives import TOPICS, archive_past
from tests.profile_reference import Past, random_past
from training.archive import open_archive
from training.profiles import open_profiles

FIRST, DAYS = date(2026, 2, 20), 70  # over the change to summer time

CASES = [(1, "UTC", 7), (2, "Europe/Paris", 7), (3, "America/New_York", 2), (4, "Asia/Kathmandu", 0)]


def definition(past: Past) -> ProfileDefinition:
    return ProfileDefinition(past.zone, past.label_delay_days)


def asked(seed: int, n: int) -> list[tuple[str | None, str, date]]:
    """Return merchants, users and days, some of them never seen."""
    rng = random.Random(seed)
    return [
        (
            rng.choice([None, "merchant-new", *(f"merchant-{k}" for k in range(5))]),
            rng.choice(["user-new", *(f"user-{k}" for k in range(6))]),
            FIRST + timedelta(days=rng.randrange(-3, DAYS + 50)),
        )
        for _ in range(n)
    ]


@pytest.mark.parametrize(("seed", "zone", "delay"), CASES)
def test_profiles_of_events_are_those_of_the_definition(seed: int, zone: str, delay: int, tmp_path: Path) -> None:
    past = random_past(seed, zone, delay, FIRST, DAYS, 300)
    archive = open_archive(str(tmp_path))
    archive_past(past, archive)
    events = asked(seed, 60)
    merchants, users, days = zip(*events, strict=True)

    with open_profiles(archive, TOPICS, definition(past)) as profiles:
        found = profiles.of_events(
            pa.array(merchants, pa.string()), pa.array(users), np.array([day_number(day) for day in days])
        )

    for (merchant, user, day), of_merchant, of_user in zip(events, found[:, 0], found[:, 1], strict=True):
        assert of_merchant.tolist() == past.profile(merchant, None, day), (merchant, day)
        assert of_user.tolist() == past.profile(None, user, day), (user, day)


@pytest.mark.parametrize(("seed", "zone", "delay"), CASES)
def test_the_table_of_a_day_needs_only_the_days_before_it_and_is_the_same(
    seed: int, zone: str, delay: int, tmp_path: Path
) -> None:
    past = random_past(seed, zone, delay, FIRST, DAYS, 300)
    archive = open_archive(str(tmp_path))
    archive_past(past, archive)
    for day in (FIRST, FIRST + timedelta(days=37), FIRST + timedelta(days=DAYS)):
        number = day_number(day)
        with open_profiles(archive, TOPICS, definition(past), first=number, last=number) as profiles:
            table = profiles.table(number)
        with open_profiles(archive, TOPICS, definition(past)) as profiles:
            assert profiles.table(number).equals(table)

        rows = {(row["kind"], row["id"]): [row[name] for name in VALUES] for row in table.to_pylist()}
        prior = past.profile("never", None, day)
        assert rows.pop(("prior", "")) == prior
        for merchant in {payment.merchant for payment in past.payments if payment.merchant}:
            assert rows.pop(("merchant", merchant), prior) == past.profile(merchant, None, day)
        for user in {payment.user for payment in past.payments}:
            assert rows.pop(("user", user), prior) == past.profile(None, user, day)
        assert not rows


def test_where_there_is_no_table_nothing_is_known(tmp_path: Path) -> None:
    past = random_past(5, "UTC", 7, FIRST, DAYS, 50)
    archive = open_archive(str(tmp_path))
    archive_past(past, archive)
    with open_profiles(archive, TOPICS, definition(past)) as profiles:
        found = profiles.of_events(pa.array(["merchant-1"]), pa.array(["user-1"]), np.array([NO_DAY]))
        nothing = profiles.of_events(pa.array([], pa.string()), pa.array([], pa.string()), np.array([], np.int64))
    assert not found.any()
    assert nothing.shape == (0, 2, len(VALUES))


def test_an_archive_without_anything_has_a_table_of_zeros(tmp_path: Path) -> None:
    with open_profiles(open_archive(str(tmp_path)), TOPICS, ProfileDefinition("UTC", 7)) as profiles:
        assert profiles.table(20_000).to_pylist() == [{"kind": "prior", "id": "", **dict.fromkeys(VALUES, 0.0)}]


@pytest.mark.parametrize(("seed", "zone", "delay"), CASES)
def test_the_delay_of_labels_is_from_the_payment_until_the_first_one_landed(
    seed: int, zone: str, delay: int, tmp_path: Path
) -> None:
    past, day = random_past(seed, zone, delay, FIRST, DAYS, 300), FIRST + timedelta(days=60)
    archive = open_archive(str(tmp_path))
    archive_past(past, archive)
    number = day_number(day)
    with open_profiles(archive, TOPICS, definition(past), first=number, last=number) as profiles:
        summary, before_all = profiles.summary(number), profiles.summary(day_number(FIRST) - 100)

    created_at = {}
    for payment in sorted(past.payments, key=lambda payment: payment.arrived_at, reverse=True):
        if past.day(payment.arrived_at) < day:
            created_at[payment.transaction] = payment.created_at  # of those with one id, the first's in the end
    landed_at: dict[str, int] = {}
    for label in past.labels:
        at_ms = max(label.labelled_at, label.arrived_at)
        landed_at[label.transaction] = min(at_ms, landed_at.get(label.transaction, at_ms))
    since = day - timedelta(days=delay + 30)
    delays_s = [
        (at_ms - created_at[transaction]) / 1000
        for transaction, at_ms in landed_at.items()
        if since <= past.day(at_ms) < day and transaction in created_at
    ]
    assert len(delays_s) > 20
    assert summary.label_delay_median_s == pytest.approx(np.quantile(delays_s, 0.5))
    assert summary.label_delay_p95_s == pytest.approx(np.quantile(delays_s, 0.95))
    assert (before_all.labels, before_all.label_delay_median_s, before_all.label_delay_p95_s) == (0, None, None)
