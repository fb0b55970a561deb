"""What came before the log: the archive's part of a rebuild, if one is configured."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from models.window import Records
from stream.settings import Settings


class Past(NamedTuple):
    """Events of one partition from before its log begins, in order."""

    users: Sequence[bytes]  # under the names that their windows have: the settings' newest pseudonyms, if there are any
    records: Records  # [n] RECORD, side by side with the users
    last: int | None  # the greatest offset among them; None for imported history


#: Given a partition, the topic's id and the offset at which the log begins, what came before.
History = Callable[[int, str, int], Iterator[Past]]


def open_history(settings: Settings) -> History | None:
    """Return the history that ``TENFOLD_ARCHIVE`` holds, or ``None``. The archive is opened when it is asked.

    Raises:
        training.extras.MissingExtraError: the packages that read it are not installed.
    """
    if not settings.archive:
        return None
    from training.extras import require_archive_extra  # noqa: PLC0415 -- pyarrow costs a scorer 60 MB that needs none

    require_archive_extra()

    def history(partition: int, topic_id: str, end: int) -> Iterator[Past]:
        from training.archive import open_archive  # noqa: PLC0415
        from training.archive_history import read_past  # noqa: PLC0415

        archive = open_archive(settings.archive, settings.pseudonyms)
        return read_past(archive, settings.input_topic, partition, topic_id, end)

    return history
