"""Labels as they stood at an instant, against a random past looked through by hand."""

from collections import Counter
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow", reason="needs the archive extra")
pytest.importorskip("duckdb", reason="needs the archive extra")

from models.hashing import transaction_hash  # noqa: E402
from tests.profile_archives import TOPICS, archive_past  # noqa: E402
from tests.profile_reference import Label, Past, Payment, random_past  # noqa: E402
from tests.wanted import NOW_MS  # noqa: E402
from training import labels as module  # noqa: E402
from training.archive import ArchiveError, open_archive  # noqa: E402
from training.labels import Extent, Summary, open_labels  # noqa: E402
from training.periods import PeriodError, labelled_days  # noqa: E402
from training.replay import id_hashes  # noqa: E402

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
BEGIN = date(2026, 2, 20)


def landed(past: Past, by_ms: int) -> dict[str, list[Label]]:
    """Return the labels of each transaction that had landed, in the order in which they did."""
    known: dict[str, list[Label]] = {}
    for label in sorted(past.labels, key=lambda label: (landing(label), label.arrived_at, label.offset)):
        if landing(label) <= by_ms:
            known.setdefault(label.transaction, []).append(label)
    return known


def landing(label: Label) -> int:
    return max(label.labelled_at, label.arrived_at)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_last_label_that_had_landed_counts(seed: int, tmp_path: Path) -> None:
    past = random_past(seed, "UTC", 7, BEGIN, 40, 300)
    archive = open_archive(str(tmp_path))
    archive_past(past, archive)
    begin_ms = min(payment.created_at for payment in past.payments)
    names = sorted({payment.transaction for payment in past.payments} | {"nobody-knows", "never-seen"})

    with open_labels(archive, TOPICS) as labels:
        for days in (0, 3, 17, 45, 400):
            by_ms = begin_ms + days * DAY_MS
            known = landed(past, by_ms)
            truth = labels.as_of(by_ms)
            last = [known[name][-1] if name in known else None for name in names]

            assert truth.of_transactions(pa.chunked_array([names])).to_pydict() == {
                "is_fraud": [label and label.is_fraud for label in last],
                "labelled_at_ms": [label and label.labelled_at for label in last],
            }
            assert labels.known_frauds(by_ms).tolist() == sorted(
                transaction_hash(label.transaction) for label in last if label and label.is_fraud
            )


def test_labels_that_say_no_fraud_are_not_brought_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    past = random_past(7, "UTC", 7, BEGIN, 40, 300)
    archive = open_archive(str(tmp_path))
    archive_past(past, archive)
    by_ms = max(landing(label) for label in past.labels)
    taken: list[int] = []
    monkeypatch.setattr(module, "id_hashes", lambda ids: [taken.append(len(ids)), id_hashes(ids)][1])

    with open_labels(archive, TOPICS) as labels:
        labels.as_of(by_ms)
        assert taken == []
        labels.known_frauds(by_ms)

    known = landed(past, by_ms).values()
    assert taken == [sum(its[-1].is_fraud for its in known)]
    assert 0 < taken[0] < len(known)


