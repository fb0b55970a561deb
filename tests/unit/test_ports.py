"""Ports for servers of tests: nobody is given another's, for a server may be yet to start, or stopped for a while."""

from pathlib import Path

import pytest

from tests.processes import free_port
from tests.redis_servers import port_beside_a_bus


def test_no_port_is_given_twice() -> None:
    given = [free_port() for _ in range(500)]
    assert len(set(given)) == len(given)


def test_workers_beside_each_other_have_ports_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    given = dict[int, set[int]]()
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")
    for worker in range(3):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{worker}")
        given[worker] = {free_port() for _ in range(300)}
        assert all(port % 3 == (15_000 + worker) % 3 for port in given[worker])
    assert len(set.union(*given.values())) == 900


def test_no_server_is_given_a_port_that_clients_are_given_too() -> None:
    """Else a client that was there first keeps the server from its port, as it kept a cluster's node from its bus."""
    told = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(told.read_text().split()[0]) if told.exists() else 0
    if first < 32_000:
        pytest.skip(f"clients are given ports from {first} here")
    assert all(port_beside_a_bus() + 10_000 < first for _ in range(20))
    assert free_port() < first
