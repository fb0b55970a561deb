"""The command ``tenfold``. Each command imports what it needs when it runs, so that scoring starts fast and small."""

import json
import logging
import sys
import time
from contextlib import nullcontext, redirect_stdout
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stream.errors import TenfoldError

if TYPE_CHECKING:
    from stream.models_command import Told

app = typer.Typer(
    name="tenfold",
    help="Scores every payment on a Kafka topic for fraud, over its user's last ten, exactly once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
topics_app = typer.Typer(no_args_is_help=True, help="Manage the topics.")
app.add_typer(topics_app, name="topics")
archive_app = typer.Typer(no_args_is_help=True, help="Keep what went over the topics, as Parquet files.")
app.add_typer(archive_app, name="archive")
profiles_app = typer.Typer(no_args_is_help=True, help="Daily profiles of merchants and users, for the model's context.")
app.add_typer(profiles_app, name="profiles")
models_app = typer.Typer(no_args_is_help=True, help="Bundles of the model store, and which of them is in force.")
app.add_typer(models_app, name="models")
suppress_app = typer.Typer(no_args_is_help=True, help="Users and merchants that raise no anomaly for a while.")
app.add_typer(suppress_app, name="suppress")

Preset = Literal["baseline", "default"]
Split = Literal["time", "rows"]
ArchiveUrl = Annotated[
    str | None, typer.Option("--archive", help="Directory or URL.  [default: TENFOLD_ARCHIVE]", metavar="DIR|URL")
]
TablesUrl = Annotated[
    str | None,
    typer.Option("--to", help="Place of the tables.  [default: profiles, beside the archive]", metavar="DIR|URL"),
]
AsOf = Annotated[
    str | None, typer.Option(help="Day of the table.  [default: today, in the model's zone]", metavar="YYYY-MM-DD")
]
Version = Annotated[str, typer.Argument(help="A bundle's name in the store.", metavar="VERSION")]
Reason = Annotated[str, typer.Option(help="Kept in the store's history; no user data.")]
WindowsRebuilt = Annotated[
    bool,
    typer.Option("--windows-rebuilt", help="Stored windows were rebuilt for it: a longer window is not refused."),
]
Until = Annotated[str, typer.Option(help="When it ends: 2026-03-01T08:00:00Z, or 90m, 12h, 7d from now.")]
Why = Annotated[str, typer.Option("--reason", help="Kept in the history, for whoever looks later.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
def score() -> None:
    """Score transactions until stopped. Settings come from TENFOLD_… variables.

    Example: TENFOLD_BOOTSTRAP_SERVERS=localhost:9092 tenfold score
    """
    from stream.scorer import run
    from stream.settings import load
    from stream.signals import stop_on_signals

    settings = load()
    with stop_on_signals() as stop:
        run(settings, stop)


@app.command()
def demo(
    events: Annotated[int | None, typer.Option(min=100, help="End after so many events.  [default: 20000]")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="End after so many seconds.")] = None,
    users: Annotated[int | None, typer.Option(min=1, help="Simulated users.  [default: one per 20 events]")] = None,
    rate: Annotated[float, typer.Option(min=1, help="Events a second, once a history is loaded.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulated payments.")] = 1,
    as_json: Json = False,
) -> None:
    """Score simulated payments on an embedded broker and watch; nothing has to be installed or started.

    Example: tenfold demo --seconds 30
    """
    from rich.console import Console

    from stream.demo import make_plan, run_demo
    from stream.demo_tally import summary_lines
    from stream.demo_view import SilentView, terminal_view
    from stream.signals import stop_on_signals

    plan = make_plan(events, seconds, users, rate, seed)
    with stop_on_signals() as stop:
        if as_json:
            summary = run_demo(plan, SilentView(Console(stderr=True)), stop)
            typer.echo(json.dumps(summary.as_dict()))
            return
        with terminal_view(Console(), plan.events) as view:
            summary = run_demo(plan, view, stop)
    typer.echo("")
    for line in summary_lines(summary):
        typer.echo(line)


@app.command()
def simulate(
    users: Annotated[int, typer.Option(min=1, help="People who pay, about 1.6 times a day each.")],
    days: Annotated[int, typer.Option(min=1, help="Length of the stream.")],
    to: Annotated[str, typer.Option(help="A directory for Parquet files, or kafka.", metavar="DIR|kafka")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same payments.")] = 1,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Payments a second, to Kafka.  [default: as fast as it takes them]")
    ] = None,
    backdate: Annotated[
        bool, typer.Option("--backdate", help="To kafka: as if each record had come at its own time.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Simulate payments, about one in a hundred a fraud, and the verdicts that come days later.

    Example: tenfold simulate --users 2000 --days 90 --seed 7 --to data
    """
    from training.simulate_command import SimulateError, to_directory, to_kafka

    if to == "kafka":
        from stream.settings import load

        settings = load()
        written = to_kafka(users, days, seed, settings, rate, backdate=backdate)
        places = f"topics {settings.input_topic} and {settings.labels_topic}"
    else:
        if rate is not None or backdate:
            raise SimulateError("--rate and --backdate are for --to kafka: files are written as fast as it goes")
        written = to_directory(users, days, seed, Path(to))
        places = f"{to}/transactions.parquet and {to}/labels.parquet"
    if as_json:
        typer.echo(json.dumps(written._asdict()))
        return
    typer.echo(f"{written.transactions:,} payments, {written.frauds:,} of them frauds, {written.labels:,} verdicts")
    typer.echo(f"in {places}")


@app.command()
def watch(
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Begin with the oldest score.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
    anomalies: Annotated[bool, typer.Option("--anomalies", help="Only what was flagged.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each score as a line of JSON.")] = False,
) -> None:
    """Follow the scores as they come, until Ctrl-C.

    Example: tenfold watch --anomalies
    """
    from stream.settings import load
    from stream.signals import stop_on_signals
    from stream.watch import follow, score_line

    with stop_on_signals() as stop:
        scores = follow(load(), stop, from_beginning=from_beginning)
        wanted = (score for score in scores if score["sequence_anomaly"] or not anomalies)
        for score in islice(wanted, limit):
            print(json.dumps(score) if as_json else score_line(score), flush=True)
        if stop.is_set():
            raise typer.Exit(130)


@app.command()
def doctor(
    users: Annotated[int | None, typer.Option(min=1, help="Users to have room for.  [default: what is there]")] = None,
    no_write: Annotated[bool, typer.Option("--no-write", help="Do not try writing in aborted transactions.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings, too.")] = False,
    as_json: Json = False,
) -> None:
    """Look at Kafka, Redis, model and settings as the scorer will find them; say what is wrong and how to mend it.

    It reads only, but for a record to each output in a transaction that it aborts. 1 if there is an error, else 0.

    Example: tenfold doctor --users 2000000 --strict
    """
    from stream.doctor import examine, exit_code, print_table, report_lines
    from stream.settings import load

    findings = examine(load(), users, write=not no_write)
    if as_json:
        typer.echo(json.dumps([each.as_dict() for each in findings]))
    elif sys.stdout.isatty():
        print_table(findings)
    else:
        typer.echo("\n".join(report_lines(findings)))
    raise typer.Exit(exit_code(findings, strict=strict))


@app.command()
def config(as_json: Json = False) -> None:
    """Print the settings in force and where each comes from: default, environment or file. Secrets are masked.

    Example: tenfold config --json
    """
    from stream.config_command import effective, lines

    settings = effective()
    told = {each.name: {"value": each.value, "origin": each.origin} for each in settings}
    typer.echo(json.dumps(told) if as_json else "\n".join(lines(settings)))


@app.command()
def train(
    data: Annotated[
        Path | None, typer.Option(help="Directory of transactions.parquet and labels.parquet.", metavar="DIR")
    ] = None,
    archive: Annotated[
        str | None, typer.Option(help="In place of --data: the archive of the topics.", metavar="DIR|URL")
    ] = None,
    preset: Annotated[Preset, typer.Option(help="What the model sees of a payment.")] = "default",
    epochs: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows a step; 512 is many times faster on a CPU.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, dropout and order.")] = 20,
    store: Annotated[Path, typer.Option(help="Where the bundle goes.")] = Path("models/store"),
    first: Annotated[
        str | None, typer.Option("--from", help="Archive: first day to train on.  [default: its first]", metavar="DAY")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--to", help="Archive: day after the test.  [default: the last labelled]", metavar="DAY"),
    ] = None,
    label_delay: Annotated[str, typer.Option(help="Archive: how long a label is awaited.")] = "7d",
    validation_days: Annotated[
        int, typer.Option(min=0, help="Archive: length of the validation; 0 trains on these days too.")
    ] = 7,
    test_days: Annotated[int, typer.Option(min=1, help="Archive: length of the test, which comes last.")] = 7,
    honest: Annotated[
        float, typer.Option(min=1, help="Archive: payments to learn from, for each fraud, that are none.")
    ] = 50,
    split: Annotated[
        Split, typer.Option(help="By time; or by row, for comparison only: such a bundle never becomes champion.")
    ] = "time",
    timezone: Annotated[
        str, typer.Option(help="Archive: IANA zone of hours, weekends, nights and the profiles' days.")
    ] = "UTC",
    dask: Annotated[
        str | None,
        typer.Option(
            help="Archive: scheduler of a Dask cluster that replays it; workers share the files.", metavar="ADDRESS"
        ),
    ] = None,
    alert_budget: Annotated[float, typer.Option(help="Share of the payments that may be flagged.")] = 0.01,
    cost_of_missed: Annotated[
        float | None,
        typer.Option(
            help="In place of the budget: what a missed fraud costs, in reviews of an alert.", metavar="REVIEWS"
        ),
    ] = None,
    promote_if_better: Annotated[
        bool,
        typer.Option(
            "--promote-if-better",
            help="Archive: make it champion if certainly better on held-out days. For a nightly job: 0 either way.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, the steps on stderr.")] = False,
) -> None:
    """Train the model on recorded payments and verdicts; write a bundle that scores.

    Example: tenfold train --archive /srv/archive --test-days 14 --batch-size 512
    """
    from training import train_command

    if (data is None) == (archive is None):
        raise typer.BadParameter("give one of --data, --archive")
    if promote_if_better and (archive is None or split == "rows"):
        raise typer.BadParameter("--promote-if-better compares on days of an --archive, and never after a split by row")
    alerts = train_command.Alerts(alert_budget, cost_of_missed)
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        if data is not None:
            trained = train_command.run(
                data, alerts, preset=preset, epochs=epochs, batch_size=batch_size, seed=seed, store=store, split=split
            )
        else:
            from stream.settings import load

            trained = train_command.run_on_archive(
                archive or "",
                load(),
                train_command.Stretch(first, until, label_delay, validation_days, test_days),
                alerts,
                honest,
                timezone,
                dask,
                promote_if_better=promote_if_better,
                preset=preset,
                epochs=epochs,
                batch_size=batch_size,
                seed=seed,
                store=store,
                split=split,
            )
    if as_json:
        typer.echo(json.dumps(trained))


@app.command()
def backtest(
    model: Annotated[Path, typer.Option(help="The bundle that scores.", metavar="BUNDLE")],
    first: Annotated[str, typer.Option("--from", help="First day, by the payments' own times in UTC.", metavar="DAY")],
    until: Annotated[str, typer.Option("--to", help="The day after the last.", metavar="DAY")],
    out: Annotated[Path, typer.Option(help="Parquet file for the scores.", metavar="FILE")],
    archive: ArchiveUrl = None,
    as_json: Json = False,
) -> None:
    """Score a stretch of the archive as the scorer would have, and say beside each score what became of the payment.

    Example: tenfold backtest --model models/store/v2 --from 2026-01-01 --to 2026-02-01 --out scores.parquet
    """
    import time

    from stream.settings import load
    from training.extras import require_archive_extra

    require_archive_extra()
    from training.archive_command import url_of
    from training.backtest_command import run

    settings = load()
    done = run(url_of(archive, settings), settings, model, first, until, out, time.monotonic)
    if as_json:
        typer.echo(json.dumps(done))
        return
    typer.echo(f"{done['events']:,} payments, {done['anomalies']:,} flagged, {done['events_per_second']:,} a second")
    typer.echo(f"{done['labelled']:,} of them labelled, {done['frauds']:,} as fraud, in {out}")
    if done["not_scorable"]:
        typer.echo(f"{done['not_scorable']:,} more were left out: the model has no finite answer to them")
    if done["days_without_events"]:
        typer.echo(
            f"{done['days_without_events']:,} days of the range have no payment: are files of the archive missing?"
        )


@app.command()
def evaluate(
    model: Annotated[Path, typer.Option(help="The bundle that is judged.", metavar="BUNDLE")],
    first: Annotated[str, typer.Option("--from", help="First day, by the payments' own times in UTC.", metavar="DAY")],
    until: Annotated[str, typer.Option("--to", help="The day after the last.", metavar="DAY")],
    archive: ArchiveUrl = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory for report.html, metrics.json and summary.md.", metavar="DIR")
    ] = None,
    alert_budget: Annotated[float, typer.Option(help="Share of the payments that may be flagged.")] = 0.01,
    as_json: Json = False,
) -> None:
    """Judge a model on any days of the archive whose labels have landed: ranking, card precision, calibration, by week.

    Example: tenfold evaluate --model models/store/v2 --from 2026-02-01 --to 2026-03-01 --out report
    """
    from stream.settings import load
    from training.extras import require_archive_extra, require_evaluation_extra

    require_archive_extra()
    require_evaluation_extra()
    from training.archive_command import url_of
    from training.evaluate_command import SEEN_IN_TRAINING, run
    from training.measured import weeks_table

    settings = load()
    told = run(url_of(archive, settings), settings, model, first, until, out, alert_budget)
    if as_json:
        typer.echo(json.dumps(told))
        return
    typer.echo(weeks_table(told))
    if told["seen_in_training"]:
        typer.echo(SEEN_IN_TRAINING)
    if out is not None:
        typer.echo(f"{out}/report.html")


@app.command()
def monitor(
    to: Annotated[
        str | None,
        typer.Option("--to", help="Place of the table.  [default: quality, beside the archive]", metavar="DIR|URL"),
    ] = None,
    label_delays: Annotated[
        str, typer.Option(help="After how many days the labels are looked at.", metavar="DAYS,…")
    ] = "1,3,7",
) -> None:
    """Watch how good the published scores are, as labels come, until stopped; a row a day, and metrics.

    Example: tenfold monitor --to /srv/quality --label-delays 1,7,14
    """
    from stream.settings import load
    from stream.signals import stop_on_signals
    from training.extras import require_archive_extra

    require_archive_extra()
    from training.monitor_command import label_delays_of, run, table_of

    settings = load()
    with stop_on_signals() as stop:
        run(settings, table_of(to, settings), label_delays_of(label_delays), stop)


@app.command()
def reset(
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Stay where the group is, and rebuild its windows from all partitions' logs."),
    ] = False,
    to_earliest: Annotated[bool, typer.Option("--to-earliest", help="Score the whole log again.")] = False,
    to_offset: Annotated[int | None, typer.Option(min=0, help="Go to this offset of every partition.")] = None,
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
        logs.configure(settings.log_level, "text" if sys.stderr.isatty() else settings.log_format)
        logging.getLogger("tenfold.librdkafka").propagate = False
        rebuilt = group.rebuild()
        if as_json:
            typer.echo(json.dumps([each._asdict() for each in rebuilt]))
            return
        for part in rebuilt:
            typer.echo(
                f"partition {part.partition}: {part.events:,} events, {part.from_others:,} from other partitions"
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
        typer.echo(f"partition {each.partition}: {each.before} -> {each.after}")
    typer.echo("nothing was changed" if dry_run else "the next scorer rebuilds the windows up to there")


@topics_app.command("create")
def topics_create(
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of each topic.")] = 12,
    replication: Annotated[int, typer.Option(min=1, help="Replicas of each partition.")] = 1,
    keep_days: Annotated[
        int | None, typer.Option(min=1, help="How long Kafka keeps records.  [default: the broker's]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Create the five topics where they are missing.

    Example: tenfold topics create --partitions 12 --replication 3
    """
    from stream.settings import load
    from stream.topics import create_topics

    created = create_topics(load(), partitions, replication, keep_days)
    if as_json:
        typer.echo(json.dumps({name: "created" if new else "exists" for name, new in created.items()}))
        return
    for name, new in created.items():
        typer.echo(f"{name}: {'created' if new else 'exists already'}")


@archive_app.command("run")
def archive_run(
    archive: ArchiveUrl = None,
    max_rows: Annotated[int, typer.Option(min=1, help="Rows that make a file.")] = 250_000,
    max_age: Annotated[float, typer.Option(min=0.1, help="Seconds until what was read is in a file.")] = 60,
) -> None:
    """Archive transactions, labels and scores until stopped. Settings come from TENFOLD_… variables.

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


@profiles_app.command("build")
def profiles_build(archive: ArchiveUrl = None, as_of: AsOf = None, to: TablesUrl = None, as_json: Json = False) -> None:
    """Build the table of a day out of what is archived, as a Parquet file.

    Example: tenfold profiles build --archive /srv/archive --as-of 2026-01-31
    """
    from stream.settings import load
    from training.extras import require_archive_extra

    require_archive_extra()
    from training.profiles_command import built_as_dict, built_lines, day_of, open_publisher

    publisher = open_publisher(load(), archive, to)
    built = publisher.build(day_of(as_of, publisher.today))
    typer.echo(json.dumps(built_as_dict(built)) if as_json else "\n".join(built_lines(built)))


@profiles_app.command("publish")
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
    from training.profiles_command import day_of, done_as_dict, done_lines, open_publisher, wait_and_publish

    publisher = open_publisher(load(), archive, to)
    with stop_on_signals() as stop:
        done = wait_and_publish(publisher, day_of(as_of, publisher.today), stop, force=force)
    if done is None:
        raise typer.Exit(130)
    typer.echo(json.dumps(done_as_dict(done)) if as_json else "\n".join(done_lines(done)))


@profiles_app.command("run")
def profiles_run(
    archive: ArchiveUrl = None,
    to: TablesUrl = None,
    every: Annotated[str, typer.Option(help="From one table to the next, whole days.", metavar="24h|2d")] = "24h",
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


@archive_app.command("compact")
def archive_compact(
    archive: ArchiveUrl = None,
    day: Annotated[
        datetime | None,
        typer.Option("--date", formats=["%Y-%m-%d"], help="Only this day.  [default: all but the last]"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Merge the small files of each day; the content stays. Nothing should read the archive meanwhile.

    Example: tenfold archive compact --archive /srv/archive
    """
    from training.extras import require_archive_extra

    require_archive_extra()
    from stream.settings import load
    from training.archive_command import compact_all, url_of

    settings = load()
    compacted = compact_all(settings, url_of(archive, settings), day.date() if day else None)
    if as_json:
        typer.echo(json.dumps({topic: each._asdict() for topic, each in compacted.items()}))
        return
    for topic, each in compacted.items():
        typer.echo(f"{topic}: {each.before:,} files are {each.after:,} now")


@app.command("erase-user")
def erase_user(
    user: Annotated[str, typer.Argument(help="The user's id; it is printed and logged nowhere.", metavar="ID")],
    archive: ArchiveUrl = None,
    profiles: Annotated[
        str | None,
        typer.Option(
            help="Place of the tables of profiles.  [default: profiles, beside the archive]", metavar="DIR|URL"
        ),
    ] = None,
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
    from training.archive import open_archive
    from training.archive_command import url_of

    settings = load()
    source = open_archive(url_of(archive, settings))
    tables = open_archive(profiles) if profiles else erase_command.tables_beside(source)
    with connect(settings) as client:
        erased = erase_command.erase_user(settings, source, tables, client, user, dry_run=dry_run)
    typer.echo(json.dumps(erased.as_dict()) if as_json else "\n".join(erase_command.report_lines(erased)))
    if not (erased.dry_run or erased.complete):
        raise typer.Exit(1)


@app.command("import")
def import_history(
    files: Annotated[list[Path], typer.Argument(help="CSV, JSON lines or Parquet; the first two also as .gz.")],
    to: Annotated[str, typer.Option(help="The archive: a directory or a URL.", metavar="DIR|URL")],
    maps: Annotated[
        list[str], typer.Option("--map", help="A field and the files' column for it.", metavar="FIELD=COLUMN")
    ] = [],  # noqa: B006 - typer copies it
    label: Annotated[
        str | None, typer.Option(help="The column that says what was a fraud.", metavar="is_fraud=COLUMN")
    ] = None,
    label_delay: Annotated[str, typer.Option(help="How long after a payment its label was known.")] = "7d",
    label_all: Annotated[bool, typer.Option("--label-all", help="Write a label also for what was no fraud.")] = False,
    timezone: Annotated[str, typer.Option(help="IANA zone of times without an offset.")] = "UTC",
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of the transactions' topic.")] = 12,
    reject: Annotated[Path | None, typer.Option(help="CSV file for the rows that cannot be used.")] = None,
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
    from training.import_report import shown_progress, summary_lines

    settings = load()
    plan = plan_of(files, maps, label, label_delay, timezone, partitions, settings, label_all=label_all)
    with shown_progress() as progress:
        imported = run(plan, open_archive(to), settings, reject, progress)
    if as_json:
        typer.echo(json.dumps(imported.as_dict()))
        return
    for line in summary_lines(imported, to):
        typer.echo(line)


@models_app.command("list")
def models_list(as_json: Json = False) -> None:
    """List the bundles of the store, its champion and challenger, and their last switches; nothing is verified.

    Example: tenfold models list
    """
    from stream.models_command import listed
    from stream.settings import load

    _tell(listed(load()), as_json=as_json)


@models_app.command("show")
def models_show(version: Version, as_json: Json = False) -> None:
    """Show what a bundle says about itself; nothing is verified.

    Example: tenfold models show default-20260301T020000Z
    """
    from stream.models_command import shown
    from stream.settings import load

    _tell(shown(load(), version), as_json=as_json)


@models_app.command("verify")
def models_verify(
    version: Annotated[str | None, typer.Argument(help="A bundle's name.  [default: all]", metavar="[VERSION]")] = None,
    as_json: Json = False,
) -> None:
    """Verify sums, golden outputs, features and window of a bundle, or of all; exit with 1 if one is refused.

    Example: tenfold models verify default-20260301T020000Z
    """
    from stream.models_command import verified
    from stream.settings import load

    _tell(verified(load(), version), as_json=as_json)


@models_app.command("diff")
def models_diff(one: Version, other: Version, as_json: Json = False) -> None:
    """Show where two bundles differ: features, window, threshold, training, and measures of their own test days.

    Example: tenfold models diff default-20260201T020000Z default-20260301T020000Z
    """
    from stream.models_command import differing
    from stream.settings import load

    _tell(differing(load(), one, other), as_json=as_json)


@models_app.command("promote")
def models_promote(
    version: Version,
    reason: Reason,
    archive: ArchiveUrl = None,
    windows_rebuilt: WindowsRebuilt = False,
    force: Annotated[bool, typer.Option("--force", help="Compare nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Make a bundle the champion, if it verifies and is not worse than the champion on the same held-out days.

    Both score the archive's latest labelled days that neither has learned from. Worse in average precision, card
    precision or log loss, or too few frauds to tell, and nothing is switched: exit code 1. The decision is kept.

    A window longer than the stored ones is refused.

    Example: tenfold models promote default-20260301T020000Z --archive /srv/archive --reason "knows the new terminals"
    """
    from stream.models_command import promoted
    from stream.settings import load

    def say(line: str) -> None:
        typer.echo(line, err=True)

    told = promoted(load(), version, reason, windows_rebuilt=windows_rebuilt, force=force, archive=archive, say=say)
    _tell(told, as_json=as_json)


@models_app.command("rollback")
def models_rollback(reason: Reason, windows_rebuilt: WindowsRebuilt = False, as_json: Json = False) -> None:
    """Make the champion before this one champion again; a second rollback goes further back.

    Running scorers take it within seconds (TENFOLD_MODEL_POLL_S). A window longer than the stored ones is refused.

    Example: tenfold models rollback --reason "flags twice as many"
    """
    from stream.models_command import rolled_back
    from stream.settings import load

    _tell(rolled_back(load(), reason, windows_rebuilt=windows_rebuilt), as_json=as_json)


@models_app.command("shadow")
def models_shadow(
    version: Annotated[str | None, typer.Argument(help="A bundle's name.", metavar="VERSION")] = None,
    off: Annotated[bool, typer.Option("--off", help="No challenger any more.")] = False,
    as_json: Json = False,
) -> None:
    """Make a bundle the challenger, if it verifies: running scorers score with it, too, into a topic of its own.

    Its scores are on TENFOLD_SHADOW_TOPIC, how far it agrees with the champion in the metrics.

    Example: tenfold models shadow default-20260301T020000Z
    """
    from stream.models_command import shadowed
    from stream.settings import load

    if (version is None) != off:
        raise typer.BadParameter("give one of VERSION, --off")
    _tell(shadowed(load(), version), as_json=as_json)


@models_app.command("retire")
def models_retire(version: Version, as_json: Json = False) -> None:
    """Move a bundle that is neither champion nor challenger out of the versions, into .retired; nothing is deleted.

    Example: tenfold models retire default-20260201T020000Z
    """
    from stream.models_command import retired
    from stream.settings import load

    _tell(retired(load(), version), as_json=as_json)


@suppress_app.command("user")
def suppress_user(
    user: Annotated[str, typer.Argument(metavar="ID")], until: Until, reason: Why, as_json: Json = False
) -> None:
    """Let a user's payments raise no anomaly for a while: they are scored as ever, and say that they are suppressed.

    Running scorers know it within a second or two.

    Example: tenfold suppress user anna --until 7d --reason "on holiday, has called"
    """
    from stream.settings import load
    from stream.suppress_command import suppressed

    _tell(suppressed(load(), "user", user, until, reason, _now_ms()), as_json=as_json)


@suppress_app.command("merchant")
def suppress_merchant(
    merchant: Annotated[str, typer.Argument(metavar="ID")], until: Until, reason: Why, as_json: Json = False
) -> None:
    """Let payments at a merchant raise no anomaly for a while: they are scored as ever, and say so.

    Running scorers know it within a second or two.

    Example: tenfold suppress merchant m-17 --until 2026-03-01T08:00:00Z --reason "sale of concert tickets"
    """
    from stream.settings import load
    from stream.suppress_command import suppressed

    _tell(suppressed(load(), "merchant", merchant, until, reason, _now_ms()), as_json=as_json)


@suppress_app.command("lift")
def suppress_lift(
    kind: Annotated[Literal["user", "merchant"], typer.Argument()],
    id_: Annotated[str, typer.Argument(metavar="ID")],
    reason: Why,
    as_json: Json = False,
) -> None:
    """Take a rule away before it ends.

    Example: tenfold suppress lift user anna --reason "card reported stolen"
    """
    from stream.settings import load
    from stream.suppress_command import lifted

    _tell(lifted(load(), kind, id_, reason, _now_ms()), as_json=as_json)


@suppress_app.command("list")
def suppress_list(
    history: Annotated[bool, typer.Option("--history", help="The last 1,000 changes instead, newest first.")] = False,
    as_json: Json = False,
) -> None:
    """List who is suppressed, until when, by whom and why.

    Example: tenfold suppress list --history
    """
    from stream.settings import load
    from stream.suppress_command import listed

    _tell(listed(load(), _now_ms(), history=history), as_json=as_json)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _tell(told: "Told", *, as_json: bool) -> None:
    typer.echo(json.dumps(told.result) if as_json else "\n".join(told.lines))
    if not told.good:
        raise typer.Exit(1)


@app.command()
def schema(
    out: Annotated[
        Path | None, typer.Option(help="Write the files there; else the document is printed.", metavar="DIR")
    ] = None,
) -> None:
    """Write what goes over the topics: a JSON Schema of each message, and an AsyncAPI 3 document of all.

    Topics and group in the document are those of the settings.

    Example: tenfold schema --out docs/schemas
    """
    from stream.schemas import schema_files
    from stream.settings import load

    files = schema_files(load())
    if out is None:
        typer.echo(files["asyncapi.json"], nl=False)
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (out / name).write_text(text, encoding="utf-8")
            typer.echo(out / name)
    except OSError as error:
        raise TenfoldError(f"{out} cannot be written: {error.strerror}") from None


def main() -> None:
    """Run the command line; errors made for a person are printed without a traceback."""
    # what the Kafka client says of a broker that is away is in the error; the scorer sets up logs of its own
    logging.getLogger("tenfold.librdkafka").addHandler(logging.NullHandler())
    try:
        app()
    except TenfoldError as error:
        print(f"tenfold: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
