"""The store switches its pointers whole, remembers what it switched and why, and refuses what does not verify."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import models.bundle
import models.durable
import models.store
from models.bundle import BundleError
from models.checksums import write_sums
from models.durable import one_writer
from models.store import Store, StoreError
from models.switches import HistoryError
from models.window import WINDOW_MAX_AGE_MS
from tests.bundles import make_bundle

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


class KilledError(BaseException):
    """Nothing catches it, as nothing catches a SIGKILL."""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundles")
    for version in ("a", "b", "c"):
        make_bundle(root / version, model_version=version)
    return root


@pytest.fixture
def store(bundles: Path, tmp_path: Path) -> Store:
    """Return a store of the bundles a, b and c, whose champion is a."""
    shutil.copytree(bundles, tmp_path / "store")
    made = Store(tmp_path / "store", now=lambda: NOW)
    made.adopt_first("a")
    return made


def rewrite(store: Store, version: str, file: str, **changes: Any) -> None:
    path = store.root / version / file
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes), encoding="utf-8")
    write_sums(path.parent)


def told(store: Store) -> list[tuple[str, str, str | None, str | None, str | None]]:
    return [(each.action, each.pointer, each.before, each.after, each.reason) for each in store.history()[0]]


def test_a_promotion_switches_the_champion_and_is_remembered_with_its_reason(store: Store) -> None:
    switch = store.promote("b", "better on February")

    assert store.named("champion") == "b"
    assert (store.root / "champion").read_bytes() == b"b\n", "as older releases read it"
    assert models.bundle.resolve_model(None, store.root) == store.root / "b"
    assert told(store) == [
        ("train", "champion", None, "a", "the first of the store"),
        ("promote", "champion", "a", "b", "better on February"),
    ]
    assert switch.at == NOW
    assert store.history()[1] == []


def test_only_the_first_bundle_of_a_store_becomes_champion_by_itself(store: Store) -> None:
    assert store.adopt_first("b") is None
    assert store.named("champion") == "a"
    assert len(told(store)) == 1


def test_a_champion_written_by_hand_is_read_and_a_rollback_from_it_goes_to_the_one_before(store: Store) -> None:
    (store.root / "champion").write_text("c", encoding="utf-8")

    _, [notice] = store.history()
    assert "champion is 'c'" in notice
    assert "written by hand" in notice
    assert store.rollback("c is worse").after == "a"


def test_rollbacks_go_further_back_and_end_at_the_first(store: Store) -> None:
    store.promote("b", "one")
    store.promote("c", "two")

    assert store.rollback("bad").after == "b"
    assert store.rollback("bad too").after == "a"
    with pytest.raises(StoreError, match="no champion before"):
        store.rollback("once more")
    assert store.named("champion") == "a"

    store.promote("c", "mended")
    assert store.rollback("not mended").after == "a"


def test_a_rollback_needs_no_whole_champion(store: Store) -> None:
    store.promote("b", "one")
    (store.root / "b" / "model.onnx").write_bytes(b"junk")

    assert store.rollback("damaged").after == "a"


def test_a_rollback_to_a_bundle_that_is_gone_is_refused(store: Store) -> None:
    store.promote("b", "one")
    store.retire("a")

    with pytest.raises(StoreError, match=r"no bundle 'a' .* there is b, c"):
        store.rollback("bad")
    assert store.named("champion") == "b"


@pytest.mark.parametrize(
    "name",
    [
        "d",
        "",
        ".",
        "..",
        "../store/b",
        "b/",
        "b/../c",
        "/etc",
        ".retired",
        "champion",
        "challenger",
        "b\n",
        "b\0",
        "ß",
        "b" * 200,
    ],
)
def test_a_name_that_is_no_bundle_of_the_store_is_refused_and_nothing_changes(store: Store, name: str) -> None:
    for taken in (".retired", "challenger"):
        (store.root / taken).mkdir()
    before = snapshot(store)
    commands: list[Callable[[], object]] = [
        lambda: store.promote(name, "why"),
        lambda: store.shadow(name),
        lambda: store.retire(name),
        lambda: store.verify(name),
        lambda: store.directory(name),
    ]
    for command in commands:
        with pytest.raises(StoreError, match=r"there is no bundle .* there is a, b, c"):
            command()
    assert snapshot(store) == before


def snapshot(store: Store) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(store.root.rglob("*"))}


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "\x1b[2J", "x" * 501])
def test_a_reason_is_one_readable_line(store: Store, reason: str) -> None:
    for command in (lambda: store.promote("b", reason), lambda: store.rollback(reason)):
        with pytest.raises(StoreError, match="a reason is one line"):
            command()
    assert store.named("champion") == "a"


def damage(store: Store) -> None:
    content = bytearray((store.root / "b" / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (store.root / "b" / "model.onnx").write_bytes(content)


@pytest.mark.parametrize(
    ("tamper", "why"),
    [
        (damage, "changed: model.onnx"),
        (lambda store: (store.root / "b" / "golden.npz").unlink(), "missing: golden.npz"),
        (lambda store: rewrite(store, "b", "spec.json", features=["shoe_size"]), "unknown feature shoe_size"),
        (lambda store: rewrite(store, "b", "spec.json", zone="Asia/Kolkata"), "computes hour_of_day.* differently"),
        (lambda store: rewrite(store, "b", "spec.json", model_version="z"), "holds z, as its scores would say"),
        (
            lambda store: rewrite(store, "b", "spec.json", sequence_length=9),
            "windows of 10 transactions, its spec says 9",
        ),
        (lambda store: rewrite(store, "b", "spec.json", window_max_age_ms=1), r"reach back \d+ ms, its spec says 1"),
    ],
)
def test_a_bundle_that_does_not_verify_gets_no_pointer(
    store: Store, tamper: Callable[[Store], object], why: str
) -> None:
    tamper(store)
    for command in (lambda: store.verify("b"), lambda: store.promote("b", "why"), lambda: store.shadow("b")):
        with pytest.raises(BundleError, match=f"(?s){store.root}/b.*{why}"):
            command()
    assert (store.named("champion"), store.named("challenger")) == ("a", None)
    assert len(told(store)) == 1


def test_a_bundle_split_by_row_never_becomes_champion(store: Store) -> None:
    rewrite(store, "b", "metrics.json", split="rows")
    with pytest.raises(StoreError, match="split by row"):
        store.promote("b", "why")
    assert store.named("champion") == "a"


@pytest.mark.parametrize("change", [{"sequence_length": 9}, {"window_max_age_ms": WINDOW_MAX_AGE_MS - 1}])
def test_a_window_longer_than_the_champions_is_refused_with_the_way_out(store: Store, change: dict[str, int]) -> None:
    rewrite(store, "a", "spec.json", **change)

    with pytest.raises(StoreError, match=f"TENFOLD_MODEL={store.root}/b tenfold reset --rebuild.*--windows-rebuilt"):
        store.promote("b", "why")
    assert store.named("champion") == "a"

    store.promote("b", "why", windows_rebuilt=True)
    assert store.named("champion") == "b"


def test_a_rollback_to_a_longer_window_is_refused_too(store: Store) -> None:
    store.promote("b", "why")
    rewrite(store, "b", "spec.json", window_max_age_ms=WINDOW_MAX_AGE_MS - 1)

    with pytest.raises(StoreError, match="the stored windows are those of b"):
        store.rollback("why")
    assert store.rollback("why", windows_rebuilt=True).after == "a"


def test_without_a_champion_the_stored_windows_are_the_starters(bundles: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    make_bundle(store.root / "long", model_version="long", window_max_age_ms=WINDOW_MAX_AGE_MS + 1)
    with pytest.raises(StoreError, match="the stored windows are those of starter-default"):
        store.promote("long", "why")

    shutil.copytree(bundles / "b", store.root / "b")
    assert store.promote("b", "why").before is None


def test_if_the_champion_is_gone_its_window_is_not_guessed(store: Store) -> None:
    shutil.rmtree(store.root / "a")
    assert any("there is no such bundle" in notice for notice in store.history()[1])

    with pytest.raises(StoreError, match="how long the stored windows are is not known"):
        store.promote("b", "why")
    store.promote("b", "why", windows_rebuilt=True)
    assert store.history()[1] == []


def test_a_challenger_is_named_and_unnamed_and_is_none_any_more_once_it_is_champion(store: Store) -> None:
    store.shadow("b")
    assert (store.named("champion"), store.named("challenger")) == ("a", "b")
    store.shadow(None)
    assert store.named("challenger") is None
    with pytest.raises(StoreError, match="there is no challenger"):
        store.shadow(None)
    with pytest.raises(StoreError, match="a is the champion"):
        store.shadow("a")

    store.shadow("c")
    store.promote("c", "better")
    assert (store.named("champion"), store.named("challenger")) == ("c", None)
    assert store.rollback("worse").after == "a", "switches of the challenger are no champions"


def test_only_what_no_pointer_names_is_retired_and_it_is_kept_whole(store: Store) -> None:
    store.shadow("b")
    for version, pointer in (("a", "champion"), ("b", "challenger")):
        with pytest.raises(StoreError, match=f"{version} is the {pointer}, and is not retired"):
            store.retire(version)
    files = {path.name: path.read_bytes() for path in (store.root / "c").iterdir()}
    kept = store.retire("c")

    assert store.versions() == ["a", "b"]
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == files
    kept.rename(store.root / "c")
    store.verify("c")

    kept.mkdir()
    with pytest.raises(StoreError, match="was retired before"):
        store.retire("c")
    assert store.versions() == ["a", "b", "c"]


#: What a promotion asks of the system, in order; a kill comes before one of them.
STEPS = ["fsync history", "fsync directory", "fsync draft", "replace", "fsync directory again"]


@pytest.mark.parametrize("killed_before", range(len(STEPS)), ids=STEPS)
def test_a_kill_at_any_step_leaves_a_champion_is_told_and_can_be_repeated(
    store: Store, monkeypatch: pytest.MonkeyPatch, killed_before: int
) -> None:
    store.promote("b", "before the kill")
    calls: list[str] = []

    def or_die(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object) -> object:
            if len(calls) == killed_before:
                raise KilledError
            calls.append(name)
            return call(*arguments)

        return counted

    with monkeypatch.context() as patched:
        for name in ("fsync", "replace"):
            patched.setattr(models.durable.os, name, or_die(name, getattr(models.durable.os, name)))
        with pytest.raises(KilledError):
            store.promote("c", "killed")

    assert calls == [step.partition(" ")[0] for step in STEPS[:killed_before]]
    switched = "replace" in calls
    assert store.named("champion") == ("c" if switched else "b")
    assert store.verify(store.named("champion") or "")
    assert told(store)[-1] == ("promote", "champion", "b", "c", "killed"), "it was written down before"
    if switched:
        assert store.history()[1] == []
        assert store.rollback("after the kill").after == "b"
        return
    [notice] = store.history()[1]
    assert "promote of 2026-03-01T12:30:00Z from 'b' to 'c' was not completed: champion still is 'b'" in notice
    store.promote("c", "repeated")
    assert store.history()[1] == []
    assert [store.rollback("after the kill").after for _ in range(2)] == ["b", "a"], "c was champion once"


def test_a_rollback_after_a_kill_goes_back_from_the_champion_that_is(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.promote("b", "one")

    def killed(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(models.durable.os, "replace", killed)
        for command in (lambda: store.promote("c", "killed"), lambda: store.rollback("killed")):
            with pytest.raises(KilledError):
                command()
    assert store.named("champion") == "b"
    assert store.rollback("at last").after == "a"


def test_a_kill_before_the_new_champion_is_no_challenger_any_more_is_told_and_mended(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.shadow("b")

    def killed(_: Path) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(models.store, "remove", killed)
        with pytest.raises(KilledError):
            store.promote("b", "killed")
    assert (store.named("champion"), store.named("challenger")) == ("b", "b")
    [notice] = store.history()[1]
    assert "was not completed: challenger still is 'b'" in notice

    store.shadow(None)
    assert (store.named("champion"), store.named("challenger")) == ("b", None)
    assert store.history()[1] == []


@pytest.mark.parametrize("length", [1, 40, -1])
def test_a_line_that_a_crash_cut_short_is_told_and_then_cut_away(store: Store, length: int) -> None:
    history = store.root / "history.jsonl"
    whole = history.read_bytes()
    history.write_bytes(whole + whole[:length])  # -1: all but the end of the line

    switches, [notice] = store.history()
    assert len(switches) == 1
    assert "ends within a line" in notice
    store.promote("b", "after it")
    assert [each[3] for each in told(store)] == ["a", "b"]
    assert store.history()[1] == []


@pytest.mark.parametrize("line", [b"{}\n", b"\n", b"\xff\xfe\n", b'{"at": 5}\n'])
def test_a_history_that_nobody_wrote_is_refused_by_line_and_stays_as_it_is(store: Store, line: bytes) -> None:
    history = store.root / "history.jsonl"
    history.write_bytes(history.read_bytes() + line)
    with pytest.raises(HistoryError, match=r"history.jsonl line 2 is not a switch"):
        store.history()
    with pytest.raises(HistoryError, match=r"line 2"):
        store.rollback("why")
    assert history.read_bytes().endswith(line)
    assert store.named("champion") == "a"


PROMOTER = """
import sys
from pathlib import Path
from models.store import Store
Store(Path(sys.argv[1])).promote(sys.argv[2], "at once")
"""
LOCKS = Path("/proc/locks")


def wait_for_the_lock(processes: list["subprocess.Popen[str]"]) -> None:
    """Return once all of them wait for a lock that somebody else holds."""
    deadline = time.monotonic() + 120
    while True:
        waiting = {line.split()[5] for line in LOCKS.read_text().splitlines() if "-> FLOCK" in line}
        if {str(process.pid) for process in processes} <= waiting:
            return
        assert all(process.poll() is None for process in processes), "it did not wait for its turn"
        assert time.monotonic() < deadline, "it does not get as far as the lock"
        time.sleep(0.02)


@pytest.mark.skipif(not LOCKS.exists(), reason="needs /proc/locks to see who waits")
def test_processes_that_promote_at_once_take_turns_and_each_finds_what_the_one_before_it_left(store: Store) -> None:
    with one_writer(store.root):
        running = [
            subprocess.Popen([sys.executable, "-c", PROMOTER, str(store.root), version], text=True)
            for version in ("a", "b")
        ]
        wait_for_the_lock(running)
        (store.root / "champion").write_text("c\n", encoding="utf-8")
    assert [process.wait(timeout=120) for process in running] == [0, 0]

    _, one, two = store.history()[0]
    assert (one.before, two.before) == ("c", one.after)
    assert {one.after, two.after} == {"a", "b"}
    assert store.named("champion") == two.after


def test_a_process_that_is_killed_lets_go_of_the_store(store: Store) -> None:
    code = (
        "import sys, time; from pathlib import Path; from models.durable import one_writer\n"
        "with one_writer(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(store.root)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    assert store.promote("b", "why").after == "b"


def test_a_store_that_only_can_be_read_is_read(store: Store) -> None:
    (store.root / "lock").unlink()
    assert store.history()[0]
    assert not (store.root / "lock").exists(), "a reader writes nothing"


@pytest.mark.parametrize("url", ["s3://models/store", "gs://b", "file:///models", "memory://x"])
def test_a_url_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="only local directories are supported today"):
        Store(Path(url))


def test_a_store_that_is_not_there_is_empty_and_takes_no_switch(tmp_path: Path) -> None:
    store = Store(tmp_path / "none")
    assert (store.versions(), store.named("champion"), store.history()) == ([], None, ([], []))
    with pytest.raises(StoreError, match="is not a directory"):
        store.promote("a", "why")
    assert not store.root.exists()
