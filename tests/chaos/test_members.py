"""Members that come, go, hang, or bear each other's name: each event is scored by one of them."""

import os
import re
import signal
import time

import pytest

from models.bundle import LoadedBundle
from tests.chaos.faults import StoppingScorer, judged, stop_all, stopped, until
from tests.chaos.ledger import note
from tests.scorers import Deployment, Scorer
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("seconds", [10, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(1_800)])])
def test_members_join_and_leave_every_second(deployment: Deployment, bundle: LoadedBundle, seconds: int) -> None:
    """A storm of rebalances under load.

    Without finishing what is in flight before partitions are given up, without the group metadata of the fetch, or
    with a commit that outlives its assignment, somebody would commit what is somebody else's by then.
    """
    scorers = [deployment.scorer().wait_until_ready(), deployment.scorer()]
    for second in range(seconds):
        produce(deployment.bootstrap, deployment.input_topic, traffic(800, users=300, seed=second), rate=800)
        if second % 2 == 0:
            scorers.append(deployment.scorer())
            note("a member joins")
        else:
            leaving = scorers.pop(0)
            if second % 4 == 1:
                assert stop_all([leaving]) == [0]
                note("a member leaves")
            else:
                leaving.kill()
                note("kill -9 of a scorer")
    deployment.wait_until_scored(scorers, timeout_s=20.0 * seconds)
    assert set(stop_all(scorers)) == {0}
    judged(bundle, deployment, 800 * seconds)


def gone(scorer: Scorer) -> int:
    """Return how often a scorer's partitions were taken: lost, if librdkafka knows by then that they are another's."""
    return scorer.log_text.count('"partitions lost') + scorer.log_text.count('"partitions revoked')


@pytest.mark.parametrize("at", ["before-publish", "after-commit"])
def test_a_zombie_publishes_nothing_and_changes_no_window(
    deployment: Deployment, bundle: LoadedBundle, at: str
) -> None:
    """A process hangs for longer than its session, with a batch in its hands, and goes on when others have it.

    Without the group metadata of the fetch in the transaction, ``before-publish`` would give events two scores;
    without the compare in the save, ``after-commit`` would set windows and mark back to where they were before.
    """
    other = deployment.scorer().wait_until_ready()
    zombie = StoppingScorer(deployment, at, after=3, with_signal="SIGSTOP")
    until(lambda: zombie.metric("tenfold_partitions") > 0, 60, "it is given no partition", zombie)
    produce(deployment.bootstrap, deployment.input_topic, traffic(6_000, users=300, seed=1))
    zombie.wait_until_stopped()
    until(lambda: other.metric("tenfold_partitions") == 3, 30, "its partitions were never taken", other)
    deployment.wait_until_scored([other])
    behind = '"cause": "windows-behind"'
    before, noticed = other.log_text.count(behind), gone(zombie)
    os.kill(zombie.process.pid, signal.SIGCONT)
    until(lambda: gone(zombie) > noticed, 30, "it does not notice", zombie)
    until(lambda: zombie.metric("tenfold_partitions") > 0, 60, "it does not come back into the group", zombie)
    produce(deployment.bootstrap, deployment.input_topic, traffic(3_000, users=300, seed=2))
    deployment.wait_until_scored([zombie, other])
    assert stop_all([zombie, other]) == [0, 0]
    assert (other.log_text + zombie.log_text).count(behind) == before, "the zombie set a mark back"
    judged(bundle, deployment, 9_000)


def test_a_producer_whose_transaction_timed_out_is_replaced(deployment: Deployment, bundle: LoadedBundle) -> None:
    """Stopped for longer than ``transaction.timeout.ms``, alone in its group: the broker ends its transaction.

    Without a new producer after a fatal error, every later batch would fail; without asking the table, a batch whose
    commit was under way would be scored twice or never.
    """
    deployment.settings |= {
        "TENFOLD_KAFKA__transaction.timeout.ms": "2000",
        "TENFOLD_KAFKA__session.timeout.ms": "30000",
        "TENFOLD_BATCH_SIZE": "50",
    }
    scorer = deployment.scorer().wait_until_ready()
    produce(deployment.bootstrap, deployment.input_topic, traffic(8_000, users=300, seed=1))
    for share in (0.1, 0.4):
        until(lambda s=share: scorer.metric("tenfold_events_total") > s * 8_000, 60, "no events", scorer)
        with stopped(scorer):
            note("SIGSTOP, then SIGCONT")
            time.sleep(4.5)  # the broker looks once a second for transactions older than their two
    deployment.wait_until_scored([scorer])
    assert scorer.stop() == 0
    judged(bundle, deployment, 8_000)


def test_of_two_processes_with_one_instance_id_one_ends_and_says_why(
    deployment: Deployment, bundle: LoadedBundle
) -> None:
    """Without the fence, both would score; without an end to it, they would fence each other for ever."""
    deployment.settings["TENFOLD_INSTANCE_ID"] = "zero"
    produce(deployment.bootstrap, deployment.input_topic, traffic(6_000, users=300, seed=1))
    twins = [deployment.scorer().wait_until_ready(), deployment.scorer()]
    note("two processes with one instance id")
    until(lambda: not all(twin.process.running for twin in twins), 60, "both go on", twins[0])
    [ended] = [twin for twin in twins if not twin.process.running]
    [left] = [twin for twin in twins if twin.process.running]
    code = ended.process.end(signal.SIGTERM)
    assert code == 1, ended.log_text[-3000:]
    assert "another process runs as zero" in ended.log_text.splitlines()[-1]
    assert "Traceback" not in ended.log_text
    produce(deployment.bootstrap, deployment.input_topic, traffic(1_000, users=300, seed=2))
    deployment.wait_until_scored([left])
    assert left.stop() == 0
    judged(bundle, deployment, 7_000)


@pytest.mark.parametrize("instance", [pytest.param("", marks=pytest.mark.long), "zero"])
def test_a_clean_stop_leaves_nothing_to_recover(deployment: Deployment, bundle: LoadedBundle, instance: str) -> None:
    """The successor finds windows and offsets at the same place, and no open transaction.

    Without finishing the batch in flight on SIGTERM there would be windows to bring up to date, or a transaction to
    wait for.
    """
    deployment.settings |= {"TENFOLD_INSTANCE_ID": instance} if instance else {}
    scorer = deployment.scorer().wait_until_ready()
    produce(deployment.bootstrap, deployment.input_topic, traffic(6_000, users=300, seed=1))
    until(lambda: scorer.metric("tenfold_events_total") > 0, 30, "no events", scorer)
    assert scorer.stop() == 0
    again = deployment.scorer()
    deployment.wait_until_scored([again])
    assert again.stop() == 0
    assert len(re.findall('"cause": "none"', again.log_text)) == 3
    judged(bundle, deployment, 6_000)
