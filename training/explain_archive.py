"""A payment's story out of the archive: its records, its scores, and its user's records before them."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.context import NO_DAY, ProfileDefinition, day_date
from models.spec import BundleSpec
from models.window import RECORD, Records
from stream.contract import timestamp
from stream.explain import Context, Ids, Model, Story, best
from stream.explain_model import NotKeptError, find_model
from stream.parse import ParsedTransaction
from stream.progress import Counted
from stream.settings import Settings
from training.archive import IMPORT, SCHEMAS, Archive, Kind, partitions
from training.archive_damage import naming_the_file
from training.archive_history import last_offset, past_rows
from training.archive_reader import read_partition
from training.archive_sql import connect, relation_sql
from training.context import milliseconds, open_contexts
from training.profiles import Topics
from training.replay import MerchantHashes, id_hashes, to_records
from training.samples import first_file_day

_COLUMNS = (
    *("topic_id", "offset", "kafka_timestamp"),
    *("transaction_id", "user_id", "amount", "created_at", "is_vpn", "merchant_id"),
)


def told_from_archive(
    archive: Archive, settings: Settings, transaction_id: str, progress: Counted
) -> Iterator[dict[str, Any]]:
    """Tell the story of each message of a transaction, in order of partition and arrival.

    Raises:
        NotKeptError: the archive has no such transaction.
        training.archive.ArchiveError: a file cannot be read.
    """
    rows = _of_transaction(archive, settings.input_topic, Kind.TRANSACTIONS, transaction_id)
    if not len(rows):
        raise NotKeptError(
            f"{archive.url(settings.input_topic)} has no such transaction: is it archived yet, or a dead letter?"
        )
    scores = _of_transaction(archive, settings.output_topic, Kind.SCORES, transaction_id).to_pylist()
    events = rows.to_pylist()
    answers = _answers(events, [score for score in scores if score["source_topic"] == settings.input_topic])
    for number, event in enumerate(events):
        yield best(_ways(archive, settings, rows.slice(number, 1), event, answers.get(number), progress))


def payments_before(
    archive: Archive, log: tuple[str, int, str, int], user: str, since_ms: int, progress: Counted
) -> tuple[Records, Ids, bool]:
    """Return a user's payments of before a log begins, as a rebuild takes them out of the archive.

    Args:
        archive: where they are.
        log: topic, partition, the topic's id, and the offset that the log begins with.
        user: the name that the user has in the archive.
        since_ms: what came before is of no use.
        progress: counts the records that were looked at.

    Returns:
        the payments in replay order, their ids, and whether the archive has the last record of before the log.

    Raises:
        training.archive.ArchiveError: a file cannot be read.
    """
    topic, partition, topic_id, log_start = log
    since = first_file_day(since_ms, 0)
    found: list[pa.Table] = []
    last = None
    for rows in past_rows(archive, topic, partition, topic_id, log_start, since=since):
        progress(len(rows))
        found.append(rows.filter(pc.equal(rows["user_id"], user)))
        reached = last_offset(rows, topic_id)
        last = last if reached is None else reached
    if not found:
        return np.empty(0, RECORD), {}, False
    theirs = pa.concat_tables(found)
    return _records(theirs), _ids(theirs), last is not None and last + 1 >= log_start


def _of_transaction(archive: Archive, topic: str, kind: Kind, transaction_id: str) -> pa.Table:
    relation = relation_sql(archive, topic, kind)
    query = f'FROM ({relation}) WHERE transaction_id = $id ORDER BY "partition", kafka_timestamp, "offset"'
    with naming_the_file(archive, (topic, kind)), connect(archive) as connection:
        # DuckDB's times are microseconds
        return connection.sql(query, params={"id": transaction_id}).to_arrow_table().cast(SCHEMAS[kind])


def _answers(events: Sequence[dict[str, Any]], scores: Sequence[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return the last score of each event, by the event's number; both are in order of arrival.

    A topic made anew under its name has other events at the same offsets, and of these a score answers the last from
    before it was made. Clocks of brokers and scorers may be apart: only where there are several are they compared.
    """
    found: dict[int, dict[str, Any]] = {}
    for score in scores:
        source = score["source_partition"], score["source_offset"]
        there = [number for number, event in enumerate(events) if (event["partition"], event["offset"]) == source]
        before = [number for number in there if events[number]["kafka_timestamp"] <= score["scored_at"]]
        for number in before[-1:] or there[:1]:
            found[number] = score
    return found


class _Seen(NamedTuple):
    """What was read of a user on one partition."""

    partition: int
    rows: pa.Table  # in replay order
    begin: int  # the first offset that was looked at
    whole: bool  # nothing that could be in the window came before


