"""The store: a directory of immutable bundles, and two pointers, ``champion`` and ``challenger``, that name one each.

A pointer is a file with a name in it. It is switched whole, and its switch is written down before (``history.jsonl``):
a crash between the two is seen by whoever looks next. Writers take turns; readers, the scorer above all, need no lock.
"""

import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from models.bundle import STARTER, BundleError, LoadedBundle, resolve_model
from models.decisions import DECISIONS, Decision, keep_decision, read_decisions
from models.durable import LOCK, no_writer, one_writer, remove, replace_text, sync_directory
from models.runtime import RuntimeName
from models.spec import BundleSpec
from models.switches import HISTORY, Pointer, Switch, champion_before, discrepancy, read_history, write_down
from models.verification import read_spec, verify_version

RETIRED = ".retired"  # what is retired is kept here, whole

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")  # as the spec's model_version
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # Path makes one slash of two
_TAKEN = {*get_args(Pointer), HISTORY, DECISIONS, LOCK}


class StoreError(Exception):
    """The store refuses; the message names what, why, and what to do."""


@dataclass(frozen=True)
class Store:
    """Bundles in ``root`` and the pointers beside them.

    Raises:
        StoreError: ``root`` is a URL.
    """

    root: Path
    runtime: RuntimeName | Literal["auto"] = "onnxruntime"  # what bundles are verified in
    threads: int = 1
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __post_init__(self) -> None:
        if _URL.match(str(self.root)):
            raise StoreError(
                f"the model store {self.root} is a URL, and only local directories are supported today: "
                "set TENFOLD_MODEL_STORE to a directory, or to where the remote one is mounted"
            )

    def versions(self) -> list[str]:
        """Return the names of the bundles, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(path.name for path in self.root.iterdir() if _is_version(path.name) and path.is_dir())

    def directory(self, version: str) -> Path:
        """Return the directory of a bundle.

        Raises:
            StoreError: ``version`` is not the name of a bundle here.
        """
        if not _is_version(version) or not (self.root / version).is_dir():
            shipped = next((each for each in STARTER.glob("*") if version == f"starter-{each.name}"), None)
            if shipped is not None:
                raise StoreError(
                    f"{version} ships with Tenfold, in {shipped} (its card.md tells what it is), and there is no copy "
                    f"of it in {self.root}: that takes copying the directory to {self.root / version}"
                )
            known = f"there is {names}" if (names := ", ".join(self.versions())) else "`tenfold train` writes one"
            raise StoreError(f"there is no bundle {version!r} in {self.root}: {known}")
        return self.root / version

    def named(self, pointer: Pointer) -> str | None:
        """Return what ``pointer`` names, whether or not there is such a bundle; ``None`` if it names nothing."""
        try:
            return (self.root / pointer).read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            return None

    def history(self) -> tuple[list[Switch], list[str]]:
        """Return the switches, oldest first, and in words what was left unfinished or does not fit them.

        Raises:
            models.switches.HistoryError: the history, or that of the gate's decisions, cannot be read.
        """
        if not self.root.is_dir():
            return [], []
        with no_writer(self.root):
            switches, torn = read_history(self.root)
            _, cut = read_decisions(self.root)
            named = {pointer: self.named(pointer) for pointer in get_args(Pointer)}
        notices = [f"{self.root / HISTORY} ends within a line: that switch was not made"] if torn else []
        notices += (
            [f"{self.root / DECISIONS} ends within a line: upon that decision nothing was switched"] if cut else []
        )
        notices += [told for pointer, name in named.items() if (told := discrepancy(switches, pointer, name))]
        notices += [
            f"{pointer} names {name!r}, and there is no such bundle in {self.root}"
            for pointer, name in named.items()
            if name is not None and name not in self.versions()
        ]
        return switches, notices

    def verify(self, version: str) -> LoadedBundle:
        """Return a bundle that proved itself: sums, golden outputs, features, window, and its own name.

        Raises:
            StoreError: there is none of that name.
            BundleError: it does not verify.
            models.runtime.MissingRuntimeError: the engine is not installed.
        """
        return verify_version(self.directory(version), self.runtime, self.threads)

    def decisions(self, *versions: str) -> list[Decision]:
        """Return what the gate decided, oldest first; with ``versions`` only where all of them were in it.

        Raises:
            models.switches.HistoryError: the decisions cannot be read.
        """
        if not self.root.is_dir():
            return []
        with no_writer(self.root):
            decisions, _ = read_decisions(self.root)
        return [each for each in decisions if {each.challenger, each.champion}.issuperset(versions)]

    def keep(self, decision: Decision) -> None:
        """Keep a decision upon which nothing is switched, for good."""
        with one_writer(self._existing()):
            keep_decision(self.root, decision)

    def check(self, version: str, reason: str, *, windows_rebuilt: bool = False) -> None:
        """Raise what :meth:`promote` raises, and switch nothing: to compare takes minutes, and this a moment."""
        _one_line(reason)
        self._existing()
        self._checked(version, windows_rebuilt=windows_rebuilt)

    def promote(
        self, version: str, reason: str, *, windows_rebuilt: bool = False, decision: Decision | None = None
    ) -> Switch:
        """Make ``version`` the champion. Nothing is compared; a challenger that becomes champion is none any more.

        Args:
            version: a bundle of the store.
            reason: kept in the history; no user data.
            windows_rebuilt: the stored windows were rebuilt as ``version`` wants them, so a longer one is not refused.
            decision: of the gate, kept before the switch is written down.

        Raises:
            StoreError: there is none of that name, it is champion already, was split by row, its window is longer, or
                the decision is about another champion.
            BundleError: it does not verify.
        """
        told = _one_line(reason)
        with one_writer(self._existing()):
            if decision is not None and decision.champion != self.named("champion"):
                raise StoreError(
                    f"the champion is {self.named('champion')} now, and {version} was judged beside "
                    f"{decision.champion}: promote it again"
                )
            self._checked(version, windows_rebuilt=windows_rebuilt)
            if decision is not None:
                keep_decision(self.root, decision)
            switch = self._switch("champion", version, "promote", told)
            if self.named("challenger") == version:
                self._switch("challenger", None, "promote", told)
        return switch

    def rollback(self, reason: str, *, windows_rebuilt: bool = False) -> Switch:
        """Make the champion before the present one champion again; a second rollback goes further back.

        Raises:
            StoreError: there is none before, or as :meth:`promote`.
            BundleError: it does not verify.
        """
        told = _one_line(reason)
        with one_writer(self._existing()):
            switches, _ = read_history(self.root)
            before = champion_before(switches, self.named("champion"))
            if before is None:
                raise StoreError(self._no_way_back())
            self._checked(before, windows_rebuilt=windows_rebuilt)
            return self._switch("champion", before, "rollback", told)

    def shadow(self, version: str | None) -> Switch:
        """Make ``version`` the challenger, or with ``None`` end that there is one.

        Raises:
            StoreError: there is none of that name, or it is champion or challenger already.
            BundleError: it does not verify.
        """
        with one_writer(self._existing()):
            if version is not None:
                if version == self.named("champion"):
                    raise StoreError(f"{version} is the champion: a challenger is another bundle")
                self.verify(version)
            return self._switch("challenger", version, "shadow", None)

    def adopt_first(self, version: str) -> Switch | None:
        """Make a bundle that was just trained the champion if the store has none; return the switch, if so.

        Raises:
            StoreError, BundleError: as :meth:`promote`.
        """
        with one_writer(self._existing()):
            if self.named("champion") is not None:
                return None
            self.verify(version)
            return self._switch("champion", version, "train", "the first of the store")

    def retire(self, version: str) -> Path:
        """Move a bundle out of the versions, and return where it is kept.

        Raises:
            StoreError: there is none of that name, a pointer names it, or one of that name was retired before.
        """
        with one_writer(self._existing()):
            directory, kept = self.directory(version), self.root / RETIRED / version
            for pointer in get_args(Pointer):
                if self.named(pointer) == version:
                    way_out = "promote another" if pointer == "champion" else "`tenfold models shadow --off`"
                    raise StoreError(
                        f"{version} is the {pointer}, and is not retired as long as it is: {way_out} first"
                    )
            if kept.exists():
                raise StoreError(f"{kept} exists: a bundle of that name was retired before; move it away first")
            kept.parent.mkdir(exist_ok=True)
            os.rename(directory, kept)  # noqa: PTH104 - Path.rename says nothing of atomic
            for changed in (kept.parent, self.root):
                sync_directory(changed)
        return kept

    def _no_way_back(self) -> str:
        none_before = f"the history of {self.root} has no champion before this one"
        if self.named("champion") is None:
            return f"{none_before}: there is none, and the starter is in force"
        copy = self.root / "starter-default"
        copying = f"`cp -r {shlex.quote(str(STARTER / 'default'))} {shlex.quote(str(copy))}`, then "
        return (
            f"{none_before}: promote one by its name. For the starter, which was in force before the first: "
            f"{'' if copy.exists() else copying}`tenfold models promote {copy.name} --force --reason WHY`"
        )

    def _existing(self) -> Path:
        if not self.root.is_dir():
            raise StoreError(
                f"{self.root} is not a directory: `tenfold train` makes a store, TENFOLD_MODEL_STORE names it"
            )
        return self.root

    def _checked(self, version: str, *, windows_rebuilt: bool) -> None:
        """Refuse what must not become champion, whoever is better."""
        if version == self.named("champion"):
            raise StoreError(f"{version} is the champion already")
        loaded = self.verify(version)
        if loaded.bundle.metrics.get("split") == "rows":
            raise StoreError(f"{version} was split by row, for comparison: such a bundle never becomes champion")
        if not windows_rebuilt:
            self._refuse_longer(loaded.spec)

    def _refuse_longer(self, spec: BundleSpec) -> None:
        """Refuse a bundle that looks further back than the windows that groups have stored for the champion."""
        way_out = (
            f"stop the scorers, run `TENFOLD_MODEL={self.root / spec.model_version} tenfold reset --rebuild`, "
            "then this again with --windows-rebuilt, and start them (docs/models.md)"
        )
        try:
            stored = read_spec(resolve_model(None, self.root))
        except BundleError as error:
            raise StoreError(f"how long the stored windows are is not known, as {error}; or {way_out}") from error
        if spec.sequence_length > stored.sequence_length or spec.window_max_age_ms > stored.window_max_age_ms:
            raise StoreError(
                f"{spec.model_version} looks back {_window(spec)}, and the stored windows are those of "
                f"{stored.model_version}, {_window(stored)}: {way_out}"
            )

    def _switch(
        self,
        pointer: Pointer,
        version: str | None,
        action: Literal["train", "promote", "rollback", "shadow"],
        reason: str | None,
    ) -> Switch:
        before = self.named(pointer)
        if before == version:
            raise StoreError(f"{version} is the {pointer} already" if version else f"there is no {pointer}")
        switch = Switch(at=self.now(), pointer=pointer, action=action, before=before, after=version, reason=reason)
        write_down(self.root, switch)
        if version is None:
            remove(self.root / pointer)
        else:
            replace_text(self.root / pointer, f"{version}\n")
        return switch


def _is_version(name: str) -> bool:
    return _VERSION.fullmatch(name) is not None and name not in _TAKEN


def _one_line(reason: str) -> str:
    told = reason.strip()
    if not told or not told.isprintable() or len(told) > 500:
        raise StoreError("a reason is one line of 1 to 500 printable characters: say why, without user data")
    return told


def _window(spec: BundleSpec) -> str:
    return f"{spec.sequence_length} transactions and {spec.window_max_age_ms / 86_400_000:g} days"
