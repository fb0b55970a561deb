"""The Schema Registry's frame is taken off where that is switched on, and named where it is not."""

from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

from stream.decode import MAX_VALUE_BYTES, Reason, decode
from stream.framing import Framing
from tests.framed import framed
from training.archive import Kind
from training.archive_records import Records, to_rows

ROOT = Path(__file__).parents[2]
#: What reads the setting, and how the page names the process.
READERS = {
    "stream/service.py": "Scorers",
    "stream/catch_up.py": "Scorers",
    "stream/rebuild.py": "`tenfold reset --rebuild`",
    "stream/explain_topic.py": "`tenfold explain`",
    "training/archive_command.py": "archiver",
    "training/monitor_command.py": "monitor",
}
NOW_MS = 1_767_261_600_000  # 2026-01-01T10:00:00Z
GOOD = b'{"transaction_id":"t1","user_id":"u1","amount":12.5,"created_at":"2026-01-01T10:00:00Z"}'
LABEL = b'{"transaction_id":"t1","user_id":"u1","is_fraud":true,"labelled_at":"2026-01-01T10:00:00Z"}'


def rows_of(kind: Kind, value: bytes, framing: Framing) -> tuple[int, Counter[str]]:
    found = to_rows(kind, Records([0], [NOW_MS], [b"u1"], [value], [{}], framing), "T1", 0)
    return len(found.table), found.refused


def test_the_frame_is_the_published_one() -> None:
    assert framed(b"{}", 256) == b"\x00\x00\x00\x01\x00{}"


@pytest.mark.parametrize("schema_id", [0, 1, 0x7B7B7B7B, 2**32 - 1])
def test_switched_on_a_framed_payment_is_the_payment(schema_id: int) -> None:
    plain, one = (decode([b"u1"], [value], [NOW_MS], "confluent") for value in (GOOD, framed(GOOD, schema_id)))

    assert one.dead == []
    assert one.transactions == plain.transactions
    assert one.records.tobytes() == plain.records.tobytes()


def test_switched_on_producers_may_change_over_one_after_the_other() -> None:
    assert decode([b"u1"] * 3, [GOOD, framed(GOOD), GOOD], [NOW_MS] * 3, "confluent").rows.tolist() == [0, 1, 2]


def test_switched_off_the_error_says_which_setting() -> None:
    decoded = decode([b"u1"] * 2, [framed(GOOD), GOOD], [NOW_MS] * 2)

    [dead] = decoded.dead
    assert (dead.row, dead.reason) == (0, Reason.FRAMED)
    assert "TENFOLD_INPUT_FRAMING=confluent" in dead.error
    assert decoded.rows.tolist() == [1]


@pytest.mark.parametrize(
    ("value", "reason", "words"),
    [
        (framed(b"\x04t1\x04u1\x00\x00\x00\x00\x00\x00)@"), Reason.NOT_JSON, "only JSON Schema"),
        (framed(framed(GOOD)), Reason.NOT_JSON, "only JSON Schema"),
        (framed(GOOD)[:5], Reason.NOT_JSON, "only JSON Schema"),
        (framed(GOOD)[:3], Reason.NOT_JSON, "only JSON Schema"),
        (b"\x01" + framed(GOOD)[1:], Reason.NOT_JSON, "not JSON"),
        (framed(GOOD.replace(b"12.5", b"-1")), Reason.INVALID, "amount: input should be greater"),
        (framed(GOOD.replace(b"u1", b"u2")), Reason.WRONG_KEY, "key"),
        (framed(GOOD + b" " * MAX_VALUE_BYTES), Reason.TOO_LARGE, "bytes"),
        (None, Reason.NULL_VALUE, "null"),
    ],
)
def test_switched_on_what_is_wrong_is_said_as_ever(value: bytes | None, reason: Reason, words: str) -> None:
    [dead] = decode([b"u1"], [value], [NOW_MS], "confluent").dead

    assert dead.reason is reason
    assert words in dead.error


@pytest.mark.parametrize(("kind", "value"), [(Kind.TRANSACTIONS, GOOD), (Kind.LABELS, LABEL)])
def test_archiver_and_monitor_read_framed_payments_and_labels_as_the_scorer_does(kind: Kind, value: bytes) -> None:
    assert rows_of(kind, framed(value), "confluent") == (1, Counter())
    assert rows_of(kind, value, "confluent") == (1, Counter())
    assert rows_of(kind, framed(value), "none") == (0, Counter({"framed": 1}))
    assert rows_of(kind, framed(b"junk"), "confluent") == (0, Counter({"not-json": 1}))


def test_the_page_names_every_process_that_must_have_the_same_framing() -> None:
    modules = [path for folder in ("stream", "training") for path in (ROOT / folder).rglob("*.py")]
    reading = {path.relative_to(ROOT).as_posix() for path in modules if "settings.input_framing" in path.read_text()}
    [told] = [
        line for line in (ROOT / "docs" / "messages.md").read_text().splitlines() if "must have the same value" in line
    ]

    assert reading == READERS.keys(), "a process that reads payments or labels: add it here, and to docs/messages.md"
    assert [process for process in READERS.values() if process not in told] == []
