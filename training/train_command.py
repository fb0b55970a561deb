"""``tenfold train``: the training job, where TensorFlow is installed."""

import os
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stream.errors import TenfoldError, UsageError
from stream.plurals import count_of
from stream.progress import Counted, now_and_then
from stream.settings import Settings, mask_url
from training.options import day, zone

if TYPE_CHECKING:
    from training.job import Trained
    from training.threshold import ThresholdRule

_NEEDED = ("tensorflow", "keras", "pandas", "pyarrow", "sklearn", "matplotlib", "jinja2")


class TrainError(TenfoldError):
    """The model cannot be trained; the message says why and what to do."""


class Alerts(NamedTuple):
    """The options that say how the threshold is chosen, see :class:`training.threshold.ThresholdRule`."""

    budget: float
    cost_of_missed: float | None


def run(data: Path, alerts: Alerts, **options: Any) -> dict[str, Any]:
    """Train with the options of :func:`training.train_lstm_model.train`; return bundle, metrics and epochs for JSON.

    Raises:
        TrainError: TensorFlow is missing, an option means nothing, or the data does not serve.
    """
    _require(_NEEDED)
    if data.is_file():
        raise TrainError(f"--data {data} is a file: give the directory of transactions.parquet and labels.parquet")
    absent = [name for name in ("transactions.parquet", "labels.parquet") if not (data / name).is_file()]
    if absent:
        raise TrainError(f"no {' and no '.join(absent)} in {data}: `tenfold simulate --to {data}` makes both")
    from training.columns import TrainingDataError  # noqa: PLC0415 - not where the extra is missing
    from training.resumable import AtWorkError  # noqa: PLC0415
    from training.train_lstm_model import train  # noqa: PLC0415

    rule = _rule(alerts)
    _make_writable(options["store"])
    try:
        trained = train(data, rule=rule, **options)
    except (TrainingDataError, FileExistsError, AtWorkError) as error:
        raise TrainError(str(error)) from None
    say_what_next(trained.bundle, options["split"])
    return _told(trained)


class Stretch(NamedTuple):
    """The options that say which days of an archive are for what."""

    first: str | None  # ISO dates
    until: str | None
    label_delay: str  # such as 7d
    validation_days: int
    test_days: int


