"""``tenfold explain``: what a payment's score was made of, and the same score made again from it. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from models.bundle import LoadedBundle
from models.context import Floats32
from models.features import step_features
from models.reasons import explain, explainer_of
from models.window import VPN, Records, Windows, advance
from stream.contract import timestamp
from stream.encode import PROBABILITY_DECIMALS, rounded
from stream.moments import shown
from stream.parse import ParsedTransaction
from stream.plurals import count_of
from stream.terminal import fitted

_INDENT = 11  # of what a line says, behind its first word
_HEADINGS = ("created_at (UTC)", "amount", "VPN", "merchant", "payment")

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
    store: Path  # where that was looked for


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
        causes.append(
            f"the model that made it, {published['model_version']}, is not in the store {story.model.store} "
            "(TENFOLD_MODEL_STORE; is it the scorer's?)"
        )
    if story.model.published and published["profile_day"] != score["profile_day"]:
        causes.append(f"the table of profiles of {published['profile_day']} is not there any more")
    if not story.whole:
        causes.append(f"what came before offset {story.read_from} is not there any more")
    if not causes and published["window_length"] == score["window_length"]:
        return [_OTHER_WINDOW, _OTHER_ENGINE]
    return causes or [_OTHER_WINDOW]


def lines(it: dict[str, Any], width: int | None = None) -> list[str]:
    """Return what :func:`told` told as lines for a person, no wider than ``width`` where it can be helped.

    First the score and why it is what it is, then what it was made of.
    """
    source, published = it["source"], it["published"]
    merchant = f" at {it['merchant_id']}" if it["merchant_id"] else ""
    vpn = " through a VPN" if it["is_vpn"] else ""
    sent = f"{it['amount']:,.2f}{merchant}{vpn}, {shown(it['created_at'])}"
    place = f"{source['topic']}/{source['partition']} at {source['offset']}"
    made = [
        *(_not_published_lines(it) if published is None else _score_lines(it, published)),
        f"payment    {it['transaction_id']} of {it['user_id']}: {sent}",
        f"window     {'; '.join(_about_window(it))}",
        *_table(it["window"]),
        "features   of this payment; --json has those of all",
        *_value_rows(it["window"][-1]["features"]),
        *_profile_lines(it),
        *([] if published is None else [f"scored     {shown(published['scored_at'])} by {published['model_version']}"]),
        f"record     {place}, read from {'Kafka' if source['from'] == 'topic' else 'the archive'}",
    ]
    return [fitted(line, width, _INDENT) for line in made]


def _not_published_lines(it: dict[str, Any]) -> list[str]:
    score = it["recomputed"]
    above = f"{'above' if score['above_threshold'] else 'not above'} the threshold of {score['threshold']:g}"
    line = f"score      {score['fraud_probability']:.6f}, {above}, made now by {score['model_version']}"
    return [f"{line}: no published score was found", *_reason_lines(score["reasons"])]


def _score_lines(it: dict[str, Any], published: dict[str, Any]) -> list[str]:
    score, flagged = it["recomputed"], published["sequence_anomaly"]
    verdict = "flagged" if flagged else "not flagged"
    if published.get("suppressed"):
        verdict = "not flagged, for a rule suppresses it"
    line = f"score      {published['fraud_probability']:.6f}: {verdict}"
    if it["same"]:
        nothing = ["raised by  no single thing"] if flagged and not score["reasons"] else []
        return [
            f"{line}; the threshold is {score['threshold']:g}",
            *(_reason_lines(score["reasons"]) or nothing),
            "check      made again from the payments below, it is the same",
        ]
    lengths = published["window_length"], score["window_length"]
    window = "" if lengths[0] == lengths[1] else f" from {count_of(lengths[1], 'payment')}, and not {lengths[0]}"
    return [
        line,
        # an archive has their names alone
        *_reason_lines([each for each in published.get("reasons", []) if not isinstance(each, str)]),
        f"check      made again by {score['model_version']}{window}, it is {score['fraud_probability']:.6f}",
        *(f"           {cause}" for cause in it["different_because"]),
    ]


def _reason_lines(reasons: Sequence[dict[str, Any]]) -> list[str]:
    told = [f"{reason['sentence']} ({reason['effect']:.4f} lower without it)" for reason in reasons]
    return [f"{'' if place else 'raised by':<{_INDENT}}{line}" for place, line in enumerate(told)]


def _about_window(it: dict[str, Any]) -> Iterator[str]:
    source, window = it["source"], it["window"]
    yield f"{count_of(len(window), 'payment')}, this one last" if len(window) > 1 else "this payment alone"
    if it["recomputed"]["insufficient_history"]:
        yield "fewer than a full window"
    if (it["amount"], shown(it["created_at"])) != (window[-1]["amount"], shown(window[-1]["created_at"])):
        yield "its id was there before, and the first payment of an id counts"
    yield from (f"some of them on partition {each}, where the user was before" for each in source["moved_from"])
    if not source["window_is_whole"]:
        yield f"perhaps not all: what came before offset {source['read_from_offset']} is not there any more"


def _payment_row(step: dict[str, Any]) -> list[str]:
    vpn = "VPN" if step["is_vpn"] else ""
    amount = f"{step['amount']:,.2f}"
    return [shown(step["created_at"]), amount, vpn, step["merchant_id"] or "", step["transaction_id"] or ""]


def _profile_lines(it: dict[str, Any]) -> list[str]:
    if not it["context"]:
        return []
    day = it["recomputed"]["profile_day"]
    return [
        f"profiles   {f'of {day}' if day else 'none, as of a user and a merchant never seen'}",
        *_value_rows(it["context"]),
    ]


def _value_rows(values: dict[str, float]) -> list[str]:
    widest = max(map(len, values))
    return [f"  {name:<{widest}}  {value:g}" for name, value in values.items()]


def _table(window: Sequence[dict[str, Any]]) -> list[str]:
    """Return a row for each payment, below headings; a column without a cell is left out."""
    columns = [column for column in zip(_HEADINGS, *map(_payment_row, window), strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    return [
        "  "
        + "  ".join(
            f"{cell:{'>' if column[0] == 'amount' else '<'}{width}}"
            for cell, column, width in zip(row, columns, widths, strict=True)
        ).rstrip()
        for row in zip(*columns, strict=True)
    ]
