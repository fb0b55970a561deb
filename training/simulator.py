"""Simulated payments: users with habits, frauds that unfold over time, verdicts that come days later.

NumPy only; :func:`write_parquet` needs pyarrow. A seed, a start and a number of users give the same stream on every
machine, and fewer days give its beginning.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from training.events import DAY_MS, EVENT, Bools, Events, Scenario
from training.frauds import Skimmers, frauds_of_day
from training.habits import Trips, draw_habits, honest_day

DEFAULT_START = datetime(2025, 1, 1, tzinfo=UTC)

LABEL_DELAY_MEDIAN_DAYS, LABEL_DELAY_SIGMA, LABEL_DELAY_MAX_DAYS = 6.0, 0.5, 30.0  # log-normal, mean 6.8 days
_LEAST_A_USER_AND_DAY = 1.3  # payments; users make more, so that there always are enough
HONEST_LABELLED = 0.02  # of the honest payments an analyst looks at some; the others never get a label


@dataclass(frozen=True)
class Simulated:
    """A run of simulated transactions in order of time, with the truth about them."""

    events: Events  # [n] EVENT
    first: int  # how many events of the stream come before these
    seed: int
    start_ms: int  # of the stream, milliseconds since the epoch

    def __len__(self) -> int:
        return len(self.events)

    @property
    def is_fraud(self) -> Bools:
        """``bool [n]``, whoever knows it."""
        fraud: Bools = self.events["scenario"] != Scenario.HONEST
        return fraud

    def transaction_ids(self) -> list[str]:
        """Return the ids, different for every seed and start."""
        prefix = f"tx-{self.seed}-{self.start_ms // 1000:x}"
        return [f"{prefix}-{number:08d}" for number in range(self.first, self.first + len(self))]

    def user_ids(self) -> list[str]:
        """Return the users' ids, different for every seed."""
        return [f"user-{self.seed}-{user:06d}" for user in self.events["user"].tolist()]

    def merchant_ids(self) -> list[str]:
        """Return the merchants' ids."""
        return [f"merchant-{merchant:05d}" for merchant in self.events["merchant"].tolist()]


class Written(NamedTuple):
    """How much :func:`write_parquet` wrote."""

    transactions: int
    frauds: int
    labels: int


def simulate_days(users: int, days: int, seed: int, start: datetime = DEFAULT_START) -> Iterator[Simulated]:
    """Yield the stream one UTC day at a time, which (with stories to come) is all that is held in memory.

    A fraud's verdict lands about a week after it (log-normal, at most 30 days), and a few honest payments get one too.
    A payment without a label is honest once the label delay has passed; before, nobody knows.

    Args:
        users: how many people pay, about 1.5 times a day each.
        days: length of the stream; stories that have begun are cut off at its end.
        seed: of every random choice; not negative.
        start: no transaction is before it; ``now - days`` makes a stream that ends now.

    Raises:
        ValueError: fewer than one user or day, a negative seed, or a start without an offset.
    """
    if users < 1 or days < 1 or seed < 0:
        raise ValueError(f"simulate needs at least 1 user, 1 day and a seed >= 0, not {users=}, {days=}, {seed=}")
    if start.tzinfo is None:
        raise ValueError(f"simulate needs a start with a time zone, not {start.isoformat()}")
    return _days(users, days, seed, round(start.timestamp() * 1000))


def _days(users: int, days: int, seed: int, start_ms: int) -> Iterator[Simulated]:
    habits = draw_habits(np.random.default_rng([seed, 0]), users)
    trips, skimmers = Trips.none(users), Skimmers.none(habits)
    pending, first, end_ms = np.empty(0, EVENT), 0, start_ms + days * DAY_MS
    midnights = range(start_ms - start_ms % DAY_MS, end_ms, DAY_MS)  # habits are in hours of the UTC day
    for day, midnight in enumerate(midnights):
        # a generator of its own for each day: a longer stream begins with the shorter one
        rng = np.random.default_rng([seed, 1, day])
        honest = honest_day(rng, habits, trips, day, midnight)
        frauds = frauds_of_day(rng, habits, skimmers, day, midnight, honest)
        pending = np.concatenate([pending, _label(rng, honest), _label(rng, frauds)])
        pending = pending[pending["created_at_ms"] >= start_ms]
        today = pending["created_at_ms"] < min(midnight + DAY_MS, end_ms)
        events = pending[today]
        events = events[np.argsort(events["created_at_ms"], kind="stable")]
        yield Simulated(events, first, seed, start_ms)
        pending, first = pending[~today], first + len(events)


def _label(rng: np.random.Generator, events: Events) -> Events:
    delay = rng.lognormal(np.log(LABEL_DELAY_MEDIAN_DAYS), LABEL_DELAY_SIGMA, len(events))
    labelled = (events["scenario"] != Scenario.HONEST) | (rng.random(len(events)) < HONEST_LABELLED)
    lands = events["created_at_ms"] + (np.minimum(delay, LABEL_DELAY_MAX_DAYS) * DAY_MS).astype(np.int64)
    events["labelled_at_ms"] = np.where(labelled, lands, 0)
    return events


