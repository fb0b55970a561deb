"""Which cards are known as defrauded before a day begins: those that the Handbook leaves out of the day's test.

Fraud Detection Handbook, chapter 3, ``get_train_test_set``, with a label that has landed in place of a delay that
is over. A card is a user here. Pure.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.context import DAY_MS
from models.window import Ints
from training.dataset import History
from training.scored import Scored

#: Days of training, before the delay, whose frauds make a card known. It is the Handbook's week of training: a card
#: that was defrauded before has long been replaced.
KNOWN_FOR_DAYS = 7


@dataclass(frozen=True)
class Frauds:
    """Payments that are known as fraud, side by side."""

    users: npt.NDArray[np.uint64]  # [m] as in Scored
    created_at_ms: Ints  # [m] event time
    landed_at_ms: Ints  # [m] since when it is known

    def __len__(self) -> int:
        return len(self.users)


def frauds_of(history: History) -> Frauds:
    """Return the frauds of recorded transactions."""
    rows = history.is_fraud
    users = history.users[rows].astype(np.uint64)
    return Frauds(users, history.created_at_ms[rows], history.labelled_at_ms[rows])


def first_known_ms(first_day: int, label_delay_days: int) -> int:
    """Return the event time from which frauds make a card known in a test that begins with ``first_day``."""
    return (first_day - label_delay_days - KNOWN_FOR_DAYS) * DAY_MS


def of_known_cards(payments: Scored, frauds: Frauds, first_day: int, label_delay_days: int) -> npt.NDArray[np.bool_]:
    """Return which payments are made with a card that was known as defrauded before their day began, ``bool [n]``.

    Args:
        payments: of the test.
        frauds: at least those from :func:`first_known_ms` to the end of the test.
        first_day: the day that the test begins with, in days since 1970-01-01.
        label_delay_days: how long after an event its label is awaited.
    """
    counts = frauds.created_at_ms >= first_known_ms(first_day, label_delay_days)
    users, of_user = np.unique(frauds.users[counts], return_inverse=True)
    known_from = np.full(len(users) + 1, np.iinfo(np.int64).max)  # the last is that of all others
    # the first day that begins after the label has landed
    np.minimum.at(known_from, of_user, frauds.landed_at_ms[counts] // DAY_MS + 1)
    at = np.where(np.isin(payments.users, users), np.searchsorted(users, payments.users), len(users))
    known: npt.NDArray[np.bool_] = payments.days >= known_from[at]
    return known
