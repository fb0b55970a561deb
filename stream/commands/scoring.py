"""Commands that score: the scorer itself, its topics, and where its group stands."""

import json
import logging
from typing import Annotated

import typer

from stream.commands.options import Json
from stream.plurals import count_of


def score() -> None:
    """Score payments until stopped. Settings come from TENFOLD_… variables.

    Example: TENFOLD_BOOTSTRAP_SERVERS=localhost:9092 tenfold score
    """
    from stream.scorer import run
    from stream.settings import load
    from stream.signals import stop_on_signals

    settings = load()
    with stop_on_signals() as stop:
        run(settings, stop)


def topics_create(
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of each topic.", metavar="N")] = 12,
    replication: Annotated[int, typer.Option(min=1, help="Replicas of each partition.", metavar="N")] = 1,
    keep_days: Annotated[
        int | None, typer.Option(min=1, help="How long Kafka keeps records.  [default: the broker's]", metavar="DAYS")
    ] = None,
    as_json: Json = False,
) -> None:
    """Create the five topics where they are missing.

    Example: tenfold topics create --partitions 12 --replication 3
    """
    from stream.settings import load
    from stream.topics import create_topics

    before = create_topics(load(), partitions, replication, keep_days)
    if as_json:
        typer.echo(json.dumps({name: "exists" if had else "created" for name, had in before.items()}))
        return
    for name, had in before.items():
        other = f" with {count_of(had, 'partition')}, not {partitions}" if had != partitions else ""
        typer.echo(f"{name}: exists already{other}, and is left as it is" if had else f"{name}: created")
    if not all(before.values()):
        kept = count_of(keep_days, "day") if keep_days else "as long as the broker has been told (--keep-days)"
        typer.echo(f"with {count_of(partitions, 'partition')} of {count_of(replication, 'replica')}; kept for {kept}")


def reset(
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Stay where the group is, and rebuild its windows from all partitions' logs."),
    ] = False,
    to_earliest: Annotated[bool, typer.Option("--to-earliest", help="Score the whole log again.")] = False,
    to_offset: Annotated[
        int | None, typer.Option(min=0, help="Go to this offset of every partition.", metavar="OFFSET")
    ] = None,
    to_datetime: Annotated[
        str | None, typer.Option(help="Go to the first record at or after an RFC 3339 time.", metavar="TIME")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: Json = False,
) -> None:
    """Move a stopped group, and its windows with it; or rebuild the windows after partitions were added.

    Example: tenfold reset --to-datetime 2026-01-31T00:00:00Z --dry-run
    """
    from stream import logs
    from stream import reset as resets
    from stream.settings import load
    from stream.window_store import open_store

    chosen = [rebuild, to_earliest, to_offset is not None, to_datetime is not None]
    if sum(chosen) != 1:
        raise typer.BadParameter("give one of --rebuild, --to-earliest, --to-offset, --to-datetime")
    settings = load()
    group = resets.Reset.open(settings, open_store(settings))
    if rebuild and not dry_run:
        logs.configure(settings.log_level, settings.log_format)
        logging.getLogger("tenfold.librdkafka").propagate = False
        rebuilt = group.rebuild()
        if as_json:
            typer.echo(json.dumps([each._asdict() for each in rebuilt]))
            return
        for part in rebuilt:
            typer.echo(
                f"partition {part.partition}: {count_of(part.events, 'event')}, {part.from_others:,} from other "
                "partitions"
            )
        return
    if rebuild:
        moved = group.stay()
    elif to_earliest:
        moved = group.run(resets.earliest, dry_run=dry_run)
    elif to_offset is not None:
        moved = group.run(resets.offset(to_offset), dry_run=dry_run)
    else:
        moved = group.run(group.at(resets.parse_time(to_datetime or "")), dry_run=dry_run)
    if as_json:
        typer.echo(json.dumps([each._asdict() for each in moved]))
        return
    for each in moved:
        before = "no offset" if each.before is None else each.before
        typer.echo(f"partition {each.partition}: {before} -> {each.after}")
    typer.echo("nothing was changed" if dry_run else "the next scorer rebuilds the windows up to there")