def simulate(users: int, days: int, seed: int, start: datetime = DEFAULT_START) -> Simulated:
    """Return the whole stream of :func:`simulate_days` at once: 47 bytes a transaction."""
    parts = list(simulate_days(users, days, seed, start))
    return Simulated(np.concatenate([part.events for part in parts]), 0, seed, parts[0].start_ms)


def simulate_last(payments: int, users: int, seed: int, now: datetime) -> Simulated:
    """Return the last so many payments of a stream of ``users`` that ends ``now``, or all that a few users have made.

    Raises:
        ValueError: as :func:`simulate_days` does.
    """
    days = int(payments / (users * _LEAST_A_USER_AND_DAY)) + 2
    whole = simulate(users, days, seed, now - timedelta(days=days))
    before = max(len(whole) - payments, 0)
    return replace(whole, events=whole.events[before:], first=before)


def transactions_as_json(simulated: Simulated) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield ``(key, value, created_at_ms)`` of every transaction, as they go to the input topic."""
    events = simulated.events
    rows = zip(
        simulated.transaction_ids(),
        simulated.user_ids(),
        events["amount"].tolist(),
        _rfc3339(events["created_at_ms"]),
        events["is_vpn"].tolist(),
        simulated.merchant_ids(),
        events["created_at_ms"].tolist(),
        strict=True,
    )
    for transaction, user, amount, created_at, is_vpn, merchant, created_at_ms in rows:
        value = (
            f'{{"transaction_id":"{transaction}","user_id":"{user}","amount":{amount},"created_at":"{created_at}",'
            f'"is_vpn":{"true" if is_vpn else "false"},"merchant_id":"{merchant}"}}'
        )
        yield user.encode(), value.encode(), created_at_ms


def labels_as_json(simulated: Simulated) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield ``(key, value, labelled_at_ms)`` of every label of these transactions, in the transactions' order."""
    labelled = simulated.events["labelled_at_ms"] > 0
    rows = zip(
        simulated.transaction_ids(),
        simulated.user_ids(),
        labelled.tolist(),
        simulated.is_fraud.tolist(),
        _rfc3339(simulated.events["labelled_at_ms"]),
        simulated.events["labelled_at_ms"].tolist(),
        strict=True,
    )
    for transaction, user, has_label, is_fraud, labelled_at, labelled_at_ms in rows:
        if has_label:
            value = (
                f'{{"transaction_id":"{transaction}","user_id":"{user}",'
                f'"is_fraud":{"true" if is_fraud else "false"},"labelled_at":"{labelled_at}"}}'
            )
            yield user.encode(), value.encode(), labelled_at_ms


def _rfc3339(epoch_ms: npt.NDArray[np.int64]) -> list[str]:
    times: list[str] = np.datetime_as_string(epoch_ms.astype("datetime64[ms]"), timezone="UTC").tolist()
    return times


def write_parquet(days: Iterable[Simulated], directory: Path) -> Written:
    """Write ``transactions.parquet`` in order of time and ``labels.parquet`` in order of landing.

    The columns are those of the messages; times are ``timestamp[ms, UTC]``. Labels are all that ever land, also
    those later than the last transaction. Files of these names that exist are replaced once the new ones are whole.
    """
    import pyarrow as pa  # noqa: PLC0415 - the rest of this module serves installs without pyarrow
    import pyarrow.parquet as pq  # noqa: PLC0415

    time = pa.timestamp("ms", tz="UTC")
    columns = [("transaction_id", pa.string()), ("user_id", pa.string())]
    transaction = pa.schema(
        [*columns, ("amount", pa.float64()), ("created_at", time), ("is_vpn", pa.bool_()), ("merchant_id", pa.string())]
    )
    label = pa.schema([*columns, ("is_fraud", pa.bool_()), ("labelled_at", time)])

    directory.mkdir(parents=True, exist_ok=True)
    unfinished = directory / "transactions.parquet.unfinished"
    transactions, frauds, labels = 0, 0, [label.empty_table()]
    with pq.ParquetWriter(unfinished, transaction, compression="zstd") as writer:
        for day in days:
            events, ids, users = day.events, pa.array(day.transaction_ids()), pa.array(day.user_ids())
            created_at = pa.array(events["created_at_ms"]).cast(time)
            merchants = pa.array(day.merchant_ids())
            values = [ids, users, pa.array(events["amount"]), created_at, pa.array(events["is_vpn"]), merchants]
            writer.write_table(pa.table(values, transaction))
            labelled_at = pa.array(events["labelled_at_ms"]).cast(time)
            verdicts = pa.table([ids, users, pa.array(day.is_fraud), labelled_at], label)
            labels.append(verdicts.filter(pa.array(events["labelled_at_ms"] > 0)))
            transactions, frauds = transactions + len(day), frauds + int(day.is_fraud.sum())
    landed = pa.concat_tables(labels).sort_by("labelled_at")
    pq.write_table(landed, directory / "labels.parquet.unfinished", compression="zstd")
    (directory / "labels.parquet.unfinished").replace(directory / "labels.parquet")
    unfinished.replace(directory / "transactions.parquet")
    return Written(transactions, frauds, landed.num_rows)