def _ways(
    archive: Archive,
    settings: Settings,
    row: pa.Table,
    event: dict[str, Any],
    score: dict[str, Any] | None,
    progress: Counted,
) -> Iterator[Story]:
    """Yield the story as the payment's own partition tells it; then with what other partitions have of the user.

    Who moved when partitions were added has payments there, and a rebuild has brought them along.
    """
    model = find_model(settings, score["model_version"] if score else None)
    spec = model.bundle.spec
    [created_at_ms] = milliseconds(row["created_at"]).tolist()
    since = first_file_day(created_at_ms, 2 * spec.window_max_age_ms)
    context = _context(archive, settings, spec, row, created_at_ms)
    here = _seen(archive, settings.input_topic, event["partition"], event, since, progress)
    yield _story(settings, event, score, model, context, [here])
    if not model.published:
        return  # its score comes out of no window
    files = archive.files(settings.input_topic, since=since, until=_day_after(event))
    others = [each for each in partitions(files) if each != event["partition"]]
    elsewhere = [_seen(archive, settings.input_topic, each, event, since, progress) for each in others]
    before = [each for each in elsewhere if len(each.rows)]
    if before:
        yield _story(settings, event, score, model, context, [*before, here])


def _seen(archive: Archive, topic: str, partition: int, event: dict[str, Any], since: date, progress: Counted) -> _Seen:
    """Return a user's rows of a partition up to the event, or what came before it where it is on another one."""
    parts = [SCHEMAS[Kind.TRANSACTIONS].empty_table().select(_COLUMNS)]
    begun: int | None = None
    for table in read_partition(
        archive, topic, Kind.TRANSACTIONS, partition, columns=_COLUMNS, since=since, until=_day_after(event)
    ):
        progress(len(table))
        begun = table["offset"][0].as_py() if begun is None else begun
        theirs = pc.equal(table["user_id"], event["user_id"])
        if partition != event["partition"]:
            parts.append(table.filter(pc.and_(theirs, pc.less(table["kafka_timestamp"], event["kafka_timestamp"]))))
            continue
        own = pc.and_(pc.equal(table["topic_id"], event["topic_id"]), pc.equal(table["offset"], event["offset"]))
        at = pc.index(own, True).as_py()
        upto = len(table) if at < 0 else at + 1
        parts.append(table.slice(0, upto).filter(theirs.slice(0, upto)))
        if at >= 0:
            break
    earlier = any(name.partition == partition for name in archive.files(topic, until=since))
    begin = event["offset"] if begun is None else begun
    return _Seen(partition, pa.concat_tables(parts), begin, earlier or begin == 0)


def _day_after(event: dict[str, Any]) -> date | None:
    """Return the day after that of the event's file; ``None`` where the calendar has none."""
    day: date = event["kafka_timestamp"].date()
    return None if day == date.max else day + timedelta(days=1)


def _story(
    settings: Settings,
    event: dict[str, Any],
    score: dict[str, Any] | None,
    model: Model,
    context: Context,
    seen: Sequence[_Seen],
) -> Story:
    """Return the story of an event, which is on the last of the partitions."""
    theirs = seen[0].rows if len(seen) == 1 else _in_order([each.rows for each in seen])
    payment = ParsedTransaction(
        event["transaction_id"],
        event["user_id"],
        event["amount"],
        timestamp(round(event["created_at"].timestamp() * 1000)),
        event["is_vpn"],
        event["merchant_id"],
    )
    return Story(
        "archive",
        settings.input_topic,
        event["partition"],
        event["offset"],
        payment,
        _records(theirs),
        _ids(theirs),
        seen[-1].begin,
        all(each.whole for each in seen),
        None if score is None else _published(score),
        model,
        context,
        tuple(each.partition for each in seen[:-1]),
    )


def _in_order(parts: Sequence[pa.Table]) -> pa.Table:
    """Return rows of partitions as a rebuild has them: imported history, then by Kafka timestamp.

    On a partition none comes before an earlier one, and of an instant those of the last partition come last.
    """
    times = np.concatenate([np.maximum.accumulate(milliseconds(rows["kafka_timestamp"])) for rows in parts])
    rows = pa.concat_tables(parts)
    live = pc.not_equal(rows["topic_id"], IMPORT).to_numpy()
    return rows.take(np.lexsort((times, live)))


def _records(rows: pa.Table) -> Records:
    return to_records(rows, MerchantHashes()) if len(rows) else np.empty(0, RECORD)


def _ids(rows: pa.Table) -> Ids:
    """Return the ids of transactions by their hash; of those that are the same, the first one's."""
    hashes = id_hashes(rows["transaction_id"]).tolist() if len(rows) else []
    ids = zip(rows["transaction_id"].to_pylist(), rows["merchant_id"].to_pylist(), strict=True)
    return dict(reversed(list(zip(hashes, ids, strict=True))))


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
