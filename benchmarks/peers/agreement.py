"""Whether an engine did the work: one score for each transaction of the backlog, and the one that it must be."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import Message

from models.bundle import LoadedBundle
from models.window import WINDOW_MAX_AGE_MS
from stream.contract import epoch_ms
from tests.oracle import replay

TOLERANCE = 1e-4

Transaction = tuple[bytes, str]  # key and transaction id
Scores = Mapping[Transaction, list[float]]  # in order of arrival, several where a user's id is repeated


class DisagreementError(RuntimeError):
    """An engine left transactions out, scored them twice or scored them as something else."""


@dataclass(frozen=True)
class Agreement:
    """What was compared."""

    compared: int
    largest_difference: float  # of probabilities


def expected_scores(backlog: Iterable[Message], bundle: LoadedBundle) -> Scores:
    """Return what every transaction's probability must be, by the tests' oracle."""
    backlog = list(backlog)
    by_source = replay(backlog, bundle).scores
    scores = defaultdict(list)
    for record in backlog:
        scores[_transaction(record)].append(by_source[record.partition(), record.offset()][0])
    return scores


def in_order(backlog: Iterable[Message]) -> set[Transaction]:
    """Return the transactions before which nothing of their user was late, repeated or aged, nor are they themselves.

    On those a window in order of arrival is the window in order of event time.
    """
    newest: dict[bytes, int] = {}
    seen: set[Transaction] = set()
    spoilt: set[bytes] = set()
    regular = set()
    for record in backlog:
        transaction, at_ms = _transaction(record), epoch_ms(json.loads(record.value())["created_at"])
        user = transaction[0]
        if transaction in seen or not 0 <= at_ms - newest.get(user, at_ms) <= WINDOW_MAX_AGE_MS:
            spoilt.add(user)
            regular.discard(transaction)
        seen.add(transaction)
        newest[user] = at_ms
        if user not in spoilt:
            regular.add(transaction)
    return regular


def check(engine: str, output: Iterable[Message], expected: Scores, comparable: set[Transaction]) -> Agreement:
    """Compare an engine's output with what is expected; probabilities only of the ``comparable`` transactions.

    Raises:
        DisagreementError: a score too few, too many, or off by more than :data:`TOLERANCE`.
    """
    found = defaultdict(list)
    for record in output:
        found[_transaction(record)].append(json.loads(record.value())["fraud_probability"])
    miscounted = [t for t in expected.keys() | found.keys() if len(expected.get(t, ())) != len(found.get(t, ()))]
    if miscounted:
        raise DisagreementError(f"{engine}: {len(miscounted)} transactions without one score each, as {miscounted[0]}")
    compared, largest = 0, 0.0
    for transaction in comparable:
        for score, right in zip(found[transaction], expected[transaction], strict=True):
            difference = abs(score - right)
            if not difference <= TOLERANCE:  # NaN is not
                raise DisagreementError(f"{engine}: {transaction} is scored {score}, not {right}")
            compared, largest = compared + 1, max(largest, difference)
    return Agreement(compared, largest)


def _transaction(record: Message) -> Transaction:
    return record.key(), json.loads(record.value())["transaction_id"]
