"""``tenfold explain``: what a payment's score was made of, and the same score made again from it. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from models.bundle import LoadedBundle
from models.context import Floats32
from models.features import step_features
from models.reasons import explain, explainer_of
from models.window import VPN, Records, Windows, advance
from stream.contract import timestamp
from stream.encode import PROBABILITY_DECIMALS, rounded
from stream.parse import ParsedTransaction
from stream.terminal import fitted

_INDENT = 11  # of what a line says, behind its first word

#: By so much two engines may differ, or one and the same that computes other events beside this one.
_SAME = 10.0 ** (1 - PROBABILITY_DECIMALS)

_OTHER_WINDOW = (
    "the scorer's window was another one: it began later (TENFOLD_START_FROM, a rebuild from a shorter log), or "
    "partitions were added and windows rebuilt from what is not there any more"
)
_OTHER_ENGINE = "the scorer computed with another engine than this process: see TENFOLD_RUNTIME"

Ids = dict[int, tuple[str, str | None]]  # transaction's hash -> ids of transaction and merchant


class Model(NamedTuple):
    """The model that a score is made again with."""

    bundle: LoadedBundle
    published: bool  # it is the one that made the published score


class Context(NamedTuple):
    """What the model reads beside the window."""

    columns: Floats32 | None  # [1, C], None for a model that reads nothing else
    day: date | None  # of the table of profiles


@dataclass(frozen=True, eq=False)
class Story:
    """One message of a payment, its user's payments up to it, and what was published of it."""

    origin: str  # topic or archive
    topic: str
    partition: int
    offset: int
    payment: ParsedTransaction
    records: Records  # [n] RECORD of the user in order of arrival; the last is the payment's own
    ids: Ids  # where known
    read_from: int  # offset of the first record that was looked at
    whole: bool  # nothing that could be in the window came before
    published: dict[str, Any] | None  # the score
    model: Model
    context: Context
    moved_from: tuple[int, ...] = ()  # other partitions that the user's payments were on before


def best(ways: Iterator[Story]) -> dict[str, Any]:
    """Tell the first of the ways in which a window may have come about that gives the published score; else the first.

    There is one at least, and no more are taken than it needs.
    """
    first = told(next(ways))
    every = chain([first], map(told, ways))
    return next((it for it in every if it["same"] is not False), first)


def told(story: Story) -> dict[str, Any]:
    """Return all that a score was made of, for JSON, and whether the score made of it again is the published one.

    Where they differ, ``different_because`` says what may be the cause.
    """
    bundle = story.model.bundle
    spec = bundle.spec
    none = Windows.empty(1, spec.sequence_length)
    users = np.zeros(len(story.records), np.int64)
    window = advance(none, users, story.records, spec.window_max_age_ms).scored.take(slice(-1, None))
    columns = story.context.columns
    probabilities = bundle.score(window, columns)
    probability = float(rounded(probabilities)[0])
    reasons = explain(explainer_of(bundle), window, probabilities, columns)[0]
    features = step_features(window, spec.features, spec.zone)[0]
    length = int(window.lengths[0])
    score = {
        "model_version": spec.model_version,
        "fraud_probability": probability,
        "lstm_score": int(probability * 100),
        "above_threshold": probability > spec.threshold,
        "threshold": spec.threshold,
        "window_length": length,
        "insufficient_history": length < spec.sequence_length,
        "profile_day": None if story.context.day is None else story.context.day.isoformat(),
        "reasons": [reason._asdict() for reason in reasons],
    }
    same = None if story.published is None else _same(story.published, score)
    names = [] if columns is None else list(spec.context)
    return {
        "transaction_id": story.payment.transaction_id,
        "user_id": story.payment.user_id,
        "amount": story.payment.amount,
        "created_at": story.payment.created_at,
        "is_vpn": story.payment.is_vpn,
        "merchant_id": story.payment.merchant_id,
        "source": {
            "from": story.origin,
            "topic": story.topic,
            "partition": story.partition,
            "offset": story.offset,
            "read_from_offset": story.read_from,
            "window_is_whole": story.whole,
            "moved_from": list(story.moved_from),
        },
        "window": [
            _step(record, story.ids, spec.features, values)
            for record, values in zip(window.records[0, :length], features[:length], strict=True)
        ],
        "context": dict(zip(names, [] if columns is None else columns[0].tolist(), strict=True)),
        "published": story.published,
        "recomputed": score,
        "same": same,
        "different_because": [] if same is not False else _why(story, score),
    }


def _same(published: dict[str, Any], score: dict[str, Any]) -> bool:
    close = abs(published["fraud_probability"] - score["fraud_probability"]) <= _SAME
    return bool(close and published["window_length"] == score["window_length"])


