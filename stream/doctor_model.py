"""The bundle in force, the store's pointers, and what an archive needs to be read."""

from collections.abc import Iterator

from models.bundle import STARTER, BundleError, load_bundle
from models.runtime import MissingRuntimeError
from models.spec import BundleSpec
from models.store import Store, StoreError
from models.switches import HistoryError
from stream.doctor_finding import Finding, error, note, ok, warning
from stream.in_force import bundle_in_force
from stream.plurals import count_of
from stream.settings import Settings, mask_url


def check_bundle(settings: Settings) -> tuple[list[Finding], BundleSpec | None]:
    """Return what the bundle in force proves here, and its spec if it does: sums, golden outputs, runtime."""
    try:
        loaded = load_bundle(bundle_in_force(settings), settings.runtime, settings.runtime_threads)
    except (BundleError, MissingRuntimeError, OSError) as failed:
        fix = "put it right as it says, or `tenfold models rollback`; a running scorer goes on with the one it has"
        return [error("bundle-refused", str(failed), fix)], None
    spec = loaded.spec
    told = f"bundle {spec.model_version} proves its sums and golden outputs in {loaded.runtime.name}"
    findings = [ok("bundle", told)]
    if loaded.bundle.directory.parent == STARTER:
        what = f"there is no champion in {settings.model_store}: the starter scores, trained on simulated payments"
        findings.append(note("starter-in-force", what))
    return findings, spec


def check_store(settings: Settings) -> Iterator[Finding]:
    """Yield what does not fit in the model store."""
    try:
        store = Store(settings.model_store, settings.runtime, settings.runtime_threads)
        _, notices = store.history()
        challenger = store.named("challenger")
    except (StoreError, HistoryError) as failed:
        yield error("store-unreadable", str(failed), "correct it by hand; the directory's versions are not touched")
        return
    missing = "and there is no such bundle"
    for notice in notices:
        if notice.startswith("champion") and missing in notice and settings.model is None:
            continue  # check_bundle has said so
        yield warning("store-notice", notice, "look at `tenfold models list`, then promote or roll back again")
    if challenger is None or challenger not in store.versions():
        return
    try:
        store.verify(challenger)
    except (BundleError, StoreError, MissingRuntimeError) as failed:
        yield warning("challenger-refused", str(failed), "`tenfold models shadow --off`, or copy the bundle again")


def has_challenger(settings: Settings) -> bool:
    """Return whether a scorer would score with a challenger, into a topic of its own."""
    return settings.model is None and (settings.model_store / "challenger").exists()


def check_archive(settings: Settings) -> Iterator[Finding]:
    """Yield whether a rebuild could read the archive.

    Raises:
        training.extras.MissingExtraError: the packages that read it are not installed.
        training.archive.ArchiveError: it cannot be read.
    """
    if not settings.archive:
        yield note("no-archive", "no TENFOLD_ARCHIVE: windows can be rebuilt from what the input topic still has")
        return
    from training.extras import require_archive_extra  # noqa: PLC0415 -- only who has an archive needs pyarrow

    require_archive_extra()
    from training.archive import open_archive  # noqa: PLC0415

    files = len(open_archive(settings.archive).files(settings.input_topic))
    place = mask_url(settings.archive)
    if files:
        yield ok("archive", f"the archive at {place} has {count_of(files, 'file')} of {settings.input_topic}")
    else:
        yield warning(
            "archive-empty",
            f"the archive at {place} has nothing of {settings.input_topic}: no window can be rebuilt from it",
            "start `tenfold archive run`, or correct TENFOLD_ARCHIVE",
        )
