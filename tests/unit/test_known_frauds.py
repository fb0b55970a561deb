"""Which frauds make a card known: those of the archive, and those of files, with when they became known."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow", reason="needs the archive extra")
pytest.importorskip("duckdb", reason="needs the archive extra")

import pyarrow.parquet as pq  # noqa: E402

from models.hashing import transaction_hash  # noqa: E402
from tests.profile_archives import TOPICS, archive_past  # noqa: E402
from tests.profile_reference import random_past  # noqa: E402
from training.archive import open_archive  # noqa: E402
from training.dataset import read_history  # noqa: E402
from training.known_cards import frauds_of  # noqa: E402
from training.labels import open_labels  # noqa: E402

DAY_MS = 86_400_000


@pytest.mark.parametrize("seed", [1, 2])
def test_frauds_of_the_archive_are_those_of_its_labels_in_force(seed: int, tmp_path: Path) -> None:
    past = random_past(seed, "UTC", 7, date(2026, 2, 20), 45, 1500)
    archive = open_archive(str(tmp_path))
    archive_past(past, archive)
    firsts = {payment.transaction: payment for payment in reversed(past.payments)}
    begin_ms, end_ms, landed_by_ms = (
        round(datetime(2026, month, day, tzinfo=UTC).timestamp() * 1000) for month, day in ((3, 1), (3, 20), (3, 24))
    )
    in_force: dict[str, tuple[tuple[int, int, int], bool]] = {}
    for label in past.labels:
        landed = max(label.labelled_at, label.arrived_at), label.arrived_at, label.offset
        if landed[0] <= landed_by_ms:
            last = in_force.get(label.transaction)
            if last is None or landed > last[0]:
                in_force[label.transaction] = landed, label.is_fraud
    expected = sorted(
        (transaction_hash(payment.user), payment.created_at, landed[0])
        for transaction, (landed, is_fraud) in in_force.items()
        if is_fraud and (payment := firsts.get(transaction)) and begin_ms <= payment.created_at < end_ms
    )

    with open_labels(archive, TOPICS) as labels:
        found = labels.frauds(begin_ms, end_ms, landed_by_ms)

    rows = zip(found.users.tolist(), found.created_at_ms.tolist(), found.landed_at_ms.tolist(), strict=True)
    assert sorted(rows) == expected
    assert len(expected) > 5


def test_frauds_of_files_are_known_when_their_label_landed(tmp_path: Path) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    payments = [
        {
            "transaction_id": name,
            "user_id": user,
            "amount": 1.0,
            "created_at": begin + timedelta(days=day),
            "is_vpn": False,
            "merchant_id": "m",
        }
        for name, user, day in (("c", "u", 3), ("a", "v", 1), ("b", "u", 2), ("d", "w", 4))
    ]
    labels = [
        {"transaction_id": name, "user_id": "", "is_fraud": verdict, "labelled_at": begin + timedelta(days=day)}
        for name, verdict, day in (("a", False, 5), ("a", True, 8), ("c", True, 9), ("b", False, 6), ("x", True, 7))
    ]
    pq.write_table(pa.Table.from_pylist(payments), tmp_path / "transactions.parquet")
    pq.write_table(pa.Table.from_pylist(labels), tmp_path / "labels.parquet")
    history = read_history(tmp_path)

    frauds = frauds_of(history)

    begin_ms = round(begin.timestamp() * 1000)
    assert ((frauds.created_at_ms - begin_ms) / DAY_MS).tolist() == [1, 3]
    assert ((frauds.landed_at_ms - begin_ms) / DAY_MS).tolist() == [8, 9]
    assert frauds.users.tolist() == history.users[[0, 2]].tolist()
