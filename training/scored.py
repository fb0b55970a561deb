"""Held-out payments with what a model says of them and what became of them. Pure."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.context import DAY_MS
from models.window import Ints
from training.dataset import Part

Rows = npt.NDArray[np.bool_] | Ints | slice


@dataclass(frozen=True)
class Scored:
    """Payments side by side, in any order."""

    probabilities: npt.NDArray[np.floating]  # [n] of fraud
    is_fraud: npt.NDArray[np.float32]  # [n] 0 or 1
    users: npt.NDArray[np.uint64]  # [n] whose payment
    created_at_ms: Ints  # [n] event time

    def __len__(self) -> int:
        return len(self.is_fraud)

    @property
    def days(self) -> Ints:
        """UTC days of the payments, in days since 1970-01-01, ``int64 [n]``."""
        days: Ints = self.created_at_ms // DAY_MS
        return days

    def take(self, rows: Rows) -> "Scored":
        """Return the payments in ``rows``."""
        return Scored(self.probabilities[rows], self.is_fraud[rows], self.users[rows], self.created_at_ms[rows])


def scored(part: Part, probabilities: npt.NDArray[np.floating]) -> Scored:
    """Return the last events of a part's windows, with ``probabilities`` (``[n]``), in memory."""
    last = part.windows.records[np.arange(len(part)), part.windows.lengths - 1]
    created_at_ms: Ints = last["created_at_ms"].astype(np.int64)
    return Scored(probabilities, np.asarray(part.is_fraud), np.asarray(part.users), created_at_ms)
