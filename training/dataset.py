"""From recorded events and labels to what the network learns from: windows by replay, labels, a split by time.

The windows are those that the scorer makes, because :func:`models.window.advance` makes them here too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.features import step_features
from models.hashing import merchant_hash, transaction_hash
from models.window import RECORD, SEQUENCE_LENGTH, VPN, Records, Windows, advance
from training.columns import TrainingDataError, amounts, ids, read_columns, times, truths
from training.events import DAY_MS, Bools, Ints

BATCH = 65_536  # events that are advanced at once

TRANSACTION_COLUMNS = {"transaction_id": ids, "user_id": ids, "amount": amounts, "created_at": times}
OPTIONAL_COLUMNS = {"is_vpn": truths, "merchant_id": ids}
LABEL_COLUMNS = {"transaction_id": ids, "is_fraud": truths, "labelled_at": times}


@dataclass(frozen=True)
class History:
    """Recorded transactions in order of event time (equal times as recorded), each once, with what is known of them."""

    records: Records  # [n] RECORD
    users: Ints  # [n] row of the user, 0 to n_users - 1
    is_fraud: Bools  # [n] as labelled by the cut-off; no label is "not fraud"
    labelled_at_ms: Ints  # [n] when that label landed, of frauds; 0 of all others
    cut_off_ms: int  # the last instant that anything is known of
    strange_labels: int = 0  # of transactions that are not there

    def __len__(self) -> int:
        return len(self.records)

    @property
    def created_at_ms(self) -> Ints:
        """Event times, ``int64 [n]``."""
        times: Ints = self.records["created_at_ms"]
        return times


@dataclass(frozen=True)
class Part:
    """Scored windows of one stretch of time; all columns run side by side.

    Those of files are in order of their last events. Those of an archive are by partition and in replay order, and
    mapped from disk: take slices or rows of them, not the whole.
    """

    windows: Windows  # [n]
    features: npt.NDArray[np.float32]  # [n, T, F]
    context: npt.NDArray[np.float32]  # [n, C] the profiles of the last event; C is 0 for a model that reads none
    users: npt.NDArray[np.uint64]  # [n] whose window: equal for the same user. Of an archive, the hash of the user id
    is_fraud: npt.NDArray[np.float32]  # [n] 0 or 1, the label of the window's last event
    begin_ms: int  # event times are in [begin_ms, end_ms)
    end_ms: int
    honest_weight: float = 1.0  # a window that is no fraud stands for so many

    def __len__(self) -> int:
        return len(self.is_fraud)

    @property
    def fraud_rate(self) -> float:
        """Share of windows whose last event is a fraud, those that were left out counted."""
        frauds = float(self.is_fraud.sum())
        return frauds / (frauds + self.honest_weight * (len(self) - frauds))

    def take(self, rows: Ints | slice) -> "Part":
        """Return the windows in ``rows``: in memory, or as they were mapped if it is a slice."""
        return replace(
            self,
            windows=self.windows.take(rows),
            features=np.asarray(self.features[rows]),
            context=np.asarray(self.context[rows]),
            users=np.asarray(self.users[rows]),
            is_fraud=np.asarray(self.is_fraud[rows]),
        )


@dataclass(frozen=True)
class Dataset:
    """Three parts: stretches of time, in this order, with the label delay between the first two; or of rows."""

    train: Part
    validation: Part
    test: Part

    def __len__(self) -> int:
        return len(self.train) + len(self.validation) + len(self.test)

    @property
    def insufficient_history(self) -> int:
        """How many windows are not full: their users had not paid often enough yet."""
        parts = (self.train, self.validation, self.test)
        return sum(int((part.windows.lengths < part.windows.records.shape[1]).sum()) for part in parts)


Split = Literal["time", "rows"]

#: Where validation and test begin in a split by row, as shares of the rows.
ROWS_VALIDATION, ROWS_TEST = 0.7, 0.8


def split_by_row(whole: Part) -> Dataset:
    """Split without regard to time, for comparison only: the first 80 % of the rows, and the last 20 % for the test.

    The last eighth of the first is for validation. Labels of the training rows are such as nobody had at the time, and
    users and days are on both sides, so that a test like this flatters.

    Raises:
        TrainingDataError: a part without a fraud.
    """
    bounds = [0, int(ROWS_VALIDATION * len(whole)), int(ROWS_TEST * len(whole)), len(whole)]
    parts = [whole.take(slice(*pair)) for pair in pairwise(bounds)]
    for name, part in zip(("training", "validation", "test"), parts, strict=True):
        if not 0 < part.is_fraud.sum() < len(part):
            raise TrainingDataError(
                f"of the {len(part)} {name} rows, {int(part.is_fraud.sum())} are labelled as fraud, and both kinds are "
                "needed: take more users or days"
            )
    return Dataset(*parts)


def read_history(directory: Path, cut_off: datetime | None = None) -> History:
    """Read ``transactions.parquet`` and ``labels.parquet``, columns as in the messages.

    A transaction id that is there twice counts once, the first. Of several labels of a transaction the one that
    landed last counts; labels that landed after ``cut_off`` and transactions after it are not known. Without a
    cut-off it is the last instant in the files.

    Raises:
        TrainingDataError: a file or a column is missing or has something else in it, or there is nothing in it by the
            cut-off, or no label is of a transaction that is there.
    """
    transactions = read_columns(directory / "transactions.parquet", TRANSACTION_COLUMNS, OPTIONAL_COLUMNS)
    labels = read_columns(directory / "labels.parquet", LABEL_COLUMNS, {})
    created_at_ms, labelled_at_ms = transactions["created_at"].to_numpy(), labels["labelled_at"].to_numpy()
    if not len(created_at_ms):
        raise TrainingDataError(f"{directory}/transactions.parquet holds no transaction: `tenfold simulate` makes some")
    if cut_off is None:
        cut_off_ms = int(max(created_at_ms.max(), labelled_at_ms.max(initial=0)))
    else:
        cut_off_ms = round(cut_off.timestamp() * 1000)

    named, judged = _hashes(transactions["transaction_id"]), _hashes(labels["transaction_id"])
    strange_labels = int((~np.isin(judged, named)).sum())
    if strange_labels and strange_labels == len(judged):
        raise TrainingDataError(
            f"none of the {len(judged):,} labels in {directory}/labels.parquet is of a transaction in "
            "transactions.parquet: transaction_id must be the same in both"
        )
    firsts = np.sort(np.unique(named, return_index=True)[1])
    firsts = firsts[created_at_ms[firsts] <= cut_off_ms]
    if not len(firsts):
        raise TrainingDataError(
            f"the first transaction in {directory}/transactions.parquet is of {_day(int(created_at_ms.min()))}, and "
            f"the cut-off is {cut_off}: give a later one"
        )
    rows = firsts[np.argsort(created_at_ms[firsts], kind="stable")]

    records = np.zeros(len(rows), RECORD)
    records["created_at_ms"] = created_at_ms[rows]
    records["transaction"] = named[rows]
    records["amount"] = transactions["amount"].to_numpy()[rows]
    if "merchant_id" in transactions.column_names:
        merchants = transactions["merchant_id"].combine_chunks().dictionary_encode()
        hashes = np.array([merchant_hash(name) for name in merchants.dictionary.to_pylist()] + [0], np.uint32)
        records["merchant"] = hashes[pc.fill_null(merchants.indices, len(hashes) - 1).to_numpy()[rows]]
    if "is_vpn" in transactions.column_names:
        records["flags"] = np.where(pc.fill_null(transactions["is_vpn"], False).to_numpy()[rows], VPN, 0)
    users = transactions["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()[rows]
    users = np.unique(users, return_inverse=True)[1].astype(np.int64)

    landed = labelled_at_ms <= cut_off_ms
    last_landed = np.argsort(labelled_at_ms, kind="stable")[::-1]
    last_landed = last_landed[landed[last_landed]]
    labelled, at = np.unique(judged[last_landed], return_index=True)
    verdicts = labels["is_fraud"].to_numpy()[last_landed][at]
    is_fraud = np.isin(records["transaction"], labelled[verdicts])
    known_at_ms = np.zeros(len(records), np.int64)
    found = np.searchsorted(labelled, records["transaction"][is_fraud])
    known_at_ms[is_fraud] = labelled_at_ms[last_landed][at][found]
    return History(records, users, is_fraud, known_at_ms, cut_off_ms, strange_labels)


def replay(history: History, max_age_ms: int, sequence_length: int = SEQUENCE_LENGTH) -> Iterator[Windows]:
    """Yield the scored window of every event, in order, :data:`BATCH` at a time."""
    state = Windows.empty(int(history.users.max(initial=-1)) + 1, sequence_length)
    for begin in range(0, len(history), BATCH):
        batch = slice(begin, begin + BATCH)
        users, rows = np.unique(history.users[batch], return_inverse=True)
        advanced = advance(state.take(users), rows, history.records[batch], max_age_ms)
        state.records[users], state.lengths[users] = advanced.state.records, advanced.state.lengths
        yield advanced.scored


def split(
    history: History,
    features: Sequence[str],
    *,
    max_age_ms: int,
    zone: str,
    label_delay_days: int,
    by: Split = "time",
    validation_share: float = 0.12,
    test_share: float = 0.2,
) -> Dataset:
    """Replay the history and split it by time: training, a gap of the label delay, validation, test.

    Or ``by`` rows, in order of time: see :func:`split_by_row`.

    Split by time, a training event is a fraud only if that had landed when validation begins: a model that is trained
    then knows no more.

    Events in the last ``label_delay_days`` before the cut-off are left out, since nobody can have said yet what they
    are. The shares are of the time that remains. The gap is what the label delay costs in service too: a model that
    goes live knows no label younger than that. Windows reach back across the split, as they do in service.

    Raises:
        TrainingDataError: too little history, or a stretch without a fraud.
    """
    times = history.created_at_ms
    delay_ms = label_delay_days * DAY_MS
    begin_ms = int(times[0])
    end_ms = min(int(times[-1]) + 1, history.cut_off_ms - delay_ms + 1)
    span_ms = end_ms - begin_ms
    test_ms = end_ms - int(test_share * span_ms)
    validation_ms = test_ms - int(validation_share * span_ms)
    train_end_ms = validation_ms - delay_ms
    if by == "time" and train_end_ms - begin_ms < DAY_MS:
        raise TrainingDataError(
            f"too little history: {max(span_ms, 0) / DAY_MS:.1f} days are old enough to be labelled, and with a label "
            f"delay of {label_delay_days} days less than one is left to train on; collect or simulate more days "
            f"(at least {(label_delay_days + 1) / (1 - test_share - validation_share) + label_delay_days:.0f})"
        )
    windows = list(replay(history, max_age_ms))
    whole = Windows(
        np.concatenate([batch.records for batch in windows]), np.concatenate([batch.lengths for batch in windows])
    )

    def part(name: str, part_begin_ms: int, part_end_ms: int) -> Part:
        rows = slice(*np.searchsorted(times, [part_begin_ms, part_end_ms]))
        known_by_ms = validation_ms if by == "time" and name == "training" else history.cut_off_ms
        is_fraud = (history.is_fraud[rows] & (history.labelled_at_ms[rows] <= known_by_ms)).astype(np.float32)
        if not len(is_fraud):
            raise TrainingDataError(
                f"no transaction is of the {name} days, {_day(part_begin_ms)} to {_day(part_end_ms)}, though the first "
                f"is of {_day(begin_ms)} and the last of {_day(int(times[-1]))}: look for times that are wrong"
            )
        if by == "time" and not 0 < is_fraud.sum() < len(is_fraud):
            raise TrainingDataError(
                f"of the {len(is_fraud)} {name} events, {_day(part_begin_ms)} to {_day(part_end_ms)}, "
                f"{int(is_fraud.sum())} are labelled as fraud, and both kinds are needed: check labels.parquet, or "
                "take more users or days"
            )
        mine = whole.take(rows)
        return Part(
            mine,
            step_features(mine, features, zone),
            np.empty((len(mine), 0), np.float32),  # profiles are made of an archive
            history.users[rows].astype(np.uint64),
            is_fraud,
            part_begin_ms,
            part_end_ms,
        )

    if by == "rows":
        return split_by_row(part("all", begin_ms, end_ms))
    return Dataset(
        part("training", begin_ms, train_end_ms),
        part("validation", validation_ms, test_ms),
        part("test", test_ms, end_ms),
    )


def _hashes(ids: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    return np.fromiter(map(transaction_hash, ids.to_pylist()), np.uint64, len(ids))


def _day(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).date().isoformat()
