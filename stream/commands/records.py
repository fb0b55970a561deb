"""Commands about what is kept: the archive, history put beside it, and a user who is to be forgotten."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from stream.commands.options import ArchiveUrl, Json, show
from stream.commands.shown import counted
from stream.plurals import count_of

ProfilesUrl = Annotated[
    str | None,
    typer.Option(help="Place of the tables of profiles.  [default: profiles, beside the archive]", metavar="DIR|URL"),
]


def archive_run(
    archive: ArchiveUrl = None,
    max_rows: Annotated[int, typer.Option(min=1, help="Rows that make a file.", metavar="N")] = 250_000,
    max_age: Annotated[float, typer.Option(min=0.1, help="Until what was read is in a file.", metavar="SECONDS")] = 60,
) -> None:
    """Archive payments, labels and scores until stopped. Settings come from TENFOLD_… variables.

    Example: tenfold archive run --archive /srv/archive
    """
    from stream.settings import load
    from stream.signals import stop_on_signals
    from training.extras import require_archive_extra

    require_archive_extra()
    from training.archive_command import run, url_of
    from training.archiver import Limits

    settings = load()
    with stop_on_signals() as stop:
        run(settings, url_of(archive, settings), Limits(max_rows, max_age), stop)


def archive_compact(
    archive: ArchiveUrl = None,
    day: Annotated[
        datetime | None,
        typer.Option(
            "--date", formats=["%Y-%m-%d"], help="Only this day.  [default: all but the last]", metavar="YYYY-MM-DD"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Merge the small files of each day; the content stays. Nothing should read the archive meanwhile.

    Example: tenfold archive compact --archive /srv/archive
    """
    from training.extras import require_archive_extra

    require_archive_extra()
    from stream.settings import load
    from training.archive_command import archive_of, compact_all

    settings = load()
    source = archive_of(archive, settings)
    with counted("file", "looked at") as progress:
        compacted = compact_all(settings, source, day.date() if day else None, progress)
    if as_json:
        typer.echo(json.dumps({topic: each._asdict() for topic, each in compacted.items()}))
        return
    for topic, each in compacted.items():
        typer.echo(f"{topic}: {count_of(each.before, 'file')} before, {each.after:,} now")


def archive_rotate_pseudonyms(archive: ArchiveUrl = None, profiles: ProfilesUrl = None, as_json: Json = False) -> None:
    """Bring users in archive and tables of profiles under the newest pseudonym key; only archivers may run meanwhile.

    Example: tenfold archive rotate-pseudonyms --archive /srv/archive
    """
    from training.extras import require_archive_extra

    require_archive_extra()
    from stream.settings import load
    from training import rotate_pseudonyms
    from training.archive_command import archive_of, kinds_of
    from training.profiles_table import tables_for

    settings = load()
    source = archive_of(archive, settings)
    tables = tables_for(profiles, source)
    with counted("file", "looked at") as progress:
        rotated = rotate_pseudonyms.rotate(source, list(kinds_of(settings)), tables, progress)
    show(rotated.as_dict(), rotate_pseudonyms.report_lines(rotated), as_json=as_json)


def import_history(
    files: Annotated[
        list[Path], typer.Argument(help="CSV, JSON lines or Parquet; the first two also as .gz.", metavar="FILE")
    ],
    to: Annotated[str, typer.Option(help="Where the archive is.", metavar="DIR|URL")],
    maps: Annotated[
        list[str], typer.Option("--map", help="A field and the files' column for it.", metavar="FIELD=COLUMN")
    ] = [],  # noqa: B006 - typer copies it
    label: Annotated[
        str | None, typer.Option(help="The column that says what was a fraud.", metavar="is_fraud=COLUMN")
    ] = None,
    label_delay: Annotated[
        str, typer.Option(help="How long after a payment its label was known.", metavar="DURATION")
    ] = "7d",
    label_all: Annotated[bool, typer.Option("--label-all", help="Write a label also for what was no fraud.")] = False,
    timezone: Annotated[str, typer.Option(help="IANA zone of times without an offset.", metavar="ZONE")] = "UTC",
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of the payments' topic.", metavar="N")] = 12,
    reject: Annotated[
        Path | None, typer.Option(help="CSV file for the rows that cannot be used.", metavar="FILE", dir_okay=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Import history into the archive, where training and rebuilt windows find it before all live payments.

    Example: tenfold import 2025.csv --map user_id=CARD --label is_fraud=FRAUD --to archive
    """
    from training.extras import require_archive_extra

    require_archive_extra()
    from stream.settings import load
    from training.archive import open_archive
    from training.import_command import plan_of, run
    from training.import_report import summary_lines

    settings = load()
    plan = plan_of(files, maps, label, label_delay, timezone, partitions, settings, label_all=label_all)
    place = open_archive(to, settings.pseudonyms)
    place.refuse_file()
    with counted("row", "read", line_each=1_000_000) as progress:
        imported = run(plan, place, settings, reject, progress)
    show(imported.as_dict(), summary_lines(imported, to, plan.columns), as_json=as_json)


def erase_user(
    user: Annotated[str, typer.Argument(help="The user's id; it is printed and logged nowhere.", metavar="ID")],
    archive: ArchiveUrl = None,
    profiles: ProfilesUrl = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: Json = False,
) -> None:
    """Erase a user from archive, profiles and windows, look again, and say what is out of reach; 1 if any is left.

    Example: tenfold erase-user 4711 --archive /srv/archive --dry-run
    """
    from training.extras import require_archive_extra

    require_archive_extra()
    from stream.redis_client import connect
    from stream.settings import load
    from training import erase_command
    from training.archive_command import archive_of
    from training.profiles_table import tables_for

    settings = load()
    source = archive_of(archive, settings)
    tables = tables_for(profiles, source)
    with connect(settings) as client, counted("file", "looked at") as progress:
        erased = erase_command.erase_user(settings, source, tables, client, user, progress, dry_run=dry_run)
    show(erased.as_dict(), erase_command.report_lines(erased), as_json=as_json)
    if not (erased.dry_run or erased.complete):
        raise typer.Exit(1)
