"""``tenfold evaluate``: the options, and what the user is told."""

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from models.bundle import BundleError, LoadedBundle, load_bundle
from models.spec import BundleSpec
from stream.errors import TenfoldError, UsageError
from stream.plurals import count_of
from stream.progress import Counted, nobody
from stream.settings import Settings
from training.archive import Archive
from training.archive_dataset import MadeRange, Wanted, part_of_range
from training.columns import TrainingDataError
from training.evaluate import Evaluated, Inputs, evaluate
from training.measured import measured
from training.measures import Known
from training.options import day
from training.prediction import predict_of
from training.profiles import Topics
from training.report import report_page
from training.scratch import scratch_in

REPORT, METRICS, SUMMARY = "report.html", "metrics.json", "summary.md"


class EvaluateError(TenfoldError):
    """The model cannot be judged; the message says why and what to do."""


def run(
    archive: Archive,
    settings: Settings,
    model: Path,
    first: str,
    until: str,
    out: Path | None,
    alert_budget: float,
    now_ms: int,
    progress: Counted = nobody,
) -> dict[str, Any]:
    """Judge a bundle on a range of days of the archive; return its metrics and where the report is, for JSON.

    Args:
        archive: where the payments are.
        settings: the topics' names, and the engine that computes the model.
        model: the bundle.
        first: ISO date of the first day.
        until: ISO date of the day after the last.
        out: directory for the report; what it has of these files is replaced.
        alert_budget: share of the payments that may be flagged.
        now_ms: the time.
        progress: counts the partitions that were replayed.

    Raises:
        UsageError: an option means nothing.
        EvaluateError: the bundle does not serve, there is no fraud in the range, or the files
            cannot be written.
        training.periods.PeriodError: the archive does not reach so far, or not with labels.
        training.archive.ArchiveError: the archive cannot be read.
    """
    days = day("--from", first), day("--to", until)
    if not 0 < alert_budget < 1:
        raise UsageError(f"--alert-budget {alert_budget:g}: give a share of the payments, such as 0.01")
    try:
        bundle = load_bundle(model, settings.runtime, threads=len(os.sched_getaffinity(0)))
    except BundleError as error:
        raise EvaluateError(str(error)) from None
    with ExitStack() as stack:
        try:
            if out is not None:
                out.mkdir(parents=True, exist_ok=True)
            columns = stack.enter_context(scratch_in(out))
        except OSError as error:
            raise EvaluateError(f"{out} cannot be written: {error.strerror or error}") from error
        wanted = Wanted.of_bundle(bundle.spec, *days, now_ms)
        made = _windows(archive, settings, wanted, columns, progress)
        evaluated = _evaluated(bundle, made, alert_budget)
    facts = {
        "model_version": bundle.spec.model_version,
        "days": {"test": (first, str(_last(evaluated)))},
        "seen_in_training": _seen_in_training(bundle.spec, days),
        "archive": made.summary._asdict(),
    }
    if made.profile_days is not None:
        facts["profile_days"] = made.profile_days._asdict()
    metrics = {**evaluated.metrics, **facts}
    if out is not None:
        page = report_page(bundle.spec, Evaluated(metrics, evaluated.payments, evaluated.baseline))
        _write(out / METRICS, json.dumps(metrics, indent=2, allow_nan=False) + "\n")
        _write(out / SUMMARY, summary(bundle.spec, metrics))
        _write(out / REPORT, page)
    return {**metrics, "out": None if out is None else str(out)}


def summary(spec: BundleSpec, metrics: Mapping[str, Any]) -> str:
    """Return ``summary.md``."""
    first, last = metrics["days"]["test"]
    seen = "" if not metrics["seen_in_training"] else f"\n{SEEN_IN_TRAINING}\n"
    return f"""# {spec.model_version}, {first} to {last}

{count_of(metrics["n"], "payment")}, {metrics["frauds"]:,} of them frauds by the labels that are known. The threshold is
{spec.threshold:.4f}.
{seen}
{measured(metrics)}
"""


SEEN_IN_TRAINING = "The model was trained on some of these days: the figures flatter."


def _windows(archive: Archive, settings: Settings, wanted: Wanted, columns: Path, progress: Counted) -> MadeRange:
    topics = Topics(settings.input_topic, settings.labels_topic)
    processes = len(os.sched_getaffinity(0))
    try:
        return part_of_range(archive, topics, settings.output_topic, wanted, columns, processes, progress)
    except TrainingDataError as error:
        raise EvaluateError(str(error)) from None


def _evaluated(bundle: LoadedBundle, made: MadeRange, alert_budget: float) -> Evaluated:
    spec = bundle.spec
    return evaluate(
        predict_of(bundle),
        made.windows,
        Inputs(spec.features, spec.context),
        Known(made.frauds, spec.label_delay_days),
        threshold=spec.threshold,
        alert_budget=alert_budget,
        seed=spec.seed,
    )


def _last(evaluated: Evaluated) -> str:
    last: str = evaluated.metrics["days_of_test"][-1]["day"]
    return last


def _seen_in_training(spec: BundleSpec, days: tuple[date, date]) -> bool | None:
    """Return whether the model was trained on one of the days; ``None`` if the bundle does not say."""
    if spec.trained_from is None or spec.trained_to is None:
        return None
    first, until = (datetime.combine(day, time(), UTC) for day in days)
    return spec.trained_from < until and first < spec.trained_to


def _write(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        try:
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise EvaluateError(f"{path} cannot be written: {error.strerror or error}") from error
