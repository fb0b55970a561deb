"""Partitions written on a Dask cluster: the same files as on one machine, and what is said of one that cannot."""

import gc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="needs the training extra")
distributed = pytest.importorskip("distributed", reason="needs the training extra")
dask = pytest.importorskip("dask", reason="needs the training extra")

from typer.testing import CliRunner  # noqa: E402

from models.context import DAY_MS, day_number  # noqa: E402
from stream.cli import app  # noqa: E402
from tests.processes import free_port  # noqa: E402
from tests.simulated_archive import TOPICS, put_simulated  # noqa: E402
from tests.wanted import WANTED as BASE  # noqa: E402
from training import cluster  # noqa: E402
from training.archive import Archive, ArchiveError, open_archive  # noqa: E402
from training.archive_dataset import dataset_of  # noqa: E402
from training.cluster import ClusterError, write_on_cluster  # noqa: E402
from training.dataset import Part as Windowed  # noqa: E402
from training.labels import open_labels  # noqa: E402
from training.periods import Part, Periods  # noqa: E402
from training.samples import Plan, write_partition  # noqa: E402
from training.simulator import DEFAULT_START  # noqa: E402

PARTITIONS = 4

WANTED = replace(BASE, context=(), until=None, label_delay_days=3, validation_days=4, test_days=4, honest_per_fraud=200)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    archive = open_archive(str(tmp_path_factory.mktemp("archive")))
    put_simulated(archive, users=150, days=24, partitions=PARTITIONS)
    return archive


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    """Two processes, of one thread each."""
    patient = {"distributed.comm.timeouts.connect": "200s", "distributed.comm.timeouts.tcp": "200s"}
    with (
        dask.config.set(patient),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as workers,
    ):
        workers.wait_for_workers(2, 200)
        yield workers


@pytest.fixture(scope="module")
def plan(archive: Archive) -> Plan:
    first = day_number(DEFAULT_START.date())
    periods = Periods(*((first + day) * DAY_MS for day in (0, 10, 12, 16, 16, 20)))
    with open_labels(archive, TOPICS) as labels:
        frauds = labels.known_frauds((first + 24) * DAY_MS)
    return Plan(TOPICS.transactions, 10, 90 * DAY_MS, periods, dict.fromkeys(Part, frauds), 0.5, 3)


@pytest.fixture(scope="module")
def repeats(archive: Archive) -> dict[int, pa.Table]:
    with open_labels(archive, TOPICS) as labels:
        return {partition: labels.repeats(partition) for partition in range(PARTITIONS)}


def test_two_workers_write_what_one_machine_writes(
    archive: Archive, plan: Plan, repeats: dict[int, pa.Table], workers: Any, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    for partition, repeated in repeats.items():
        write_partition(archive, partition, plan, repeated, here)

    write_on_cluster(workers.scheduler_address, archive, plan, repeats, there)

    written = {path.name: path.read_bytes() for path in there.iterdir()}
    assert written == {path.name: path.read_bytes() for path in here.iterdir()}
    users = {name: np.frombuffer(content, np.uint64) for name, content in written.items() if ".users." in name}
    assert len(users) == len(Part) * PARTITIONS
    assert all(len(column) > 50 for column in users.values())


def test_a_dataset_is_the_same_wherever_its_partitions_are_replayed(
    archive: Archive, workers: Any, tmp_path: Path
) -> None:
    def parts(name: str, dask: str | None) -> Iterator[Windowed]:
        (tmp_path / name).mkdir()
        dataset = dataset_of(archive, TOPICS, "fraud-scores", WANTED, tmp_path / name, dask=dask).dataset
        yield from (dataset.train, dataset.validation, dataset.test)

    for here, there in zip(parts("here", None), parts("there", workers.scheduler_address), strict=True):
        assert len(there) > 100
        for column in ("features", "users", "is_fraud"):
            assert getattr(there, column).tobytes() == getattr(here, column).tobytes()
        assert there.windows.records.tobytes() == here.windows.records.tobytes()
        assert there.windows.lengths.tolist() == here.windows.lengths.tolist()


@pytest.mark.training
def test_the_option_leads_to_the_cluster(archive: Archive, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="needs the training extra")
    days = ["--label-delay", "3d", "--validation-days", "4", "--test-days", "4"]
    where = ["--archive", archive.root, "--store", str(tmp_path / "store"), "--dask", "scheduler"]
    result = CliRunner().invoke(app, ["train", *where, *days])
    assert isinstance(result.exception, ClusterError)
    assert list((tmp_path / "store").iterdir()) == []


def test_an_error_of_a_worker_is_the_one_that_this_machine_would_have_had(
    plan: Plan, repeats: dict[int, pa.Table], workers: Any, tmp_path: Path
) -> None:
    broken = open_archive(str(tmp_path / "archive"))
    put_simulated(broken, users=5, days=2, partitions=1)
    [name, *_] = broken.files(TOPICS.transactions)
    Path(broken.full(name.path)).write_bytes(b"PAR1")
    (tmp_path / "columns").mkdir()
    with pytest.raises(ArchiveError, match="cannot be read"):
        write_on_cluster(workers.scheduler_address, broken, plan, {0: repeats[0]}, tmp_path / "columns")


def test_a_worker_that_does_not_see_the_files_is_named(
    archive: Archive,
    plan: Plan,
    repeats: dict[int, pa.Table],
    workers: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # not so the workers, which look for the name where they were started
    Path("columns").mkdir()
    with pytest.raises(ClusterError, match="does not see columns: archive and model store have to lie on a file"):
        write_on_cluster(workers.scheduler_address, archive, plan, repeats, Path("columns"))

    alone = open_archive("memory://archive")  # the memory of this process
    put_simulated(alone, users=5, days=1, partitions=1)
    with pytest.raises(ClusterError, match="does not see memory://"):
        write_on_cluster(workers.scheduler_address, alone, plan, repeats, tmp_path)
    assert list(Path("columns").iterdir()) == []


def test_a_cluster_that_is_not_there_or_has_no_workers_is_said(
    archive: Archive, plan: Plan, repeats: dict[int, pa.Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_WORKER_WITHIN_S", 0.1)
    collected: list[str] = []  # where a client is that was left open, closing it can hang
    monkeypatch.setattr(cluster.Client, "__del__", lambda client: collected.append(client.status))
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        for address in (f"tcp://127.0.0.1:{free_port()}", "scheduler", "nonsense://127.0.0.1:1"):
            with pytest.raises(ClusterError, match=rf"--dask {address}: no Dask scheduler answers"):
                write_on_cluster(address, archive, plan, repeats, tmp_path)
    gc.collect()
    assert set(collected) == {"closed"}
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as empty,
        pytest.raises(ClusterError, match="it has no worker; start some"),
    ):
        write_on_cluster(empty.scheduler_address, archive, plan, repeats, tmp_path)
