"""Which days can be judged now, and judging them: from the state to rows, the table and the metrics."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from models.context import DAY_MS, day_date
from training.archive import Archive, Kind
from training.archive_kafka import Place
from training.daily import CARDS_A_DAY
from training.known_cards import KNOWN_FOR_DAYS, Frauds, first_known_ms
from training.measures import WEEK
from training.monitor_metrics import MonitorMetrics
from training.monitor_quality import SPANS, Judged, Verdicts, frauds_of, in_force, judge, judged_at_ms, quality
from training.monitor_records import created_at_ms, first_of_each
from training.monitor_state import State
from training.monitor_table import write_day

log = logging.getLogger(__name__)

_LABELS = "labels"  # the row of the last whole day's labels


def kept_days(label_delays: Sequence[int]) -> int:
    """Return how long a day's records are needed: the week's first day looks back for cards that were known."""
    return 2 * max(label_delays) + WEEK + KNOWN_FOR_DAYS + 1


def _first_day(day: int, label_delay_days: int) -> int:
    """Return the first day of which a row needs to know the frauds."""
    return first_known_ms(day - WEEK + 1, label_delay_days) // DAY_MS


class Due(NamedTuple):
    """A row that can be made."""

    day: int
    label_delay_days: int
    size: int  # bytes of the scores of the day and the week before, by which it is known whether there are more since

    @property
    def name(self) -> str:
        """What it is published under."""
        return f"{self.day}:{self.label_delay_days}"


@dataclass(frozen=True)
class Publisher:
    """Judges what is in the state, a row at a time."""

    state: State
    places: Mapping[Kind, Sequence[Place]]  # all partitions of each topic
    label_delays: Sequence[int]  # days
    table: Archive
    metrics: MonitorMetrics

    def publish_next(self, passed_ms: int) -> bool:
        """Judge the earliest day that is due, or the last day's labels; return whether there may be more to do.

        Args:
            passed_ms: instant of Kafka's timestamps before which all records are in the state.

        Raises:
            redis.RedisError: Redis does not do its part.
            training.archive.ArchiveError: the table cannot be written.
        """
        rows, sizes = self.state.rows(), self.state.sizes(self.places[Kind.SCORES])
        due = next(self._due(passed_ms, rows, sizes), None)
        if due is not None:
            self._publish(due, sizes)
            return True
        last_whole_day = passed_ms // DAY_MS - 1
        if last_whole_day > rows.get(_LABELS, {"day": -1})["day"]:
            self.state.publish(_LABELS, self._labels_of(last_whole_day, sizes))
            return True
        self._forget(passed_ms, rows)
        self.show(rows)
        return False

    def _due(self, passed_ms: int, rows: Mapping[str, Mapping[str, Any]], sizes: Mapping[int, int]) -> Iterator[Due]:
        """Yield what has not been judged since its scores came, as far as nothing of its past is forgotten."""
        forgotten = self.state.forgotten()
        for day in sizes:
            size = sum(sizes.get(each, 0) for each in range(day - WEEK + 1, day + 1))
            for delay in self.label_delays:
                due = Due(day, delay, size)
                is_over = judged_at_ms(day, delay) <= passed_ms
                if is_over and forgotten <= _first_day(day, delay) and size > rows.get(due.name, {"size": 0})["size"]:
                    yield due

    def _publish(self, due: Due, sizes: Mapping[int, int]) -> None:
        day, delay, size = due
        spans = self._judge(day, delay, [each for each in sizes if each <= day])
        write_day(self.table, day_date(day), spans)
        self.state.publish(due.name, {"size": size, "day": day, "delay": delay, "spans": spans})
        log.info("judged", extra={"day": day_date(day).isoformat(), **spans[0]})

    def _judge(self, day: int, delay: int, days: Sequence[int]) -> list[dict[str, Any]]:
        first, begin = day - WEEK + 1, _first_day(day, delay)
        verdicts = self._verdicts(begin, judged_at_ms(day, delay))
        span: dict[int, Judged] = {}
        frauds: list[Frauds] = []
        for each in days:
            if each >= begin:
                judged = self._judged(each, verdicts)
                frauds.append(frauds_of(judged))
                if each >= first:
                    span[each] = judged
        return [
            {
                "label_delay_days": delay,
                "span_days": length,
                "judged_at": judged_at_ms(day, delay),
                **quality([its for each, its in span.items() if each > day - length], frauds, delay),
            }
            for length in SPANS
        ]

    def _judged(self, day: int, verdicts: Verdicts) -> Judged:
        scores = np.concatenate(self.state.records(Kind.SCORES, self.places[Kind.SCORES], day))
        payments = self.state.records(Kind.TRANSACTIONS, self.places[Kind.TRANSACTIONS], day)
        return judge(day, scores, payments, verdicts)

    def _verdicts(self, first_day: int, landed_by_ms: int) -> Verdicts:
        """Return the labels in force of payments since a day; none lands more than a day before its payment."""
        places = self.places[Kind.LABELS]
        days = range(first_day - 1, landed_by_ms // DAY_MS + 1)
        by_day = [self.state.records(Kind.LABELS, places, day) for day in days]
        by_partition = zip(places, zip(*by_day, strict=True), strict=True)
        return in_force({partition: np.concatenate(its) for (_, partition), its in by_partition}, landed_by_ms)

    def _labels_of(self, day: int, days: Mapping[int, int]) -> dict[str, Any]:
        """Return what came in labels on a day: how many, of payments that are not known, and how late."""
        oldest = min([day, *days])
        before, after = (self._verdicts(oldest, at * DAY_MS - 1) for at in (day, day + 1))
        landed = after.landed_at_ms >= day * DAY_MS
        ids = after.ids[landed]
        at, there = before.find(ids)
        contradicting = int((before.is_fraud[at[there]] != after.is_fraud[landed][there]).sum())
        paid_at_ms = np.full(len(ids), -1)
        for each in days:
            scores = first_of_each(np.concatenate(self.state.records(Kind.SCORES, self.places[Kind.SCORES], each)))
            scores = scores[np.isin(scores["transaction"], ids)]
            paid_at_ms[np.searchsorted(ids, scores["transaction"])] = created_at_ms(each, scores)
        known = paid_at_ms >= 0
        delays_s = (after.landed_at_ms[landed][known] - paid_at_ms[known]) / 1000
        quantiles = {str(each): float(np.quantile(delays_s, each)) for each in (0.5, 0.9)} if len(delays_s) else {}
        counts = {"all": len(ids), "unknown": int((~known).sum()), "contradicting": contradicting}
        return {"day": day, "counts": counts, "delay_seconds": quantiles}

    def _forget(self, passed_ms: int, rows: Mapping[str, Mapping[str, Any]]) -> None:
        before = passed_ms // DAY_MS - self.state.kept_days
        if before > self.state.forgotten():
            old = [name for name, row in rows.items() if name != _LABELS and row["day"] < before]
            self.state.forget([place for places in self.places.values() for place in places], before, old)

    def show(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Set the metrics to the newest rows."""
        newest: dict[int, Mapping[str, Any]] = {}
        for name, row in rows.items():
            if name != _LABELS and row["delay"] in self.label_delays:
                newest[row["delay"]] = max(row, newest.get(row["delay"], row), key=lambda its: int(its["day"]))
        self.metrics.hide()
        for delay, row in newest.items():
            self._show_week(str(delay), row["day"], row["spans"][SPANS.index(WEEK)])
        if _LABELS in rows:
            for kind, count in rows[_LABELS]["counts"].items():
                self.metrics.labels.labels(kind).set(count)
            for quantile, seconds in rows[_LABELS]["delay_seconds"].items():
                self.metrics.label_delay.labels(quantile).set(seconds)

    def _show_week(self, delay: str, day: int, week: Mapping[str, Any]) -> None:
        metrics = self.metrics
        for gauge, name in (
            (metrics.precision, "precision"),
            (metrics.recall, "recall"),
            (metrics.average_precision, "average_precision"),
            (metrics.card_precision, f"card_precision_at_{CARDS_A_DAY}"),
        ):
            if week[name] is not None:  # what cannot be measured has no series, rather than a 0
                gauge.labels(delay).set(week[name])
        for outcome in ("caught", "missed"):
            metrics.amount.labels(delay, outcome).set(week[f"{outcome}_amount"])
        for kind in ("payments", "labelled", "frauds", "flagged"):
            metrics.payments.labels(delay, kind).set(week[kind])
        metrics.day.labels(delay).set(day * DAY_MS / 1000)
