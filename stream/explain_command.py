"""``tenfold explain``: each message of a transaction, told from the topics, or from the archive where they lack it."""

from collections.abc import Iterator
from typing import Any

from stream.errors import TenfoldError
from stream.explain_model import NotKeptError
from stream.explain_topic import NotKept, Place, told_from_topics
from stream.progress import Counted
from stream.settings import Settings


def explained(
    settings: Settings, transaction_id: str, archive: str | None, progress: Counted
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what can be told of each message of a transaction, and what is missing of the others.

    Args:
        settings: where topics are, and the archive for what they do not have any more, if there is one.
        transaction_id: whose messages.
        archive: where to look, and there only.
        progress: counts the records that were looked at.

    Raises:
        stream.explain_model.NotKeptError: nothing is known of the transaction.
        stream.errors.TenfoldError: Kafka, Redis, the model, or an archive that is all there is, cannot be read.
    """
    if archive is not None:
        return list(_from_archive(settings, transaction_id, archive, progress)), []
    try:
        every = list(told_from_topics(settings, transaction_id, progress))
    except NotKeptError:
        if not settings.archive:
            raise
        return list(_from_archive(settings, transaction_id, None, progress)), []
    gone = {each.place: each.why for each in every if isinstance(each, NotKept)}
    found = {_place(each): each for each in every if not isinstance(each, NotKept)}
    hint = "an archive may have it: --archive"
    if gone and settings.archive:
        hint = "the archive does not have it"
        try:
            kept = {_place(each): each for each in _from_archive(settings, transaction_id, None, progress)}
        except NotKeptError:
            kept = {}
        except TenfoldError as error:  # what Kafka has told stands
            kept, hint = {}, f"the archive does not say: {error}"
        found |= {place: told for place, told in kept.items() if place in gone}
    missing = [f"{why}; {hint}" for place, why in gone.items() if place not in found]
    return [told for _, told in sorted(found.items())], missing


def _from_archive(
    settings: Settings, transaction_id: str, archive: str | None, progress: Counted
) -> Iterator[dict[str, Any]]:
    from training.extras import require_archive_extra  # noqa: PLC0415 -- only who has an archive needs pyarrow

    require_archive_extra()
    from training.archive_command import archive_of  # noqa: PLC0415
    from training.explain_archive import told_from_archive  # noqa: PLC0415

    return told_from_archive(archive_of(archive, settings), settings, transaction_id, progress)


def _place(told: dict[str, Any]) -> Place:
    return told["source"]["partition"], told["source"]["offset"]
