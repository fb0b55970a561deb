"""How good the published scores were, as far as labels that had landed by an instant say. Pure.

The measures are those of :mod:`training.measures`, of which ``tenfold evaluate`` makes its report.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.context import DAY_MS
from models.window import Ints
from training.known_cards import Frauds
from training.measures import WEEK, Known, by_protocol
from training.metrics import ALERT_BUDGET, at_threshold, ranking, threshold_for
from training.monitor_records import LABEL, Packed, created_at_ms, first_of_each, flagged, probabilities
from training.scored import Scored

#: Days that a row is of: one, and the week that ends with it.
SPANS = (1, WEEK)


@dataclass(frozen=True)
class Verdicts:
    """Labels in force at an instant, by transaction id; the three run side by side."""

    ids: npt.NDArray[np.uint64]  # [m] hashes of transaction ids, ascending
    is_fraud: npt.NDArray[np.bool_]  # [m]
    landed_at_ms: Ints  # [m]

    def find(self, ids: npt.NDArray[np.uint64]) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """Return where the label of each transaction is, and whether there is one."""
        at = np.minimum(np.searchsorted(self.ids, ids), max(len(self.ids) - 1, 0))
        known = self.ids[at] == ids if len(self.ids) else np.zeros(len(ids), np.bool_)
        return at, known


class Judged(NamedTuple):
    """Scores of a day beside what is known of them; all columns run side by side."""

    payments: Scored
    flagged: npt.NDArray[np.bool_]  # [n] when it was scored
    labelled: npt.NDArray[np.bool_]  # [n] a label had landed
    amounts: npt.NDArray[np.float64]  # [n] of frauds, NaN where the payment was not seen; 0 of all others
    landed_at_ms: npt.NDArray[np.int64]  # [n] since when the label is known, 0 where there is none


def judged_at_ms(day: int, label_delay_days: int) -> int:
    """Return the instant at which the payments of a day are judged: the label delay after the day has ended.

    By then, and not before, ``tenfold evaluate`` takes the day of a model of that label delay.
    """
    return (day + 1 + label_delay_days) * DAY_MS


def in_force(labels: Mapping[int, Packed], landed_by_ms: int) -> Verdicts:
    """Return the labels in force at an instant: ``labels.sql`` says which, here as in training.

    Args:
        labels: by partition of their topic.
        landed_by_ms: the instant.
    """
    partitions = [np.full(len(its), partition, np.int32) for partition, its in labels.items()]
    all_of_them = np.concatenate([np.empty(0, LABEL), *labels.values()])
    table = pa.table(
        {
            "transaction_id": np.ascontiguousarray(all_of_them["transaction"]),
            "is_fraud": pa.array(all_of_them["is_fraud"]),
            "labelled_at": pa.array(all_of_them["labelled_at_ms"]).cast(pa.timestamp("ms")),
            "kafka_timestamp": pa.array(all_of_them["kafka_ms"]).cast(pa.timestamp("ms")),
            "topic_id": pa.nulls(len(all_of_them), pa.string()),
            "partition": np.concatenate([np.empty(0, np.int32), *partitions]),
            "offset": np.ascontiguousarray(all_of_them["offset"]),
        }
    )
    with duckdb.connect() as connection:
        connection.register("labels", table)
        found = connection.sql(_LABELS_SQL, params={"landed_by_ms": landed_by_ms}).to_arrow_table()
    order = np.argsort(found["transaction_id"].to_numpy())
    return Verdicts(*(found[name].to_numpy()[order] for name in ("transaction_id", "is_fraud", "landed_at_ms")))


def judge(day: int, scores: Packed, payments: Sequence[Packed], verdicts: Verdicts) -> Judged:
    """Put scores of a day beside the labels in force, and beside the amounts of what was a fraud.

    Args:
        day: since 1970-01-01.
        scores: of the day; of several of one transaction the first counts.
        payments: of the day, in portions.
        verdicts: the labels in force.
    """
    scores = first_of_each(scores)
    at, labelled = verdicts.find(scores["transaction"])
    is_fraud, landed_at_ms = np.zeros(len(scores), np.bool_), np.zeros(len(scores), np.int64)
    is_fraud[labelled] = verdicts.is_fraud[at[labelled]]
    landed_at_ms[labelled] = verdicts.landed_at_ms[at[labelled]]
    return Judged(
        Scored(
            probabilities(scores),
            is_fraud.astype(np.float32),
            np.ascontiguousarray(scores["user"]),
            created_at_ms(day, scores),
        ),
        flagged(scores),
        labelled,
        _amounts(scores["transaction"], is_fraud, payments),
        landed_at_ms,
    )


def frauds_of(judged: Judged) -> Frauds:
    """Return the frauds among payments, and since when each is known."""
    rows = judged.payments.is_fraud > 0
    return Frauds(judged.payments.users[rows], judged.payments.created_at_ms[rows], judged.landed_at_ms[rows])


def quality(span: Sequence[Judged], frauds: Sequence[Frauds], label_delay_days: int) -> dict[str, Any]:
    """Return the measures of some days, which have a payment; what cannot be measured is ``None``.

    Args:
        span: the days.
        frauds: those that make a card known, by day, at least from :func:`training.known_cards.first_known_ms` on.
        label_delay_days: after which the labels were looked at.
    """
    payments, raised, labelled, amounts = _together(span)
    is_fraud = payments.is_fraud > 0
    known = Known(_all_of(frauds), label_delay_days)
    at_budget = at_threshold(
        payments.is_fraud, payments.probabilities, threshold_for(payments.probabilities, ALERT_BUDGET)
    )
    return {
        "payments": len(payments),
        "labelled": int(labelled.sum()),
        "frauds": int(is_fraud.sum()),
        "flagged": int(raised.sum()),
        # by what was flagged at the time, whatever threshold and model that was
        **_but(at_threshold(payments.is_fraud, raised.astype(np.float32), 0.5), "flagged"),
        **ranking(payments.is_fraud, payments.probabilities),
        **_but(by_protocol(payments, known), "protocol_n", "protocol_frauds"),
        "precision_at_budget": at_budget["precision"],
        "recall_at_budget": at_budget["recall"],
        "caught_amount": float(np.nansum(amounts[raised])),
        "missed_amount": float(np.nansum(amounts[~raised])),
        "frauds_without_amount": int(np.isnan(amounts).sum()),
    }


def _together(span: Sequence[Judged]) -> tuple[Scored, npt.NDArray[np.bool_], npt.NDArray[np.bool_], Any]:
    columns = zip(*((*vars(each.payments).values(), *each[1:4]) for each in span), strict=True)
    *payments, raised, labelled, amounts = (np.concatenate(column) for column in columns)
    return Scored(*payments), raised, labelled, amounts


def _all_of(frauds: Sequence[Frauds]) -> Frauds:
    return Frauds(*(np.concatenate(column) for column in zip(*(vars(each).values() for each in frauds), strict=True)))


def _amounts(ids: npt.NDArray[np.uint64], is_fraud: npt.NDArray[np.bool_], payments: Sequence[Packed]) -> Any:
    amounts = np.zeros(len(ids), np.float64)
    amounts[is_fraud] = np.nan
    rows = np.flatnonzero(is_fraud)
    rows = rows[np.argsort(ids[rows])]
    wanted = ids[rows]
    for portion in reversed(payments):  # of several of one transaction the first counts
        found = portion[np.isin(portion["transaction"], wanted)][::-1]
        amounts[rows[np.searchsorted(wanted, found["transaction"])]] = found["amount"]
    return amounts


def _but(measures: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in measures.items() if name not in names}


_LABELS_SQL = (Path(__file__).parent / "labels.sql").read_text(encoding="utf-8")
