"""``tenfold models``: the store of bundles, as text and as JSON."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from models.bundle import METRICS, BundleError
from models.decisions import Decision
from models.runtime import MissingRuntimeError
from models.spec import BundleSpec
from models.store import Store, StoreError
from models.switches import HistoryError, Switch
from models.verification import read_metrics, read_spec
from stream.errors import TenfoldError, UsageError
from stream.gate_lines import decision_line, decision_lines
from stream.settings import Settings

_DAY_MS = 86_400_000
_FOLLOWED = "running scorers follow within seconds (their TENFOLD_MODEL_POLL_S)"
_SWITCHES = 10  # so many, and as many decisions, are listed as text; JSON has all


class ModelsError(TenfoldError):
    """The store or a bundle refuses; the message says which, why, and what to do."""


class Told(NamedTuple):
    """The answer of a command."""

    result: Any  # for JSON
    lines: list[str]
    good: bool = True  # else the command exits with 1


def listed(settings: Settings) -> Told:
    """Tell versions, pointers, switches, and whatever does not fit together. Nothing is verified.

    Raises:
        ModelsError: the history cannot be read.
    """
    with _explained(settings) as store:
        switches, notices = store.history()
        decisions = store.decisions()
        pointers = {"champion": store.named("champion"), "challenger": store.named("challenger")}
        rows = [_row(store, version) for version in store.versions()]
    result = {
        "store": str(store.root),
        **pointers,
        "versions": rows,
        "notices": notices,
        "history": [switch.model_dump(mode="json") for switch in switches],
        "decisions": _dumped(decisions),
    }
    lines = _aligned(rows, pointers) or [f"no bundle in {store.root}: `tenfold train` writes one"]
    if pointers["champion"] is None:
        lines.append("no champion: the starter is in force")
    lines += [_switch_line(switch) for switch in switches[-_SWITCHES:]]
    lines += [decision_line(decision) for decision in decisions[-_SWITCHES:]]
    return Told(result, lines + [f"NOTE {notice}" for notice in notices])


def shown(settings: Settings, version: str) -> Told:
    """Tell what a bundle says about itself, unproven.

    Raises:
        ModelsError: there is none of that name, or it says nothing.
    """
    with _explained(settings) as store:
        directory = store.directory(version)
        spec, metrics = read_spec(directory), read_metrics(directory)
        pointers = [pointer for pointer in ("champion", "challenger") if store.named(pointer) == version]
        decisions = store.decisions(version)
    facts = spec.model_dump(mode="json")
    lines = [f"{name:22} {_text(value)}" for name, value in (facts | _numbers(metrics)).items()]
    result = {"version": version, "directory": str(directory), "pointers": pointers, "spec": facts, "metrics": metrics}
    return Told(
        result | {"decisions": _dumped(decisions)},
        [
            *(f"{'directory':22} {directory}", f"{'pointers':22} {', '.join(pointers) or 'none'}"),
            *lines,
            *(line for decision in decisions for line in decision_lines(decision)),
        ],
    )


def verified(settings: Settings, version: str | None) -> Told:
    """Verify one bundle, or all of the store, and tell what became of each.

    Raises:
        ModelsError: there is none of that name, or the engine is not installed.
    """
    results: dict[str, str | None] = {}
    with _explained(settings) as store:
        if version is not None:
            store.directory(version)
        for each in store.versions() if version is None else [version]:
            try:
                store.verify(each)
                results[each] = None
            except BundleError as error:
                results[each] = str(error)
    return Told(
        {each: {"verified": refused is None, "refused": refused} for each, refused in results.items()},
        [f"{each}: verified" if refused is None else f"{each}: REFUSED {refused}" for each, refused in results.items()]
        or [f"no bundle in {store.root}: `tenfold train` writes one"],
        not any(results.values()),
    )


def differing(settings: Settings, one: str, other: str) -> Told:
    """Tell where two bundles' specs and measures differ, and what the gate decided where it compared them.

    Their own measures are of different days, and say little of which is better.

    Raises:
        ModelsError: there is none of that name, or it says nothing of itself.
    """
    with _explained(settings) as store:
        told = [_facts(store.directory(version)) for version in (one, other)]
        decisions = store.decisions(one, other) if one != other else []
    names = list(dict.fromkeys([*told[0], *told[1]]))
    differences = {name: (told[0].get(name), told[1].get(name)) for name in names}
    differences = {name: pair for name, pair in differences.items() if pair[0] != pair[1]}
    result: dict[str, Any] = {name: {one: pair[0], other: pair[1]} for name, pair in differences.items()}
    lines = [f"{name:34} {_text(pair[0])} -> {_text(pair[1])}" for name, pair in differences.items()]
    return Told(
        result | ({"decisions": _dumped(decisions)} if decisions else {}),
        (lines or ["no difference"]) + [line for decision in decisions for line in decision_lines(decision)],
    )


def promoted(
    settings: Settings,
    version: str,
    reason: str,
    *,
    windows_rebuilt: bool,
    force: bool,
    archive: str | None,
    say: Callable[[str], None],
) -> Told:
    """Make a bundle the champion if the gate finds it not worse; the decision is kept, and told when it is no.

    Args:
        settings: the store, the engine, the topics.
        version: the bundle.
        reason: kept with decision and switch.
        windows_rebuilt: a longer window is not refused.
        force: nothing is compared.
        archive: where the held-out days are; as the settings say by default.
        say: is told what is compared.

    Raises:
        ModelsError: the bundle is refused whatever the gate says, or cannot be compared; nothing was switched.
    """
    with _explained(settings) as store:
        store.check(version, reason, windows_rebuilt=windows_rebuilt)
        champion = store.named("champion")
        if force or champion is None:
            decision = Decision(
                at=store.now(),
                challenger=version,
                champion=champion,
                outcome="no champion" if champion is None else "forced",
                reason=reason.strip(),
                comparison=None,
            )
        else:
            decision = _decision(store, settings, version, reason.strip(), archive, say)
        if decision.outcome == "refused":
            store.keep(decision)
            lines = ["nothing was switched; if it has to be: --force, which compares nothing"]
            return Told(
                {"switch": None, "decision": decision.model_dump(mode="json")},
                decision_lines(decision) + lines,
                good=False,
            )
        switch = store.promote(version, reason, windows_rebuilt=windows_rebuilt, decision=decision)
        told = _switched(settings, switch)
    return Told(
        {"switch": told.result, "decision": decision.model_dump(mode="json")}, decision_lines(decision) + told.lines
    )


def _decision(
    store: Store, settings: Settings, version: str, reason: str, archive: str | None, say: Callable[[str], None]
) -> Decision:
    """Ask the gate, which needs an archive, and what reads it."""
    way_out = "; to promote it uncompared: --force, with the reason why"
    try:
        # where nothing is compared, the extra need not be installed
        from training.extras import require_archive_extra  # noqa: PLC0415

        require_archive_extra()
        from training.archive_command import url_of  # noqa: PLC0415
        from training.gate_command import decide  # noqa: PLC0415

        return decide(store, settings, url_of(archive, settings), version, reason, say)
    except (TenfoldError, BundleError) as error:
        refused = UsageError if isinstance(error, UsageError) else ModelsError
        raise refused(f"{version} is not compared with the champion: {error}{way_out}") from error


def rolled_back(settings: Settings, reason: str, *, windows_rebuilt: bool) -> Told:
    """Make the champion before this one champion again.

    Raises:
        ModelsError: refused; nothing was switched.
    """
    with _explained(settings) as store:
        return _switched(settings, store.rollback(reason, windows_rebuilt=windows_rebuilt))


def shadowed(settings: Settings, version: str | None) -> Told:
    """Make a bundle the challenger, or with ``None`` none.

    Raises:
        ModelsError: refused; nothing was switched.
    """
    with _explained(settings) as store:
        switch = store.shadow(version)
    return Told(switch.model_dump(mode="json"), [_switch_line(switch), _FOLLOWED])


def retired(settings: Settings, version: str) -> Told:
    """Move a bundle out of the versions.

    Raises:
        ModelsError: refused; nothing was moved.
    """
    with _explained(settings) as store:
        kept = store.retire(version)
    return Told(
        {"version": version, "kept": str(kept)}, [f"{version} is in {kept} now; delete it there, or move it back"]
    )


@contextmanager
def _explained(settings: Settings) -> Iterator[Store]:
    try:
        yield Store(settings.model_store, settings.runtime, settings.runtime_threads)
    except (StoreError, HistoryError, BundleError, MissingRuntimeError) as error:
        raise ModelsError(str(error)) from None
    except OSError as error:
        raise ModelsError(
            f"{error.filename or settings.model_store}: {error.strerror}; see with `tenfold models list` what was done"
        ) from error


def _dumped(decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    return [decision.model_dump(mode="json") for decision in decisions]


def _switched(settings: Settings, switch: Switch) -> Told:
    lines = [_switch_line(switch), _FOLLOWED]
    if settings.model is not None:
        lines.append(f"NOTE TENFOLD_MODEL is set here, to {settings.model}: where it is, the champion is not asked for")
    return Told(switch.model_dump(mode="json"), lines)


def _row(store: Store, version: str) -> dict[str, Any]:
    try:
        directory = store.directory(version)
        spec, metrics = read_spec(directory), read_metrics(directory)
    except BundleError as error:
        return {"version": version, "problem": str(error)}
    return {
        "version": version,
        "created_at": f"{spec.created_at:%Y-%m-%dT%H:%M:%SZ}",
        "preset": spec.preset,
        "sequence_length": spec.sequence_length,
        "window_max_age_days": spec.window_max_age_ms / _DAY_MS,
        "auc": metrics.get("auc"),
        "average_precision": metrics.get("average_precision"),
    }


def _aligned(rows: Sequence[Mapping[str, Any]], pointers: Mapping[str, str | None]) -> list[str]:
    marks = [" ".join(pointer for pointer, named in pointers.items() if named == row["version"]) for row in rows]
    longest = max((len(row["version"]) for row in rows), default=0)
    widest = max(map(len, marks), default=0)
    return [
        f"{row['version'].ljust(longest)}  {mark.ljust(widest)}  {_what_it_is(row)}"
        for row, mark in zip(rows, marks, strict=True)
    ]


def _what_it_is(row: Mapping[str, Any]) -> str:
    if "problem" in row:
        return str(row["problem"])
    measures = f"AUC {_text(row['auc'])}  AP {_text(row['average_precision'])}"
    return f"{row['created_at'][:10]}  {row['preset']:8}  {measures}"


def _switch_line(switch: Switch) -> str:
    change = f"{switch.pointer} {_text(switch.before)} -> {_text(switch.after)}"
    line = f"{switch.at:%Y-%m-%dT%H:%M:%SZ} {switch.action}: {change}"
    return f"{line} ({switch.reason})" if switch.reason else line


def _facts(directory: Path) -> dict[str, Any]:
    spec: BundleSpec = read_spec(directory)
    return spec.model_dump(mode="json", exclude={"model_version"}) | {
        f"{METRICS} {name}": value for name, value in _numbers(read_metrics(directory)).items()
    }


def _numbers(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if isinstance(value, int | float | str)}


def _text(value: object) -> str:
    match value:
        case None:
            return "none"
        case float():
            return f"{value:.4g}"
        case list() | tuple():
            return ", ".join(map(str, value)) or "none"
        case dict():
            return ", ".join(f"{name} {each}" for name, each in value.items())
        case _:
            return str(value)
