"""Faults at random, one after the other, on three scorers under load; then the oracle.

``python -m tests.chaos.long --seed 7``, a part of ``make chaos``. It ends after so many faults, and not before so many
scorers were killed.
"""

import argparse
import itertools
import random
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import redis

from models.bundle import load_bundle, starter
from tests.brokers import KafkaBroker, RedisServer
from tests.chaos.conftest import CHAOS
from tests.chaos.faults import StoppingScorer, stopped, until
from tests.chaos.ledger import held, note, scaled
from tests.chaos.report import KILL
from tests.scorers import Deployment, Scorer, verdict_of
from tests.topics import Topics
from tests.traffic import Record, produce, traffic

_FAULTS, _KILLS = 60, 30
_RATE = 500.0
_SCORERS = 3
_SETTLE_S = 240.0
_AT_WORK_S = 15.0


class UnexpectedEndError(Exception):
    """A scorer ended that nobody had killed; the message ends with its log."""


@dataclass
class Chaos:
    """The parts that are broken, and what was done to them."""

    rng: random.Random
    kafka: KafkaBroker
    redis_server: RedisServer
    deployment: Deployment
    scorers: list[Scorer] = field(default_factory=list)
    kills: int = 0

    def any_scorer(self) -> Scorer:
        """Take a scorer out of the group of those that should run."""
        return self.scorers.pop(self.rng.randrange(len(self.scorers)))

    def fill_up(self) -> None:
        """Start scorers until there are three, in place of those that ended by plan."""
        for scorer in [scorer for scorer in self.scorers if not scorer.process.running]:
            code = scorer.process.end(signal.SIGTERM)
            if code == -signal.SIGKILL and isinstance(scorer, StoppingScorer):
                self.kills += 1
                note(f"{KILL} at a stage boundary")
            elif code != 1 or "scorer started" in scorer.log_text or "does not answer" not in scorer.log_text:
                raise UnexpectedEndError(f"a scorer ended with {code}:\n{scorer.log_text[-3000:]}")
            self.scorers.remove(scorer)  # else it was started while Kafka or Redis was down, and said so
        while len(self.scorers) < _SCORERS:
            if self.rng.random() < 0.4:
                at = self.rng.choice(["before-commit", "after-commit", "half-saved", "after-save", "catching-up"])
                self.scorers.append(StoppingScorer(self.deployment, at, self.rng.randint(1, 15)))
            else:
                self.scorers.append(self.deployment.scorer())

    def let_work(self) -> None:
        """Mostly wait until all of them are at work, so that faults find something to break; sometimes do not."""
        if self.rng.random() < 0.75:
            deadline = time.monotonic() + _AT_WORK_S
            while time.monotonic() < deadline and not all(
                scorer.get("/readyz")[0] == 200 for scorer in self.scorers if scorer.process.running
            ):
                time.sleep(0.1)
        time.sleep(self.rng.uniform(0.2, 3))

    def kill_scorer(self) -> None:
        """kill -9 of a scorer."""
        self.any_scorer().kill()
        self.kills += 1

    def stop_scorer(self) -> None:
        """SIGTERM to a scorer."""
        self.any_scorer().stop()

    def pause_scorer(self) -> None:
        """SIGSTOP, then SIGCONT."""
        with stopped(self.rng.choice(self.scorers)):
            time.sleep(self.rng.uniform(0.5, 7))  # the session ends after 3 s, a transaction after 5 s

    def flush_redis(self) -> None:
        """FLUSHALL."""
        with redis.Redis.from_url(self.deployment.redis_url) as client:
            client.flushall()

    def pause_redis(self) -> None:
        """CLIENT PAUSE."""
        with redis.Redis.from_url(self.deployment.redis_url) as client:
            client.client_pause(self.rng.randint(200, 3_000))

    def kill_redis(self) -> None:
        """kill -9 of Redis, which keeps what it has answered."""
        self.redis_server.kill()
        time.sleep(self.rng.uniform(0, 2))
        self.redis_server.restart()

    def kill_kafka(self) -> None:
        """kill -9 of the broker."""
        self.kafka.kill()
        time.sleep(self.rng.uniform(0, 2))
        self.kafka.restart()

    def inject(self) -> str:
        """Do one thing at random, and say what."""
        faults: dict[Callable[[], None], int] = {
            self.kill_scorer: 8,
            self.stop_scorer: 2,
            self.pause_scorer: 3,
            self.flush_redis: 3,
            self.pause_redis: 1,
            self.kill_redis: 2,
            self.kill_kafka: 1,
        }
        [fault] = self.rng.choices(list(faults), list(faults.values()))
        fault()
        done = str(fault.__doc__).rstrip(".")
        note(done)
        return done


def until_told(stop: threading.Event, seed: int) -> Iterator[Record]:
    """Yield transactions until ``stop`` is set."""
    for record in traffic(100_000_000, users=1_000, seed=seed):
        if stop.is_set():
            return
        yield record


def run(seed: int, directory: Path) -> None:
    """Break things, let everything settle, ask the oracle.

    Raises:
        AssertionError: it has found something.
        UnexpectedEndError: a scorer ended that nobody had killed.
    """
    kafka, redis_server = KafkaBroker(directory, for_long=True), RedisServer(directory)
    kafka.start()
    redis_server.start(appendonly=True)
    group = f"chaos-{uuid.uuid4().hex[:8]}"
    deployment = Deployment.create(Topics(kafka.bootstrap), kafka.bootstrap, redis_server.url, group, directory)
    deployment.settings |= CHAOS
    chaos = Chaos(random.Random(seed), kafka, redis_server, deployment)
    stop = threading.Event()
    load = threading.Thread(
        target=produce, args=(kafka.bootstrap, deployment.input_topic, until_told(stop, seed), _RATE), daemon=True
    )
    load.start()
    try:
        for number in itertools.count(1):
            chaos.fill_up()
            if number > scaled(_FAULTS) and chaos.kills >= scaled(_KILLS):
                break
            chaos.let_work()
            print(f"fault {number}, {chaos.kills} scorers killed before: {chaos.inject()}", flush=True)
        stop.set()
        load.join()
        for scorer in chaos.scorers:
            scorer.kill()
            note(KILL)
        last = deployment.scorer()
        deployment.wait_until_scored([last], _SETTLE_S)
        until(lambda: last.get("/readyz")[0] == 200, 60, "not ready in the end", last)
        last.stop()
        held(verdict_of(load_bundle(starter("default")), deployment)[1], "faults at random")
    finally:
        stop.set()
        for scorer in chaos.scorers:
            scorer.kill()
        redis_server.discard()
        kafka.discard()


def main() -> None:
    """Run in a directory that is gone afterwards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="of the faults, their order and their pauses")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tenfold-chaos-") as directory:
        run(options.seed, Path(directory))


if __name__ == "__main__":
    main()
