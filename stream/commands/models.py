"""Commands about the store of bundles, and which of them is in force."""

from typing import Annotated

import typer

from stream.commands.options import ArchiveUrl, Json, tell
from stream.commands.shown import at_work


def _versions() -> list[str]:
    """Return the names that a shell may complete; none where settings or store cannot be read."""
    from models.store import Store, StoreError
    from stream.settings import SettingsError, load

    try:
        return Store(load().model_store).versions()
    except (OSError, SettingsError, StoreError):
        return []


def _complete_version(incomplete: str) -> list[str]:
    return [version for version in _versions() if version.startswith(incomplete)]


Version = Annotated[
    str,
    typer.Argument(help="A bundle's name in the store.", metavar="NAME", autocompletion=_complete_version),
]
Reason = Annotated[str, typer.Option(help="Kept in the store's history; no user data.", metavar="WHY")]
WindowsRebuilt = Annotated[
    bool,
    typer.Option("--windows-rebuilt", help="Stored windows were rebuilt for it: a longer window is not refused."),
]


def models_list(as_json: Json = False) -> None:
    """List the bundles of the store, its champion and challenger, and their last switches; nothing is verified.

    Example: tenfold models list
    """
    from stream.models_command import listed
    from stream.settings import load

    tell(listed(load()), as_json=as_json)


def models_show(version: Version, as_json: Json = False) -> None:
    """Show what a bundle says about itself; nothing is verified.

    Example: tenfold models show default-20260301T020000Z
    """
    from stream.models_command import shown
    from stream.settings import load

    tell(shown(load(), version), as_json=as_json)


def models_verify(
    version: Annotated[
        str | None,
        typer.Argument(
            help="A bundle's name in the store.  [default: all]", metavar="NAME", autocompletion=_complete_version
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify sums, golden outputs, features and window of a bundle, or of all; exit with 1 if one is refused.

    Example: tenfold models verify default-20260301T020000Z
    """
    from stream.models_command import verified
    from stream.settings import load

    with at_work("verifying"):
        told = verified(load(), version)
    tell(told, as_json=as_json)


def models_diff(one: Version, other: Version, as_json: Json = False) -> None:
    """Show where two bundles differ: features, window, threshold, training, and measures of their own test days.

    Example: tenfold models diff default-20260201T020000Z default-20260301T020000Z
    """
    from stream.models_command import differing
    from stream.settings import load

    tell(differing(load(), one, other), as_json=as_json)


def models_promote(
    version: Version,
    reason: Reason,
    archive: ArchiveUrl = None,
    windows_rebuilt: WindowsRebuilt = False,
    force: Annotated[bool, typer.Option("--force", help="Compare nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Make a bundle the champion, if it verifies and is not worse than the champion on the same held-out days.

    Both score the archive's latest labelled days that neither has learned from. Worse in average precision, card
    precision or log loss, or too few frauds to tell, and nothing is switched: exit code 1. The decision is kept.

    A window longer than the stored ones is refused.

    Example: tenfold models promote default-20260301T020000Z --archive /srv/archive --reason "knows the new terminals"
    """
    from stream.models_command import promoted
    from stream.settings import load

    def say(line: str) -> None:
        typer.echo(line, err=True)

    settings = load()
    with at_work("verifying and comparing"):
        told = promoted(
            settings, version, reason, windows_rebuilt=windows_rebuilt, force=force, archive=archive, say=say
        )
    tell(told, as_json=as_json)


def models_rollback(reason: Reason, windows_rebuilt: WindowsRebuilt = False, as_json: Json = False) -> None:
    """Make the champion before this one champion again; a second rollback goes further back.

    Running scorers take it within seconds (TENFOLD_MODEL_POLL_S). A window longer than the stored ones is refused.

    Example: tenfold models rollback --reason "flags twice as many"
    """
    from stream.models_command import rolled_back
    from stream.settings import load

    tell(rolled_back(load(), reason, windows_rebuilt=windows_rebuilt), as_json=as_json)


def models_shadow(
    version: Annotated[
        str | None,
        typer.Argument(help="A bundle's name in the store.", metavar="NAME", autocompletion=_complete_version),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="No challenger any more.")] = False,
    as_json: Json = False,
) -> None:
    """Make a bundle the challenger, if it verifies: running scorers score with it, too, into a topic of its own.

    Its scores are on TENFOLD_SHADOW_TOPIC, how far it agrees with the champion in the metrics.

    Example: tenfold models shadow default-20260301T020000Z
    """
    from stream.models_command import shadowed
    from stream.settings import load

    if (version is None) != off:
        raise typer.BadParameter("give one of NAME, --off")
    tell(shadowed(load(), version), as_json=as_json)


def models_retire(version: Version, as_json: Json = False) -> None:
    """Move a bundle that is neither champion nor challenger out of the versions, into .retired; nothing is deleted.

    Example: tenfold models retire default-20260201T020000Z
    """
    from stream.models_command import retired
    from stream.settings import load

    tell(retired(load(), version), as_json=as_json)