def _step(
    record: np.void, ids: dict[int, tuple[str, str | None]], names: Sequence[str], values: Floats32
) -> dict[str, Any]:
    transaction_id, merchant_id = ids.get(int(record["transaction"]), (None, None))
    return {
        "transaction_id": transaction_id,
        "created_at": timestamp(int(record["created_at_ms"])),
        "amount": float(record["amount"]),
        "is_vpn": bool(record["flags"] & VPN),
        "merchant_id": merchant_id,
        "features": {name: round(float(value), 6) for name, value in zip(names, values, strict=True)},
    }


def _why(story: Story, score: dict[str, Any]) -> list[str]:
    published = story.published or {}
    causes = []
    if not story.model.published:
        causes.append(f"the model that made it, {published['model_version']}, is not in the store any more")
    if story.model.published and published["profile_day"] != score["profile_day"]:
        causes.append(f"the table of profiles of {published['profile_day']} is not there any more")
    if not story.whole:
        causes.append(f"what came before offset {story.read_from} is not there any more")
    if not causes and published["window_length"] == score["window_length"]:
        return [_OTHER_WINDOW, _OTHER_ENGINE]
    return causes or [_OTHER_WINDOW]


def lines(it: dict[str, Any], width: int | None = None) -> list[str]:
    """Return what :func:`told` told as lines for a person, no wider than ``width`` where it can be helped."""
    source, score, published = it["source"], it["recomputed"], it["published"]
    whole = "whole" if source["window_is_whole"] else "perhaps not whole: what came before is not there any more"
    merchant = f" at {it['merchant_id']}" if it["merchant_id"] else ""
    vpn, day = " through a VPN" if it["is_vpn"] else "", score["profile_day"] or "no day"
    moved = "".join(f"; some of them on partition {each}" for each in source["moved_from"])
    made = [
        f"payment    {it['transaction_id']} of {it['user_id']}: {it['amount']:,.2f}{merchant}{vpn}, {it['created_at']}",
        f"from       {source['from']}, {source['topic']}/{source['partition']} at {source['offset']}",
        f"window     {score['window_length']} payments, read from offset {source['read_from_offset']}; {whole}{moved}",
        *_table([_payment_row(step) for step in it["window"]]),
        *_features(it["window"], width),
        *(f"context    {name} {value:g}" for name, value in it["context"].items()),
        f"model      {score['model_version']}, threshold {score['threshold']:g}, profiles of {day}",
        *_score_lines(it, score, published),
        *(f"reason     {reason['sentence']} ({reason['effect']:+.4f})" for reason in score["reasons"]),
    ]
    return [fitted(line, width, _INDENT) for line in made]


def _score_lines(it: dict[str, Any], score: dict[str, Any], published: dict[str, Any] | None) -> list[str]:
    verdict = "above the threshold" if score["above_threshold"] else "not above the threshold"
    if published is None:
        return [f"score      {score['fraud_probability']:.6f}, {verdict}; no published score was found"]
    suppressed = ", suppressed" if published.get("suppressed") else ""
    if it["same"]:
        return [f"score      {published['fraud_probability']:.6f}, {verdict}{suppressed}; made again, it is the same"]
    one, other = f"{published['fraud_probability']:.6f}", f"{score['fraud_probability']:.6f}"
    return [
        f"score      {one} was published{suppressed}; made again, it is {other}",
        *(f"           {cause}" for cause in it["different_because"]),
    ]


def _payment_row(step: dict[str, Any]) -> list[str]:
    vpn = "VPN" if step["is_vpn"] else ""
    return [step["created_at"], f"{step['amount']:,.2f}", vpn, step["merchant_id"] or "", step["transaction_id"] or ""]


def _features(window: Sequence[dict[str, Any]], width: int | None) -> list[str]:
    """Return a row for each feature and a column for each payment, below one another where they are too many."""
    cells = [[f"{value:.3f}" for value in step["features"].values()] for step in window]
    names = list(window[0]["features"])
    at_once = len(window)
    if width is not None:
        widest = max(len(cell) for column in cells for cell in column)
        at_once = max((width - 2 - max(map(len, names))) // (2 + widest), 1)
    if at_once >= len(window):
        return ["features", *_table(list(zip(names, *cells, strict=True)))]
    rows: list[str] = []
    for first in range(0, len(window), at_once):
        some = cells[first : first + at_once]
        rows.append(f"features   of payments {first + 1} to {first + len(some)}")
        rows += _table(list(zip(names, *some, strict=True)))
    return rows


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        ("  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))).rstrip() for row in rows
    ]
