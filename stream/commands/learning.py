"""Commands that train models and judge them."""

import json
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated, Literal

import typer

from stream.commands.options import ArchiveUrl, Json, now_ms
from stream.commands.shown import counted
from stream.plurals import count_of

Preset = Literal["baseline", "default"]
Split = Literal["time", "rows"]


def train(
    data: Annotated[
        Path | None, typer.Option(help="Directory of transactions.parquet and labels.parquet.", metavar="DIR")
    ] = None,
    archive: Annotated[
        str | None, typer.Option(help="In place of --data: the archive of the topics.", metavar="DIR|URL")
    ] = None,
    preset: Annotated[Preset, typer.Option(help="What the model sees of a payment.")] = "default",
    epochs: Annotated[int, typer.Option(min=1, help="At most so many.", metavar="N")] = 20,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Windows a step; 512 is many times faster on a CPU.", metavar="N")
    ] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, dropout and order.", metavar="N")] = 20,
    store: Annotated[
        Path | None,
        typer.Option(help="Where the bundle goes.  [default: TENFOLD_MODEL_STORE]", metavar="DIR", file_okay=False),
    ] = None,
    first: Annotated[
        str | None,
        typer.Option("--from", help="Archive: first day to train on.  [default: its first]", metavar="YYYY-MM-DD"),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--to", help="Archive: day after the test.  [default: the last labelled]", metavar="YYYY-MM-DD"),
    ] = None,
    label_delay: Annotated[str, typer.Option(help="Archive: how long a label is awaited.", metavar="DURATION")] = "7d",
    validation_days: Annotated[
        int, typer.Option(min=0, help="Archive: length of the validation; 0 trains on these days too.", metavar="DAYS")
    ] = 7,
    test_days: Annotated[
        int, typer.Option(min=1, help="Archive: length of the test, which comes last.", metavar="DAYS")
    ] = 7,
    honest: Annotated[
        float, typer.Option(min=1, help="Archive: payments to learn from, for each fraud, that are none.", metavar="N")
    ] = 50,
    split: Annotated[
        Split, typer.Option(help="By time; or by row, for comparison only: such a bundle never becomes champion.")
    ] = "time",
    timezone: Annotated[
        str, typer.Option(help="Archive: IANA zone of hours, weekends, nights and the profiles' days.", metavar="ZONE")
    ] = "UTC",
    dask: Annotated[
        str | None,
        typer.Option(
            help="Archive: scheduler of a Dask cluster that replays it; workers share the files.", metavar="ADDRESS"
        ),
    ] = None,
    alert_budget: Annotated[
        float, typer.Option(help="Share of the payments that may be flagged.", metavar="SHARE")
    ] = 0.01,
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
    from stream.settings import load
    from training import train_command

    if (data is None) == (archive is None):
        raise typer.BadParameter("give one of --data, --archive")
    if promote_if_better and (archive is None or split == "rows"):
        raise typer.BadParameter("--promote-if-better compares on days of an --archive, and never after a split by row")
    settings = load()
    store = store or settings.model_store
    alerts = train_command.Alerts(alert_budget, cost_of_missed)
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        if data is not None:
            trained = train_command.run(
                data, alerts, preset=preset, epochs=epochs, batch_size=batch_size, seed=seed, store=store, split=split
            )
        else:
            trained = train_command.run_on_archive(
                archive or "",
                settings,
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


def backtest(
    model: Annotated[Path, typer.Option(help="Directory of the bundle that scores.", metavar="DIR")],
    first: Annotated[
        str, typer.Option("--from", help="First day, by the payments' own times in UTC.", metavar="YYYY-MM-DD")
    ],
    until: Annotated[str, typer.Option("--to", help="The day after the last.", metavar="YYYY-MM-DD")],
    out: Annotated[Path, typer.Option(help="Parquet file for the scores.", metavar="FILE", dir_okay=False)],
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
    from training.archive_command import archive_of
    from training.backtest_command import run

    settings = load()
    source = archive_of(archive, settings)
    with counted("payment", "scored") as progress:
        done = run(source, settings, model, first, until, out, now_ms(), time.monotonic, progress)
    if as_json:
        typer.echo(json.dumps(done))
        return
    typer.echo(
        f"{count_of(done['events'], 'payment')}, {done['anomalies']:,} flagged, {done['events_per_second']:,} a second"
    )
    typer.echo(f"{done['labelled']:,} of them labelled, {done['frauds']:,} as fraud, in {out}")
    if done["not_scorable"]:
        typer.echo(f"{done['not_scorable']:,} more were left out: the model has no finite answer to them")
    if done["days_without_events"]:
        typer.echo(
            f"{count_of(done['days_without_events'], 'day')} of the range without a payment: are files of the archive "
            "missing?"
        )


def evaluate(
    model: Annotated[Path, typer.Option(help="Directory of the bundle that is judged.", metavar="DIR")],
    first: Annotated[
        str, typer.Option("--from", help="First day, by the payments' own times in UTC.", metavar="YYYY-MM-DD")
    ],
    until: Annotated[str, typer.Option("--to", help="The day after the last.", metavar="YYYY-MM-DD")],
    archive: ArchiveUrl = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Directory for report.html, metrics.json and summary.md.", metavar="DIR"),
    ] = None,
    alert_budget: Annotated[
        float, typer.Option(help="Share of the payments that may be flagged.", metavar="SHARE")
    ] = 0.01,
    as_json: Json = False,
) -> None:
    """Judge a model on any days of the archive whose labels have landed: ranking, card precision, calibration, by week.

    Example: tenfold evaluate --model models/store/v2 --from 2026-02-01 --to 2026-03-01 --out report
    """
    from stream.settings import load
    from training.extras import require_archive_extra, require_evaluation_extra

    require_archive_extra()
    require_evaluation_extra()
    from training.archive_command import archive_of

    settings = load()
    source = archive_of(archive, settings)  # before seconds go into importing the rest
    from training.evaluate_command import SEEN_IN_TRAINING, run
    from training.labels import ahead_note
    from training.measured import weeks_lines

    with counted("partition", "replayed") as progress:
        told = run(source, settings, model, first, until, out, alert_budget, now_ms(), progress)
    if as_json:
        typer.echo(json.dumps(told))
        return
    typer.echo("\n".join(weeks_lines(told)))
    if told["seen_in_training"]:
        typer.echo(SEEN_IN_TRAINING)
    if told["archive"]["stamped_ahead"]:
        typer.echo(ahead_note(told["archive"]["stamped_ahead"]))
    if out is not None:
        typer.echo(f"Look at {out}/report.html")


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
