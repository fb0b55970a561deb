"""Windows of the archive on disk: which are kept, with which label, and that sampling changes nothing else."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="needs the archive extra")
pytest.importorskip("duckdb", reason="needs the archive extra")

from models.hashing import merchant_hash, transaction_hash  # noqa: E402
from tests.profile_archives import TOPICS, archive_past  # noqa: E402
from tests.profile_reference import Past, Payment, random_past  # noqa: E402
from tests.reference import Entry, ReferenceWindow  # noqa: E402
from training.archive import open_archive  # noqa: E402
from training.labels import Extent, open_labels  # noqa: E402
from training.periods import Part, PeriodError, Periods, split_by_time  # noqa: E402
from training.samples import Plan, Samples, put_together, write_partition  # noqa: E402

DAY_MS = 86_400_000
BEGIN = date(2026, 2, 20)
BEGIN_DAY = (BEGIN - date(1970, 1, 1)).days
MAX_AGE_MS = 200 * DAY_MS


def periods(*days: int) -> Periods:
    return Periods(*((BEGIN_DAY + day) * DAY_MS for day in days))


def extent(first: float, last: float, known: float) -> Extent:
    return Extent(*(int((BEGIN_DAY + day) * DAY_MS) for day in (first, last, known)))


def split(*reach: float, **options: date | int | None) -> Periods:
    given = {"first": None, "until": None, "label_delay_days": 7, "validation_days": 5, "test_days": 6} | options
    return split_by_time(extent(*reach), **given)  # type: ignore[arg-type]


def test_the_split_ends_where_labels_end_and_has_the_label_delay_before_validation() -> None:
    assert split(0.5, 59.9, 60.2) == periods(0, 35, 42, 47, 47, 53)
    assert split(0.5, 40.9, 60.2) == periods(0, 23, 30, 35, 35, 41)
    assert split(0.5, 59.9, 60.2, first=date(2026, 2, 23), until=date(2026, 4, 1)) == periods(3, 22, 29, 34, 34, 40)
    assert split(0.5, 59.9, 60.2, first=date(2025, 1, 1)) == split(0.5, 59.9, 60.2)
    assert split(0, 59, 60, label_delay_days=0) == periods(0, 49, 49, 54, 54, 60)
    assert periods(0, 35, 42, 47, 47, 53).described()["validation"] == ("2026-04-03", "2026-04-07")


def test_without_validation_days_training_reaches_up_to_the_delay_and_its_end_is_watched() -> None:
    whole = split(0.5, 59.9, 60.2, validation_days=0)
    assert whole == periods(0, 40, 33, 40, 47, 53)
    known_ms = (BEGIN_DAY + 60) * DAY_MS
    assert [whole.judged_at(part, known_ms) for part in Part] == [whole.test_ms, whole.test_ms, known_ms]
    spared = split(0.5, 59.9, 60.2)
    assert [spared.judged_at(part, known_ms) for part in Part] == [spared.validation_ms, known_ms, known_ms]


def test_too_little_history_and_labels_that_cannot_be_there_yet_are_said() -> None:
    with pytest.raises(PeriodError, match="too little history: from 2026-02-20 to 2026-03-10 there are 18 days"):
        split(0, 24, 25)
    with pytest.raises(PeriodError, match="give 2026-04-14 or earlier"):
        split(0, 59, 60, until=date(2026, 4, 15))


def sampled(past: Past, directory: Path, share_of_honest: float = 1.0, seed: int = 1) -> dict[Part, Samples]:
    archive = open_archive(str(directory / "archive"))
    archive_past(past, archive)
    split = periods(5, 20, 27, 30, 30, 40)
    with open_labels(archive, TOPICS) as labels:
        then, now = labels.known_frauds(split.validation_ms), labels.known_frauds((BEGIN_DAY + 60) * DAY_MS)
        frauds = {Part.TRAINING: then, Part.VALIDATION: now, Part.TEST: now}
        plan = Plan(TOPICS.transactions, 10, MAX_AGE_MS, split, frauds, share_of_honest, seed)
        scratch = directory / f"samples-{share_of_honest}-{seed}"
        scratch.mkdir()
        for partition in (0, 1):
            write_partition(archive, partition, plan, labels.repeats(partition), scratch)
    return put_together(scratch, [0, 1], 10)


def expected(past: Past, part: Part) -> list[tuple[list[Entry], bool, str | None, str]]:
    """Return window, label, merchant and user of each event of a part, by hand."""
    split = periods(5, 20, 27, 30, 30, 40)
    by_ms = split.validation_ms if part is Part.TRAINING else (BEGIN_DAY + 60) * DAY_MS
    begin_ms, end_ms = split.bounds(part)
    firsts: dict[str, int] = {}
    for payment in past.payments:
        firsts.setdefault(payment.transaction, payment.offset)
    windows: dict[str, ReferenceWindow] = {}
    rows = []
    for payment in past.payments:
        window = windows.setdefault(payment.user, ReferenceWindow(10, MAX_AGE_MS)).add(entry(payment))
        if firsts[payment.transaction] != payment.offset or not begin_ms <= payment.created_at < end_ms:
            continue
        landed = sorted(
            (max(each.labelled_at, each.arrived_at), each.arrived_at, each.offset, each.is_fraud)
            for each in past.labels
            if each.transaction == payment.transaction and max(each.labelled_at, each.arrived_at) <= by_ms
        )
        is_fraud = bool(landed) and landed[-1][-1]
        rows.append((window, is_fraud, payment.merchant, payment.user))
    return rows


def entry(payment: Payment) -> Entry:
    return Entry(
        payment.created_at, transaction_hash(payment.transaction), payment.amount, merchant_hash(payment.merchant), 0
    )


def as_rows(samples: Samples) -> list[tuple[list[Entry], bool, str | None, str]]:
    ids = [row for table in samples.events for row in table.to_pylist()]
    return [
        (
            [Entry(*record) for record in records[:length].tolist()],
            is_fraud,
            names["merchant_id"],
            names["user_id"],
        )
        for records, length, is_fraud, names in zip(
            samples.windows.records,
            samples.windows.lengths,
            samples.is_fraud.tolist(),
            ids,
            strict=True,
        )
    ]


@pytest.mark.parametrize("seed", [1, 2])
def test_every_part_has_its_windows_with_the_labels_that_were_known(seed: int, tmp_path: Path) -> None:
    past = random_past(seed, "UTC", 7, BEGIN, 45, 400)
    for part, samples in sampled(past, tmp_path).items():
        rows = expected(past, part)
        assert len(rows) > 15
        assert as_rows(samples) == rows
        assert samples.created_at_ms.tolist() == [window[-1].created_at_ms for window, *_ in rows]
        assert samples.users.tolist() == [transaction_hash(user) for *_, user in rows]


def test_sampling_leaves_out_honest_training_windows_only_and_the_same_ones_each_time(tmp_path: Path) -> None:
    past = random_past(3, "UTC", 7, BEGIN, 45, 3000)
    whole, some = sampled(past, tmp_path), sampled(past, tmp_path, 0.25)
    for part in (Part.VALIDATION, Part.TEST):
        assert as_rows(some[part]) == as_rows(whole[part])
    before, after = as_rows(whole[Part.TRAINING]), as_rows(some[Part.TRAINING])
    assert [row for row in after if row[1]] == [row for row in before if row[1]]
    honest = sum(not row[1] for row in before)
    assert sum(not row[1] for row in after) / honest == pytest.approx(0.25, abs=4 * (0.1875 / honest) ** 0.5)
    left = iter(before)
    assert all(row in left for row in after), "order is that of replay"

    again = put_together_again(past, tmp_path)
    assert as_rows(again) == after
    assert as_rows(sampled(past, tmp_path, 0.25, seed=2)[Part.TRAINING]) != after


def put_together_again(past: Past, tmp_path: Path) -> Samples:
    other = tmp_path / "again"
    other.mkdir()
    return sampled(past, other, 0.25)[Part.TRAINING]


def test_a_part_without_an_event_is_empty(tmp_path: Path) -> None:
    nothing = sampled(Past([], [], "UTC", 7), tmp_path)
    assert [len(samples) for samples in nothing.values()] == [0, 0, 0]
    assert nothing[Part.TEST].windows.records.shape == (0, 10)
    assert np.asarray(nothing[Part.TEST].created_at_ms).tolist() == []