def test_what_is_of_no_use_is_counted(tmp_path: Path) -> None:
    past = random_past(4, "UTC", 7, BEGIN, 40, 300)
    archive = open_archive(str(tmp_path))
    archive_past(past, archive)
    by_ms = min(payment.created_at for payment in past.payments) + 20 * DAY_MS
    known = landed(past, by_ms)
    pairs = [(before.is_fraud, after.is_fraud) for each in known.values() for before, after in pairwise(each)]
    distinct = {payment.transaction for payment in past.payments}
    count = sum(map(len, known.values()))
    days = {payment.created_at // DAY_MS for payment in past.payments}

    with open_labels(archive, TOPICS) as labels:
        assert labels.summary(by_ms) == Summary(
            transactions=len(distinct),
            repeated_transactions=len(past.payments) - len(distinct),
            labels=count,
            repeated_labels=sum(before == after for before, after in pairs),
            contradicting_labels=sum(before != after for before, after in pairs),
            labels_of_unknown=len(known.get("nobody-knows", [])),
            labels_too_late=len(past.labels) - count,
            days_without_transactions=max(days) - min(days) + 1 - len(days),
            stamped_ahead=sum(each.arrived_at > by_ms for each in [*past.payments, *past.labels]),
        )
        assert labels.extent(NOW_MS) == Extent(
            min(payment.created_at for payment in past.payments),
            max(payment.created_at for payment in past.payments),
            max(each.arrived_at for each in [*past.payments, *past.labels]),
        )


def test_of_a_transaction_id_seen_twice_all_but_the_first_row_are_repeats(tmp_path: Path) -> None:
    past = random_past(5, "UTC", 7, BEGIN, 40, 300)
    archive = open_archive(str(tmp_path))
    archive_past(past, archive)
    seen: Counter[str] = Counter()
    repeats = []
    for payment in sorted(past.payments, key=lambda each: each.offset):
        if seen[payment.transaction]:
            repeats.append(payment.offset)
        seen[payment.transaction] += 1

    with open_labels(archive, TOPICS) as labels:
        assert labels.repeats(0)["offset"].to_pylist() == sorted(repeats)
        assert len(repeats) > 10
        assert len(labels.repeats(1)) == 0


def test_an_archive_without_anything_has_no_extent_and_nothing_is_a_fraud(tmp_path: Path) -> None:
    with open_labels(open_archive(str(tmp_path)), TOPICS) as labels:
        assert labels.extent(NOW_MS) is None
        assert labels.known_frauds(0).tolist() == []
        assert labels.as_of(0).of_transactions(pa.chunked_array([["t"]]))["is_fraud"].to_pylist() == [None]
        assert labels.summary(0) == Summary(0, 0, 0, 0, 0, 0, 0, 0, 0)


def test_an_archive_without_labels_reaches_as_far_as_its_transactions(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    archive_past(Past([Payment(0, "t", "u", None, 1.0, 5 * HOUR_MS, 6 * HOUR_MS)], [], "UTC", 7), archive)
    with open_labels(archive, TOPICS) as labels:
        assert labels.extent(NOW_MS) == Extent(5 * HOUR_MS, 5 * HOUR_MS, 6 * HOUR_MS)


def test_one_record_of_a_clock_that_is_ahead_does_not_end_the_label_delay(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    last, now_ms = 40 * DAY_MS, 40 * DAY_MS + HOUR_MS
    payments = [Payment(0, "t", "u", None, 1.0, last, last), Payment(1, "v", "u", None, 1.0, last, 85 * DAY_MS)]
    archive_past(Past(payments, [], "UTC", 7), archive)
    with open_labels(archive, TOPICS) as labels:
        extent = labels.extent(now_ms)
        assert extent == Extent(last, last, now_ms)
        assert labels.summary(extent.known_ms).stamped_ahead == 1
    _, end = labelled_days(extent, first=None, until=None, label_delay_days=7)
    assert end == 33


def test_an_archive_later_than_the_clock_is_told(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    archive_past(Past([Payment(0, "t", "u", None, 1.0, 40 * DAY_MS, 40 * DAY_MS)], [], "UTC", 7), archive)
    with open_labels(archive, TOPICS) as labels:
        extent = labels.extent(30 * DAY_MS)
    assert extent is not None
    with pytest.raises(PeriodError, match=r"of 1970-02-10T00:00.*, and it is 1970-01-31T00:00.* now"):
        labelled_days(extent, first=None, until=None, label_delay_days=7)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    archive_past(random_past(6, "UTC", 7, BEGIN, 2, 5), archive)
    [damaged, *_] = sorted(tmp_path.glob("transactions/*/*.parquet"))
    damaged.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ArchiveError, match=damaged.name.replace("+", r"\+")), open_labels(archive, TOPICS):
        pass
