"""What a scorer says of itself while its loop is busy."""

import pytest

from stream.health import WAITING_AFTER_S, Health


def test_a_batch_that_waits_for_kafka_is_logged_soon_and_once(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    health = Health(clock=lambda: now, why_not_ready=None)

    def logged() -> list[str]:
        health.look()
        return [record.message for record in caplog.records]

    now += WAITING_AFTER_S
    assert logged() == []
    now += 1
    assert logged() == logged() == ["no answer yet"]
    health.turn()
    assert logged() == ["no answer yet"]
    now += WAITING_AFTER_S + 1
    assert logged() == ["no answer yet"] * 2


def test_a_loop_that_has_said_why_it_waits_is_not_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    health = Health(clock=lambda: now, why_not_ready="Redis does not answer")
    now += 2 * WAITING_AFTER_S
    health.look()

    assert caplog.records == []
