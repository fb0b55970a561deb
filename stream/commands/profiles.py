"""Commands that build and publish daily profiles."""

from typing import Annotated

import typer

from stream.commands.options import ArchiveUrl, Json, show
from stream.commands.shown import at_work

TablesUrl = Annotated[
    str | None,
    typer.Option("--to", help="Place of the tables.  [default: profiles, beside the archive]", metavar="DIR|URL"),
]
AsOf = Annotated[
    str | None, typer.Option(help="Day of the table.  [default: today, in the model's zone]", metavar="YYYY-MM-DD")
]


def profiles_build(archive: ArchiveUrl = None, as_of: AsOf = None, to: TablesUrl = None, as_json: Json = False) -> None:
    """Build the table of a day out of what is archived, as a Parquet file.

    Example: tenfold profiles build --archive /srv/archive --as-of 2026-01-31
    """
    from stream.settings import load
    from training.extras import require_archive_extra

    require_archive_extra()
    from training import options
    from training.profiles_command import built_as_dict, built_lines, open_publisher

    publisher = open_publisher(load(), archive, to)
    day = publisher.today if as_of is None else options.day("--as-of", as_of)
    with at_work(f"building the table of {day}"):
        built = publisher.build(day)
    show(built_as_dict(built), built_lines(built), as_json=as_json)


def profiles_publish(
    archive: ArchiveUrl = None,
    as_of: AsOf = None,
    to: TablesUrl = None,
    force: Annotated[bool, typer.Option("--force", help="Do not wait until the archiver has passed midnight.")] = False,
    as_json: Json = False,
) -> None:
    """Build the table of a day and publish it in Redis, once the archiver has passed the midnight before it.

    Example: tenfold profiles publish --archive /srv/archive
    """
    from stream.settings import load
    from stream.signals import stop_on_signals
    from training.extras import require_archive_extra

    require_archive_extra()
    from training import options
    from training.profiles_command import done_as_dict, done_lines, open_publisher, wait_and_publish

    publisher = open_publisher(load(), archive, to)
    day = publisher.today if as_of is None else options.day("--as-of", as_of)
    with stop_on_signals() as stop, at_work(f"publishing the table of {day}"):
        done = wait_and_publish(publisher, day, stop, force=force)
    if done is None:
        raise typer.Exit(130)
    show(done_as_dict(done), done_lines(done), as_json=as_json)


def profiles_run(
    archive: ArchiveUrl = None,
    to: TablesUrl = None,
    every: Annotated[
        str, typer.Option(help="From one table to the next, whole days: 24h, 2d.", metavar="DURATION")
    ] = "24h",
) -> None:
    """Publish a table whenever a day has begun, until stopped. Settings come from TENFOLD_… variables.

    Example: tenfold profiles run --archive /srv/archive
    """
    from stream.settings import load
    from stream.signals import stop_on_signals
    from training.extras import require_archive_extra

    require_archive_extra()
    from training.profiles_command import days_of, open_publisher, serve

    settings = load()
    with stop_on_signals() as stop:
        serve(settings, open_publisher(settings, archive, to), days_of(every), stop)
