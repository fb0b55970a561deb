"""A payment's story out of the archive: its records, its scores, and its user's records before them."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.context import NO_DAY, ProfileDefinition, day_date
from models.spec import BundleSpec
from models.window import RECORD, Records
from stream.contract import timestamp
from stream.explain import Context, Story
from stream.explain_model import ExplainError, find_model
from stream.parse import ParsedTransaction
from stream.settings import Settings
from training.archive import SCHEMAS, Archive, Kind
from training.archive_damage import naming_the_file
from training.archive_reader import read_partition
from training.archive_sql import connect, relation_sql
from training.context import milliseconds, open_contexts
from training.profiles import Topics
from training.replay import MerchantHashes, id_hashes, to_records
from training.samples import first_file_day


def archived_stories(
    archive: Archive, settings: Settings, transaction_id: str, progress: Callable[[int], None]
) -> Iterator[Story]:
    """Yield the story of each message of a transaction, in order of partition and arrival.

    Raises:
        ExplainError: the archive has no such transaction.
        training.archive.ArchiveError: a file cannot be read.
    """
    rows = _of_transaction(archive, settings.input_topic, Kind.TRANSACTIONS, transaction_id)
    if not len(rows):
        raise ExplainError(
            f"{archive.url(settings.input_topic)} has no such transaction: is it archived yet, or a dead letter?"
        )
    scores = _of_transaction(archive, settings.output_topic, Kind.SCORES, transaction_id).to_pylist()
    for place in range(len(rows)):
        row = rows.slice(place, 1)
        [event] = row.to_pylist()
        its = [
            score
            for score in scores
            if (score["source_topic"], score["source_partition"], score["source_offset"])
            == (settings.input_topic, event["partition"], event["offset"])
            and score["scored_at"] >= event["kafka_timestamp"]  # else of an earlier topic of that name
        ]
        yield _story(archive, settings, row, event, its[-1] if its else None, progress)


def _of_transaction(archive: Archive, topic: str, kind: Kind, transaction_id: str) -> pa.Table:
    relation = relation_sql(archive, topic, kind)
    query = f'FROM ({relation}) WHERE transaction_id = $id ORDER BY "partition", kafka_timestamp, "offset"'
    with naming_the_file(archive, (topic, kind)), connect(archive) as connection:
        # DuckDB's times are microseconds
        return connection.sql(query, params={"id": transaction_id}).to_arrow_table().cast(SCHEMAS[kind])


def _story(
    archive: Archive,
    settings: Settings,
    row: pa.Table,
    event: dict[str, Any],
    score: dict[str, Any] | None,
    progress: Callable[[int], None],
) -> Story:
    model = find_model(settings, score["model_version"] if score else None)
    spec = model.bundle.spec
    [created_at_ms] = milliseconds(row["created_at"]).tolist()
    since = first_file_day(created_at_ms, 2 * spec.window_max_age_ms)
    theirs, read_from, whole = _before(archive, settings.input_topic, event, since, progress)
    records: Records = to_records(theirs, MerchantHashes()) if len(theirs) else np.empty(0, RECORD)
    hashes, ids = id_hashes(theirs["transaction_id"]).tolist(), theirs["transaction_id"].to_pylist()
    merchants = theirs["merchant_id"].to_pylist()
    names = dict(zip(reversed(hashes), zip(reversed(ids), reversed(merchants), strict=True), strict=True))
    payment = ParsedTransaction(
        event["transaction_id"],
        event["user_id"],
        event["amount"],
        timestamp(created_at_ms),
        event["is_vpn"],
        event["merchant_id"],
    )
    return Story(
        "archive",
        settings.input_topic,
        event["partition"],
        event["offset"],
        payment,
        records,
        names,
        read_from,
        whole,
        None if score is None else _published(score),
        model,
        _context(archive, settings, spec, row, created_at_ms),
    )


def _before(
    archive: Archive, topic: str, event: dict[str, Any], since: date, progress: Callable[[int], None]
) -> tuple[pa.Table, int, bool]:
    """Return a user's rows up to the event in replay order, the first offset looked at, and whether none lacks."""
    until = event["kafka_timestamp"].date() + timedelta(days=1)
    parts: list[pa.Table] = []
    begun: tuple[str, int] | None = None
    for table in read_partition(archive, topic, Kind.TRANSACTIONS, event["partition"], since=since, until=until):
        progress(len(table))
        begun = begun or (table["topic_id"][0].as_py(), table["offset"][0].as_py())
        own = pc.and_(pc.equal(table["topic_id"], event["topic_id"]), pc.equal(table["offset"], event["offset"]))
        at = pc.index(own, True).as_py()
        upto = table if at < 0 else table.slice(0, at + 1)
        parts.append(upto.filter(pc.equal(upto["user_id"], event["user_id"])))
        if at >= 0:
            break
    read_from = begun[1] if begun else event["offset"]
    earlier = [name for name in archive.files(topic, until=since) if name.partition == event["partition"]]
    return pa.concat_tables(parts), read_from, bool(earlier) or read_from == 0


def _context(archive: Archive, settings: Settings, spec: BundleSpec, row: pa.Table, created_at_ms: int) -> Context:
    if not spec.context:
        return Context(None, None)
    with open_contexts(
        archive,
        Topics(settings.input_topic, settings.labels_topic),
        settings.output_topic,
        spec.context,
        ProfileDefinition(spec.zone, spec.label_delay_days),
        (created_at_ms, created_at_ms + 1),
        model_version=spec.model_version,
    ) as contexts:
        found = contexts.of_events(row)
    day = int(found.days[0])
    return Context(found.columns, None if day == NO_DAY else day_date(day))


def _published(score: dict[str, Any]) -> dict[str, Any]:
    """Return an archived score as the message was, but for the sentences of its reasons, which are not archived."""
    names = (
        *("fraud_probability", "lstm_score", "sequence_anomaly", "insufficient_history", "window_length"),
        *("model_version", "reasons", "suppressed"),
    )
    told = {name: score[name] for name in names if score[name] is not None}
    day, scored_at = score["profile_day"], score["scored_at"]
    return told | {"profile_day": None if day is None else day.isoformat(), "scored_at": scored_at.isoformat()}
