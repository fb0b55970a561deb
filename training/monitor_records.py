"""What the monitor keeps of scores, payments and labels: packed records, by the UTC day that they are of. Pure.

Stored in Redis: a change of these layouts is a new name of the keys (:mod:`training.monitor_state`). Ids are there as
64-bit hashes only.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.context import DAY_MS
from stream.encode import PROBABILITY_DECIMALS
from stream.pseudonyms import CLEAR, Pseudonyms
from training.archive import Kind
from training.archive_names import forward_column
from training.archive_records import Records, to_rows
from training.replay import id_hashes

#: Probabilities are kept as they are published, as whole numbers.
_UNITS = 10**PROBABILITY_DECIMALS
_FLAGGED = np.uint32(1 << 31)

#: 24 bytes a score, of the day of the payment's ``created_at``.
SCORE = np.dtype([("transaction", "<u8"), ("user", "<u8"), ("ms_of_day", "<u4"), ("verdict", "<u4")])

#: 16 bytes a payment, of the day of its ``created_at``: a score does not say the amount.
PAYMENT = np.dtype([("transaction", "<u8"), ("amount", "<f8")])

#: 33 bytes a label, of the day on which it lands, so that all that counts of a day's labels is known on that day.
LABEL = np.dtype(
    [("transaction", "<u8"), ("labelled_at_ms", "<i8"), ("kafka_ms", "<i8"), ("offset", "<i8"), ("is_fraud", "?")]
)

DTYPES: Mapping[Kind, np.dtype[np.void]] = {Kind.SCORES: SCORE, Kind.TRANSACTIONS: PAYMENT, Kind.LABELS: LABEL}

Packed = npt.NDArray[np.void]


class Kept(NamedTuple):
    """What is kept of records."""

    by_day: dict[int, Packed]  # days since 1970-01-01; in order of offset
    refused: Counter[str]  # records that are malformed, by reason


def keep(kind: Kind, records: Records, pseudonyms: Pseudonyms = CLEAR) -> Kept:
    """Return what is kept of records of one partition; they are read as the archiver reads them.

    Of a user it is the hash of the name that ``pseudonyms`` gives, so that with keys nobody without them can confirm a
    guess by it.
    """
    table, refused = to_rows(kind, records, "", 0)
    packed = np.zeros(len(table), DTYPES[kind])
    packed["transaction"] = id_hashes(table["transaction_id"])
    if kind is Kind.LABELS:
        packed["labelled_at_ms"], packed["kafka_ms"] = _ms(table["labelled_at"]), _ms(table["kafka_timestamp"])
        packed["offset"], packed["is_fraud"] = table["offset"].to_numpy(), table["is_fraud"].to_numpy()
        days = np.maximum(packed["labelled_at_ms"], packed["kafka_ms"]) // DAY_MS
    else:
        days, ms_of_day = np.divmod(_ms(table["created_at"]), DAY_MS)
        if kind is Kind.SCORES:
            packed["user"] = id_hashes(pa.chunked_array([forward_column(table["user_id"], pseudonyms, 0)]))
            packed["ms_of_day"] = ms_of_day
            units = np.rint(table["fraud_probability"].to_numpy() * _UNITS).astype(np.uint32)
            packed["verdict"] = units | np.where(table["sequence_anomaly"].to_numpy(), _FLAGGED, np.uint32(0))
        else:
            packed["amount"] = table["amount"].to_numpy()
    return Kept({day: packed[days == day] for day in np.unique(days).tolist()}, refused)


def probabilities(scores: Packed) -> npt.NDArray[np.float32]:
    """Return the published probabilities, ``float32 [n]``."""
    return np.asarray((scores["verdict"] & ~_FLAGGED) / _UNITS, np.float32)


def created_at_ms(day: int, scores: Packed) -> npt.NDArray[np.int64]:
    """Return the event times of a day's scores, ``int64 [n]``."""
    found: npt.NDArray[np.int64] = scores["ms_of_day"].astype(np.int64) + day * DAY_MS
    return found


def flagged(scores: Packed) -> npt.NDArray[np.bool_]:
    """Return what was flagged when it was scored, ``bool [n]``."""
    found: npt.NDArray[np.bool_] = (scores["verdict"] & _FLAGGED) > 0
    return found


def first_of_each(scores: Packed) -> Packed:
    """Return scores of which a transaction id has only one, its first: the others are repetitions."""
    _, first = np.unique(scores["transaction"], return_index=True)
    return scores[np.sort(first)]


def _ms(times: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = times.cast(pa.int64()).to_numpy()
    return found
