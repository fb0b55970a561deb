"""The bundle that a scorer takes when it starts."""

from pathlib import Path

from models.bundle import BundleError, resolve_model
from stream.settings import Settings


def bundle_in_force(settings: Settings) -> Path:
    """Return its directory: of ``TENFOLD_MODEL``, else of the store's champion, else of the starter.

    A store that was named has to be there: a typo, or a mount that is missing after a reboot, would else put the
    starter in the champion's place without a word.

    Raises:
        BundleError: what is named is not there.
    """
    named = "model_store" in settings.model_fields_set
    if settings.model is None and named and not settings.model_store.is_dir():
        raise BundleError(
            f"TENFOLD_MODEL_STORE names {settings.model_store}, and there is no such directory: correct or mount it; "
            "in a new, empty one the starter scores until there is a champion"
        )
    return resolve_model(settings.model, settings.model_store)
