"""The gate on an archive: which days are held out for two bundles of a store, and what both make of them."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from models.bundle import Bundle, LoadedBundle
from models.context import DAY_MS, day_date, day_number
from models.decisions import Comparison, Decision, Outcome
from models.store import Store
from stream.errors import TenfoldError
from stream.settings import Settings
from training.archive import Archive
from training.archive_command import archive_of
from training.archive_dataset import MadeRange, Wanted, part_of_range
from training.columns import TrainingDataError
from training.gate import compare
from training.known_cards import of_known_cards
from training.labels import ahead_note, open_labels
from training.periods import labelled_days
from training.prediction import Floats32, predict_of, predict_part
from training.profiles import Topics
from training.scored import scored
from training.scratch import scratch_in

#: So many held-out days at most, the latest: four of each weekday.
DAYS = 28

#: The reason of a job that asks by itself.
NIGHTLY = "tenfold train --promote-if-better"

Say = Callable[[str], None]


class GateError(TenfoldError):
    """Two models cannot be compared; the message says why and what would help."""


def decide(
    store: Store, settings: Settings, url: str, version: str, reason: str, say: Say, *, only_if_better: bool = False
) -> Decision:
    """Compare a bundle with the champion, and return whether it may take its place: only if it is not worse.

    Args:
        store: its champion is there.
        settings: the topics' names.
        url: directory or URL of the archive.
        version: the bundle.
        reason: kept with the decision.
        say: is told what is compared, which takes minutes.
        only_if_better: not to be worse is not enough.

    Raises:
        GateError: no day is held out for both, or there is no fraud on these days.
        training.archive.NoArchiveError, training.archive.ArchiveError: there is no archive, or it cannot be read.
        models.store.StoreError, models.bundle.BundleError: one of the two is not there, or does not verify.
    """
    champion = store.named("champion") or ""
    scoring = replace(store, threads=len(os.sched_getaffinity(0)))
    pair = scoring.verify(champion), scoring.verify(version)
    archive, now_ms = archive_of(url, settings), int(store.now().timestamp() * 1000)
    comparison = compare_bundles(archive, settings, *pair, scratch=store.root, now_ms=now_ms, say=say)
    outcome: Outcome = "passed" if comparison.passed else "refused"
    if only_if_better and comparison.passed and not comparison.better:
        outcome = "not better"
    return Decision(
        at=store.now(),
        challenger=version,
        champion=champion,
        outcome=outcome,
        reason=reason,
        comparison=comparison,
    )


def promote_if_better(store: Store, settings: Settings, url: str, version: str, say: Say) -> Decision:
    """Make a bundle the champion if it is not worse in anything and ranks better for certain; keep the decision.

    Only not to be worse is too little where nobody looks on: a nightly job might lose a little every night.

    Args and what is raised are those of :func:`decide`.
    """
    store.check(version, NIGHTLY)
    decision = decide(store, settings, url, version, NIGHTLY, say, only_if_better=True)
    if decision.outcome == "passed":
        store.promote(version, NIGHTLY, decision=decision)
    else:
        store.keep(decision)
    return decision


def compare_bundles(
    archive: Archive,
    settings: Settings,
    champion: LoadedBundle,
    challenger: LoadedBundle,
    scratch: Path,
    now_ms: int,
    say: Say,
) -> Comparison:
    """Replay the days that are held out for both, score them with both, and compare.

    Args:
        archive: where transactions, labels and scores are.
        settings: the topics' names.
        champion: one model.
        challenger: the other.
        scratch: directory for what does not fit into memory: some 800 bytes a payment.
        now_ms: the time.
        say: is told what is compared.

    Raises:
        GateError, training.archive.ArchiveError: as :func:`decide`.
    """
    topics = Topics(settings.input_topic, settings.labels_topic)
    first, until, notes = held_out(archive, topics, champion.bundle, challenger.bundle, now_ms)
    names = [loaded.spec.model_version for loaded in (champion, challenger)]
    say(f"comparing {' with '.join(names)} on {first} to {until - timedelta(days=1)}")
    wanted = [Wanted.of_bundle(loaded.spec, first, until, now_ms) for loaded in (champion, challenger)]
    processes = len(os.sched_getaffinity(0))
    with scratch_in(scratch) as columns:

        def replayed(place: int) -> MadeRange:
            directory = columns / str(place)
            directory.mkdir()
            try:
                return part_of_range(archive, topics, settings.output_topic, wanted[place], directory, processes)
            except TrainingDataError as error:
                raise GateError(str(error)) from None

        made = replayed(0)
        if made.summary.stamped_ahead:
            notes.append(ahead_note(made.summary.stamped_ahead))
        payments = scored(made.windows, _probabilities(champion, made))
        other = made if wanted[0] == wanted[1] else replayed(1)
        judged = scored(other.windows, _probabilities(challenger, other))
        same = (payments.users, judged.users), (payments.created_at_ms, judged.created_at_ms)
        if not all(np.array_equal(*pair) for pair in same):
            raise GateError(f"payments of {first} to {until} were archived while the two were compared: compare again")
        delay = champion.spec.label_delay_days
        fresh = ~of_known_cards(payments, made.frauds, int(payments.days.min()), delay)
        payments = payments.take(fresh)  # in memory, no longer in the columns
    if not payments.is_fraud.any():
        raise GateError(
            f"from {first} on, all frauds are of cards that were known as defrauded, so that no model can be told from "
            "another: archive more days"
        )
    return compare(payments, judged.probabilities[fresh], notes)


def held_out(
    archive: Archive, topics: Topics, champion: Bundle, challenger: Bundle, now_ms: int
) -> tuple[date, date, list[str]]:
    """Return the first of the latest days that neither bundle has learned from, the day after the last, and notes.

    Their labels have had the time to land. The days of a bundle's own test are among them: it did not learn from these.

    Raises:
        GateError: there is none, or a bundle does not say what it has learned from.
        training.archive.ArchiveError: the archive cannot be read.
    """
    seen, notes = 0, []
    for bundle in (champion, challenger):
        day, note = _learned_until(bundle)
        seen = max(seen, day)
        notes += [note] if note else []
    since = day_date(seen - 1)  # a record arrives at most a day before its event time
    with open_labels(archive, topics, since=since) as labels:
        extent = labels.extent(now_ms)
    if extent is None:
        raise GateError(
            f"{archive.url(topics.transactions)} holds no transaction since {since}, and until then one of "
            f"{champion.spec.model_version}, {challenger.spec.model_version} has learned: archive further days"
        )
    delay = max(champion.spec.label_delay_days, challenger.spec.label_delay_days)
    _, end = labelled_days(extent, first=None, until=None, label_delay_days=delay)
    if end <= seen:
        raise GateError(
            f"no day is left to compare {challenger.spec.model_version} with {champion.spec.model_version}: until "
            f"{day_date(seen - 1)} one of them has learned, and labels are complete until {day_date(end - 1)} only: "
            "archive further days, or train with an earlier --to"
        )
    return day_date(max(seen, end - DAYS)), day_date(end), notes


def _learned_until(bundle: Bundle) -> tuple[int, str | None]:
    """Return the first day, since 1970-01-01, of which a bundle has seen no label, and what is to be said of that."""
    match bundle.metrics.get("days"):
        case {"test": [str(first), _]}:
            return day_number(date.fromisoformat(first)), None
    version, trained_to = bundle.spec.model_version, bundle.spec.trained_to
    if trained_to is None:
        raise GateError(f"{version} does not say until when it was trained, so no day is known to be new to it")
    note = (
        f"{version} says until when it was trained, not on which days its threshold was chosen: they may be among these"
    )
    return -(-int(trained_to.timestamp() * 1000) // DAY_MS), note


def _probabilities(bundle: LoadedBundle, made: MadeRange) -> Floats32:
    probabilities = predict_part(predict_of(bundle), made.windows)
    lost = int((~np.isfinite(probabilities)).sum())
    if lost:
        raise GateError(
            f"{bundle.spec.model_version} has no finite answer to {lost:,} of {len(probabilities):,} payments"
        )
    return probabilities
