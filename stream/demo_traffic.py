"""What the demo sends: simulated payments that end now, with the truth about them and some broken ones. Pure."""

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import cycle
from typing import NamedTuple

from training.simulator import simulate_last, transactions_as_json

EVENTS_A_USER = 20
_BAD_EVERY = 1000  # a broken record after so many good ones, and never fewer than one of each kind

# ways to break a record: key and value to key and value
_BREAK: tuple[Callable[[bytes, bytes], tuple[bytes | None, bytes | None]], ...] = (
    lambda key, value: (key, value[:-20]),
    lambda key, value: (key, value.replace(b'"amount":', b'"amount":-')),
    lambda key, value: (b"somebody-else", value),  # noqa: ARG005
    lambda key, value: (key, None),  # noqa: ARG005
    lambda key, value: (key, value.replace(b"merchant", b"\xff")),
)


class DemoRecord(NamedTuple):
    """A record to send."""

    key: bytes | None
    value: bytes | None
    transaction_id: str | None  # None of a broken one
    is_fraud: bool


def demo_records(events: int, users: int, seed: int, now: datetime) -> Iterator[DemoRecord]:
    """Yield ``events`` records in order of time, the last of about ``now``, broken ones among them.

    The same seed and time make the same records.
    """
    step = max(1, min(_BAD_EVERY, events // len(_BREAK)))
    good = events - events // step
    simulated = simulate_last(good, users, seed, now)
    breaks = cycle(_BREAK)
    rows = zip(transactions_as_json(simulated), simulated.transaction_ids(), simulated.is_fraud.tolist(), strict=True)
    sent = 0
    for (key, value, _), transaction_id, is_fraud in rows:
        yield DemoRecord(key, value, transaction_id, is_fraud)
        sent += 1
        if (sent + 1) % step == 0:
            yield DemoRecord(*next(breaks)(key, value), None, is_fraud=False)
            sent += 1
