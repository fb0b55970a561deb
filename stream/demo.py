"""``tenfold demo``: simulated payments through a real scorer, on a broker and a Redis that live as long as the demo.

First a history as fast as the scorer takes it, so that windows are full; then the rest at a rate that can be watched.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from confluent_kafka import Consumer, Producer, TopicPartition
from pydantic import SecretStr

from stream import demo_parts
from stream.clients import open_client, producer_config, reader_config
from stream.contract import FRAUD_SCORE
from stream.demo_keys import Keys, no_keys
from stream.demo_next import tenfold_as
from stream.demo_parts import DemoError, ScorerProcess
from stream.demo_tally import Phase, Summary, Tally
from stream.demo_traffic import EVENTS_A_USER, DemoRecord, demo_records
from stream.settings import Settings

MIN_EVENTS, DEFAULT_EVENTS = 100, 20_000
HISTORY_SHARE = 0.6  # of the events: on average twelve of each user's twenty
_UNANSWERED = 5_000  # the mock broker forgets what is further back than 5 MiB a partition
_POLL_S, _VIEW_S, _CALL_S = 0.005, 0.1, 10.0
_AT_ONCE = 1000
_STALLED_S = 30.0


@dataclass(frozen=True)
class DemoPlan:
    """How much is sent, and how fast."""

    events: int
    users: int
    rate: float  # events a second of the live part
    seed: int
    seconds: float | None = None  # ends after so long, if that is earlier

    @property
    def history(self) -> int:
        """How many of the events are sent as fast as possible."""
        return int(self.events * HISTORY_SHARE)


def make_plan(events: int | None, seconds: float | None, users: int | None, rate: float, seed: int) -> DemoPlan:
    """Return a plan; with seconds and no number of events it sends for as long as that."""
    if events is None:
        lasting = int((seconds or 0) * rate / (1 - HISTORY_SHARE))
        events = max(DEFAULT_EVENTS, lasting)
    return DemoPlan(events, users or max(events // EVENTS_A_USER, 1), rate, seed, seconds)


class View(Protocol):
    """What shows the demo while it runs."""

    def started(self, what: str) -> None:
        """Say in some lines what runs."""

    def show(self, tally: Tally, phase: Phase) -> None:
        """Show how it stands; called about ten times a second."""

    def pause(self, tally: Tally, phase: Phase) -> None:
        """Show that it stands still; called again and again while it does."""


def run_demo(plan: DemoPlan, view: View, stop: threading.Event, keys: Keys = no_keys) -> Summary:
    """Run until the plan is done or ``stop`` is set; nothing is left running.

    Of ``keys``, space and p pause and go on, and q sets ``stop``.

    Raises:
        DemoError: a part does not start, ends early or does not answer.
    """
    with ExitStack() as parts:
        directory = Path(parts.enter_context(TemporaryDirectory(prefix="tenfold-demo-", dir=demo_parts.place())))
        threshold = demo_parts.threshold()
        settings, what = _start_parts(parts, directory)
        scorer = parts.enter_context(demo_parts.scorer(settings, directory))
        view.started(what)
        return _Run(plan, settings, scorer, threshold, view, stop, keys).run()


def _start_parts(parts: ExitStack, directory: Path) -> tuple[Settings, str]:
    redis = parts.enter_context(demo_parts.redis_server(directory))
    settings = Settings.model_construct(  # the defaults, whatever the environment says
        redis_url=SecretStr(redis.url),
        allow_eviction=redis.imitated,
        delivery="at-least-once",
        dlq_topic="transactions.dlq",
    )
    topics = (settings.input_topic, settings.output_topic, settings.dlq_topic, settings.labels_topic)
    address = parts.enter_context(demo_parts.broker(topics))
    what = (
        "The broker is embedded: librdkafka's mock, in memory, at-least-once only.\n"
        f"Redis is {redis.what}.\n"
        "To look in meanwhile, in another terminal:\n"  # a line of its own, whole above a board of eighty columns
        f"TENFOLD_BOOTSTRAP_SERVERS={address} {tenfold_as(sys.argv[0])} watch"
    )
    return settings.model_copy(update={"bootstrap_servers": address}), what


class _Run:
    """One run: what is due is sent, what is there is read, in turns."""

    def __init__(
        self,
        plan: DemoPlan,
        settings: Settings,
        scorer: ScorerProcess,
        threshold: float,
        view: View,
        stop: threading.Event,
        keys: Keys,
    ) -> None:
        self._plan, self._settings, self._scorer, self._view, self._stop = plan, settings, scorer, view, stop
        self._keys = keys
        self._producer: Producer = open_client(Producer, producer_config(settings))
        self._consumer: Consumer = open_client(
            Consumer, reader_config(settings) | demo_parts.FETCH_WAIT | {"enable.partition.eof": False}
        )
        self._paused_s = 0.0
        self._begun = self._now()
        self._tally = Tally(self._begun, threshold)
        self._answered, self._answered_at = 0, self._begun
        self._shown_at = 0.0

    def run(self) -> Summary:
        """Send, read, and return how it went."""
        records = demo_records(self._plan.events, self._plan.users, self._plan.seed, datetime.now(UTC))
        try:
            self._consumer.assign(list(self._outputs()))
            self._play(islice(records, self._plan.history), "history", rate=None)
            self._play(records, "live", self._plan.rate)
        finally:
            self._consumer.close()
            self._producer.close()
        return self._tally.summary(self._now())

    def _now(self) -> float:
        """Return the time of a monotonic clock that stands still in a pause once all is answered, in seconds."""
        return time.monotonic() - self._paused_s

    def _outputs(self) -> Iterator[TopicPartition]:
        for topic in (self._settings.output_topic, self._settings.dlq_topic):
            for partition in self._consumer.list_topics(topic, _CALL_S).topics[topic].partitions:
                yield TopicPartition(topic, partition, 0)

    def _play(self, records: Iterator[DemoRecord], phase: Phase, rate: float | None) -> None:
        """Send the records, at ``rate`` a second if given, and return when all are answered."""
        begun, number, record = self._now(), 0, next(records, None)
        while not self._ended():
            if self._is_paused_by(self._keys()):
                self._stand_still(phase)
            due = self._plan.events if rate is None else (self._now() - begun) * rate
            while record is not None and number <= due and self._tally.unanswered < _UNANSWERED:
                self._tally.sent(record, self._now(), phase)
                self._producer.produce(self._settings.input_topic, key=record.key, value=record.value)
                number, record = number + 1, next(records, None)
            self._producer.poll(0)
            self._read()
            self._look(phase)
            if record is None and self._tally.unanswered == 0:
                break
        self._view.show(self._tally, phase)

    def _is_paused_by(self, typed: str) -> bool:
        if "q" in typed.lower():
            self._stop.set()
        return typed.lower().replace("p", " ").count(" ") % 2 == 1

    def _stand_still(self, phase: Phase) -> None:
        """Send and show nothing until a key is pressed.

        The scorer goes on, and what it still has to answer is read; then the clock stands still.
        """
        while not self._ended() and not self._is_paused_by(self._keys()):
            since = time.monotonic()
            self._view.pause(self._tally, phase)
            self._producer.poll(0)
            is_idle = self._tally.unanswered == 0
            self._read()
            self._scorer.require_running()
            if is_idle:
                self._paused_s += time.monotonic() - since

    def _read(self) -> None:
        """Read what was answered."""
        first = self._consumer.poll(_POLL_S)
        if first is None:
            return
        now = self._now()
        for message in (first, *self._consumer.consume(_AT_ONCE, 0)):
            problem = message.error()
            if problem is not None:
                raise DemoError(f"the scores cannot be read: {problem.str()}")
            if message.topic() == self._settings.output_topic:
                self._tally.scored(FRAUD_SCORE.validate_json(message.value() or b""), now)
            else:
                self._tally.dead(_text(dict(message.headers() or [])["reason"]))

    def _look(self, phase: Phase) -> None:
        """Show how it stands, and see that it goes on."""
        now = self._now()
        if now - self._shown_at < _VIEW_S:
            return
        self._shown_at = now
        self._view.show(self._tally, phase)
        self._scorer.require_running()
        if self._tally.answered > self._answered or self._tally.unanswered == 0:
            self._answered, self._answered_at = self._tally.answered, now
        elif now - self._answered_at > _STALLED_S:
            raise DemoError(
                f"the scorer has left {self._tally.unanswered} events unanswered for {_STALLED_S:.0f} s: "
                f"{self._scorer.last_words}"
            )

    def _ended(self) -> bool:
        seconds = self._plan.seconds
        return self._stop.is_set() or (seconds is not None and self._now() - self._begun > seconds)


def _text(header: str | bytes | None) -> str:
    return header.decode() if isinstance(header, bytes) else str(header)
