"""Partitions written on a Dask cluster, with the very function that one machine uses.

The workers read the archive and write the columns themselves: both have to lie where every worker and this machine see
them under the same path or URL, and workers have to run the same Tenfold.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from distributed import Client, KilledWorker

from stream.errors import TenfoldError
from training.archive import Archive, FileName
from training.samples import Plan, write_partition

_WORKER_WITHIN_S = 60  # an empty cluster would otherwise be waited for without a word


class ClusterError(TenfoldError):
    """The cluster cannot do the work; the message says why and what to do."""


def write_on_cluster(
    address: str, archive: Archive, plan: Plan, repeats: Mapping[int, pa.Table], directory: Path
) -> None:
    """Run :func:`training.samples.write_partition` for each partition, wherever the scheduler puts it.

    A partition whose worker is lost is written again by another one, from its beginning.

    Args:
        address: of the scheduler, such as ``tcp://scheduler:8786``.
        archive: where the partitions are.
        plan: what is kept of them.
        repeats: by partition, rows that are left out; the partitions are these.
        directory: where the files go.

    Raises:
        ClusterError: no scheduler or worker answers, or one sees other files than this machine, or workers die of it.
        training.archive.ArchiveError: a file cannot be read.
    """
    with _connected(address) as client:
        _see_that_files_are_shared(client, archive, archive.files(plan.topic)[0], directory)
        everywhere = client.scatter(plan, broadcast=True)  # it can be large: once a worker, not once a partition
        written = [
            client.submit(write_partition, archive, partition, everywhere, repeated, directory, pure=False)
            for partition, repeated in repeats.items()
        ]
        try:
            client.gather(written)
        except KilledWorker as error:
            raise ClusterError(
                f"workers of {address} died while they replayed a partition ({error}): look at their logs; one needs "
                "some 400 bytes for each user of a partition and 200 MB"
            ) from None


class _TidyClient(Client):  # type: ignore[misc]  # it has no types
    """A client that is closed when it cannot start.

    Else the collection of garbage closes it, in any thread and under any lock: a process can hang in it forever.
    """

    def start(self, **kwargs: Any) -> None:
        """Connect; close what was begun if that fails."""
        try:
            super().start(**kwargs)
        except BaseException:
            self.close()
            raise


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    try:
        client = _TidyClient(address)
    except (OSError, ValueError) as error:  # a timeout is an OSError
        raise ClusterError(
            f"--dask {address}: no Dask scheduler answers ({error}); give one as tcp://host:8786"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, _WORKER_WITHIN_S)
        except TimeoutError:
            raise ClusterError(f"--dask {address}: it has no worker; start some with `dask worker {address}`") from None
        yield client


def _see_that_files_are_shared(client: Client, archive: Archive, name: FileName, directory: Path) -> None:
    marker = directory / "shared"
    marker.touch()
    answers: dict[str, Any] = client.run(_unseen, archive, name, marker, on_error="return")
    marker.unlink()
    for worker, answer in answers.items():
        if isinstance(answer, Exception):
            raise ClusterError(
                f"the worker {worker} cannot begin ({type(answer).__name__}: {answer}): it needs the Tenfold of this "
                "machine with its archive extra, and the archive's credentials"
            )
        if answer is not None:
            raise ClusterError(
                f"the worker {worker} does not see {answer}: archive and model store have to lie on a file system that "
                "all workers share with this machine, under the same path, for the same user"
            )


def _unseen(archive: Archive, name: FileName, marker: Path) -> str | None:
    """Return what of the two a worker does not see."""
    if not marker.exists():
        return str(marker.parent)
    return None if archive.exists(name) else archive.url(name.path)
