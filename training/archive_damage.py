"""Which file of the archive is to blame where DuckDB cannot go on: its errors do not say."""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from training.archive import SCHEMAS, Archive, Kind
from training.archive_reader import BATCH_ROWS, look_at


@contextmanager
def naming_the_file(archive: Archive, *topics: tuple[str, Kind]) -> Iterator[None]:
    """Turn DuckDB's errors within the block into one that names the file of these topics that cannot be read.

    To find it, all files are read; that takes a while, but only then.

    Raises:
        training.archive.ArchiveError: a file is damaged, gone, or has not the columns of its kind.
        duckdb.Error: every file is as it should be.
    """
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error:  # where a page is damaged, it is of no class of its own
        for topic, kind in topics:
            for name in archive.files(topic):
                for _ in look_at(archive, name, SCHEMAS[kind]).rows(BATCH_ROWS):
                    pass
        raise
