"""Long work says how far it has come, and not more often than anyone reads."""

import logging

import pytest

from stream.progress import EVERY_S, Progress


def test_a_line_every_few_seconds_with_the_rate_so_far(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    log = logging.getLogger("test.progress")
    with caplog.at_level(logging.INFO, log.name):
        progress = Progress(log, "reading", lambda: now, partition=3)
        for step in range(1, 13):
            now = 100.0 + step * EVERY_S / 4
            progress.add(50, offset=step)
    assert [(line.message, line.partition, line.offset) for line in caplog.records] == [  # type: ignore[attr-defined]
        ("reading", 3, 4),
        ("reading", 3, 8),
        ("reading", 3, 12),
    ]
    assert [line.records for line in caplog.records] == [200, 400, 600]  # type: ignore[attr-defined]
    assert {line.records_per_s for line in caplog.records} == {round(200 / EVERY_S)}  # type: ignore[attr-defined]