def run_on_archive(
    url: str,
    settings: Settings,
    stretch: Stretch,
    alerts: Alerts,
    honest_per_fraud: float,
    timezone: str,
    dask: str | None,
    *,
    promote_if_better: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Train on an archive with the options of :class:`training.job.Job`; return what :func:`run` does, and the summary.

    With ``promote_if_better`` also whether the bundle is champion now, and what the gate decided.

    Raises:
        training.archive.NoArchiveError: there is no archive.
        TrainError: TensorFlow is missing, an option means nothing, or the archive does not serve; or the bundle is
            written, and cannot be compared with the champion.
    """
    _require((*_NEEDED, "duckdb", "fsspec", *(("distributed",) if dask else ())))
    first, until = (
        None if value is None else day(name, value)
        for name, value in (("--from", stretch.first), ("--to", stretch.until))
    )
    label_delay_days, timezone = _days(stretch.label_delay), zone("--timezone", timezone)
    from training.archive_command import archive_of  # noqa: PLC0415 - not where the extra is missing

    rule, archive = _rule(alerts), archive_of(url, settings)  # before seconds go into importing the rest
    from models.context import PRESET_CONTEXT  # noqa: PLC0415 - not where the extra is missing
    from models.window import SEQUENCE_LENGTH, WINDOW_MAX_AGE_MS  # noqa: PLC0415
    from training.archive_dataset import Wanted, dataset_of  # noqa: PLC0415
    from training.columns import TrainingDataError  # noqa: PLC0415
    from training.job import Job, say  # noqa: PLC0415
    from training.labels import ahead_note  # noqa: PLC0415
    from training.profiles import Topics  # noqa: PLC0415
    from training.resumable import AtWorkError  # noqa: PLC0415
    from training.scratch import scratch_in  # noqa: PLC0415

    now = datetime.now(UTC)
    try:
        job = Job(
            **options,
            rule=rule,
            context=PRESET_CONTEXT[options["preset"]],
            label_delay_days=label_delay_days,
            h5=None,
            zone=timezone,
            created_at=now,
        )
        wanted = Wanted(
            features=job.features,
            context=job.context,
            sequence_length=SEQUENCE_LENGTH,
            max_age_ms=WINDOW_MAX_AGE_MS,
            zone=job.zone,
            first=first,
            until=until,
            label_delay_days=label_delay_days,
            validation_days=stretch.validation_days,
            test_days=stretch.test_days,
            split=job.split,
            honest_per_fraud=honest_per_fraud,
            seed=job.seed,
            now_ms=int(now.timestamp() * 1000),
        )
        _make_writable(job.store)
        with scratch_in(job.store) as columns:
            say("Loading transaction sequences…")
            topics = Topics(settings.input_topic, settings.labels_topic)
            processes = len(os.sched_getaffinity(0))
            made = dataset_of(archive, topics, settings.output_topic, wanted, columns, processes, dask, told_by(say))
            say("Preparing sequences…")
            days, summary = dict(made.days), made.summary._asdict()
            for name, (begin, last) in days.items():
                say(f"{name}: {begin} to {last}")
            say(", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in summary.items()))
            if made.summary.stamped_ahead:
                say(ahead_note(made.summary.stamped_ahead))
            short = made.dataset.insufficient_history
            say(f"{short:,} of {len(made.dataset):,} windows are not full yet")
            facts = {"days": days, "archive": summary, "insufficient_history": short}
            if made.profile_days is not None:
                archived, by_rule = made.profile_days
                say(
                    f"profiles: {archived:,} windows get those of the day that their archived score names; "
                    f"{by_rule:,} have no such score, and get those of the day that follows from their times"
                )
                facts["profile_days"] = made.profile_days._asdict()
            trained = job.run(made.dataset, made.frauds, facts)
    except (TrainingDataError, FileExistsError, AtWorkError) as error:
        raise TrainError(str(error)) from None
    told = _told(trained) | facts
    if not promote_if_better:
        say_what_next(trained.bundle, job.split, mask_url(url))
    return told | _gated(job.store, settings, url, trained.bundle) if promote_if_better else told


def told_by(say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> Counted:
    """Return what tells, every few seconds, how many partitions are replayed."""
    return now_and_then(lambda replayed: say(f"Replayed {count_of(replayed, 'partition')}"), clock)


def _gated(root: Path, settings: Settings, url: str, bundle: Path) -> dict[str, Any]:
    """Make the bundle champion if it is better, and tell. Without a champion there is nothing to compare it with."""
    from models.bundle import BundleError  # noqa: PLC0415 - not where the extra is missing
    from models.store import Store, StoreError  # noqa: PLC0415
    from models.switches import HistoryError  # noqa: PLC0415
    from stream.gate_lines import decision_lines  # noqa: PLC0415
    from training.gate_command import promote_if_better  # noqa: PLC0415
    from training.job import say  # noqa: PLC0415

    store = Store(root, settings.runtime, settings.runtime_threads)
    champion = store.named("champion")
    if champion is None or champion == bundle.name:  # training has told which, and why
        say_what_next(bundle, "time", mask_url(url))
        return {"promoted": champion is not None, "decision": None}
    try:
        decision = promote_if_better(store, settings, url, bundle.name, say)
    except (TenfoldError, StoreError, BundleError, HistoryError) as error:
        raise TrainError(
            f"{bundle} is written, and the champion stays, since the two are not compared: {error}"
        ) from None
    for line in decision_lines(decision):
        say(line)
    promoted = decision.outcome == "passed"
    say(f"{bundle.name} is champion now" if promoted else f"{decision.champion} stays champion")
    return {"promoted": promoted, "decision": decision.model_dump(mode="json")}


def say_what_next(bundle: Path, split: str, archive: str | None = None) -> None:
    """Say how a bundle becomes champion, if it is not and may be: compared on the archive it was trained on, if any."""
    from models.store import Store  # noqa: PLC0415 - not where the extra is missing
    from training.job import say  # noqa: PLC0415

    champion = Store(bundle.parent).named("champion")
    if split == "rows" or champion == bundle.name:
        return
    store = shlex.quote(str(bundle.parent))
    promote = f"TENFOLD_MODEL_STORE={store} tenfold models promote {bundle.name} --reason WHY"
    if champion is None:
        say(f"To make it champion: {promote}")
    elif archive is not None:
        say(f"To make it champion, if it is not worse: {promote} --archive {shlex.quote(archive)}")
    else:
        say(f"To make it champion, compared with nothing: {promote} --force")
        say("To compare it first, with an archive: --archive DIR|URL in place of --force")


def _make_writable(store: Path) -> None:
    """Make the store's directory if there is none, before hours go into what it cannot take."""
    try:
        store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=store, prefix=".writable."):
            pass
    except OSError as error:
        raise TrainError(f"the model store {store} cannot be written: {error.strerror or error}; see --store") from None


def _require(packages: Sequence[str]) -> None:
    missing = [name for name in packages if find_spec(name) is None]  # looked up only: to import them takes seconds
    if missing:
        raise TrainError(f"training needs {', '.join(missing)}: pip install '.[training]' in the checkout")


def _rule(alerts: Alerts) -> "ThresholdRule":
    from training.threshold import ThresholdRule  # noqa: PLC0415 - not where the extra is missing

    try:
        return ThresholdRule(alerts.budget, alerts.cost_of_missed)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _told(trained: "Trained") -> dict[str, Any]:
    return {
        "bundle": str(trained.bundle),
        "model_version": trained.bundle.name,
        "epochs": len(trained.history.epoch),
        "metrics": trained.metrics,
    }


def _days(text: str) -> int:
    found = re.fullmatch(r"(\d{1,3})d", text)
    if found is None:
        raise UsageError(f"--label-delay {text}: give whole days, such as 7d")
    return int(found[1])
