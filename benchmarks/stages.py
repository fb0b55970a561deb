"""Section 3: what an event costs, stage by stage, and what it costs Kafka and Redis.

The stages are the scorer's own functions, called one after the other on a real topic: in the scorer they overlap, and
then a stage's time holds its waiting for the other threads.
"""

import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from confluent_kafka import Consumer

from benchmarks.harness import Backlog, Parts, Run, backlog, parts, run
from benchmarks.rounds import middle
from benchmarks.section import Row, Size, Table
from benchmarks.windows import fill
from models.bundle import LoadedBundle, load_bundle, starter
from stream.answers import Answers, answer
from stream.clients import consumer_config
from stream.contract import timestamp
from stream.encode import Output
from stream.microbatch import MicroBatch, fetch, prepare, score
from stream.publisher import TransactionalPublisher
from stream.settings import Settings, load
from stream.window_store import Mark, WindowStore, open_store
from tests.oracle import read_topic
from tests.topics import Topics

_USERS = 5_000
_STAGES = ("fetch", "decode", "load", "advance", "model", "encode", "produce", "commit", "save")
_WAIT_S = 30.0
_FRAME = 9  # bytes of lengths, attributes, offset and time in a record of Kafka's format 2


def measure(size: Size) -> list[Table]:
    """Profile the stages, and run the scorer beside it for the CPU of all parts."""
    with parts() as on:
        waiting = backlog(on, size.events, _USERS)
        profile, output = _profile(on, waiting, load_bundle(starter("default")))
        sizes = {name: _record_bytes(on, topic) for name, topic in (("payment", waiting.topic), ("score", output))}
        live = middle([run(on, waiting) for _ in range(size.rounds)])
    log: list[Row] = [{"of a": name, "bytes": round(size)} for name, size in sizes.items()]
    return [
        Table("Stages one after the other, microseconds an event", profile, _STAGES_NOTE),
        Table(
            "The scorer, microseconds an event", _live(live), "In the scorer stages overlap, and wait for one another."
        ),
        Table("Records in the log", log, "Key, value, headers and frame; not compressed."),
    ]


_STAGES_NOTE = "Time of the calling thread, and of its CPU. librdkafka's own threads work beside it: the last row."


@dataclass
class _Clock:
    """Sums of time by stage."""

    wall_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    cpu_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.thread_time()
        yield
        self.wall_s[stage] += time.perf_counter() - wall
        self.cpu_s[stage] += time.thread_time() - cpu


def _profile(on: Parts, waiting: Backlog, bundle: LoadedBundle) -> tuple[list[Row], str]:
    topics = Topics(on.kafka.bootstrap)
    settings = load(
        bootstrap_servers=on.kafka.bootstrap,
        redis_url=on.redis.url,
        group_id=f"stages-{uuid.uuid4().hex[:8]}",
        input_topic=waiting.topic,
        output_topic=topics.create("fraud-scores", waiting.partitions),
        dlq_topic=topics.create("dlq"),
    )
    fill(on.redis.url, on.kafka.bootstrap, settings.group_id, waiting.topic, waiting.users)
    store = open_store(settings)
    marks = {partition: _mark(store, partition) for partition in range(waiting.partitions)}
    clock, events = _Clock(), 0
    cpu_before, own_before = time.process_time(), time.thread_time()
    with (
        closing(Consumer({**consumer_config(settings), "auto.offset.reset": "earliest"})) as consumer,
        closing(TransactionalPublisher(settings, "stages", lambda: False)) as publisher,
    ):
        consumer.subscribe([waiting.topic])
        while events < waiting.events:
            batch = _fetch(consumer, settings, marks, clock)
            prepared = prepare(batch, clock)
            fetched = fetch(prepared, store, before=None, timer=clock)
            scored = score(prepared, fetched, bundle, before=None, timer=clock)
            with clock("encode"):
                answers = answer(scored, bundle.spec, timestamp(time.time_ns() // 1_000_000))
            _publish(publisher, batch, answers, clock)
            with clock("save"):
                saved = store.save(scored.saves)
            if not all(saved):
                raise RuntimeError("the windows were moved while the stages were measured: who scores?")
            marks |= batch.ends
            events += len(batch)
    beside_s = (time.process_time() - cpu_before) - (time.thread_time() - own_before)
    rows: list[Row] = [_row(stage, clock.wall_s[stage] / events, clock.cpu_s[stage] / events) for stage in _STAGES]
    total = _row("sum", sum(clock.wall_s.values()) / events, sum(clock.cpu_s.values()) / events)
    beside: Row = {"stage": "threads beside", "time": "", "CPU": round(1e6 * beside_s / events, 2)}
    return [*rows, total, beside], settings.output_topic


def _record_bytes(on: Parts, topic: str) -> float:
    """Return the mean size of a topic's records."""
    sizes = [
        _FRAME
        + len(message.key() or b"")
        + len(message.value() or b"")
        + sum(len(name) + len(value or b"") + 2 for name, value in dict(message.headers() or []).items())
        for message in read_topic(on.kafka.bootstrap, topic)
    ]
    return sum(sizes) / len(sizes)


def _mark(store: WindowStore, partition: int) -> Mark:
    mark = store.mark(partition)
    if mark is None:
        raise RuntimeError(f"partition {partition} has no mark, and was just given one: is Redis another's?")
    return mark


def _fetch(consumer: Consumer, settings: Settings, marks: dict[int, Mark], clock: _Clock) -> MicroBatch:
    first = consumer.poll(_WAIT_S)  # the first of all waits for the group, the others have waited since the last batch
    if first is None:
        raise RuntimeError(f"{settings.input_topic} sends nothing for {_WAIT_S:g} s")
    with clock("fetch"):
        messages = [first, *consumer.consume(settings.batch_size - 1, 0.005)]
        starts: dict[int, Mark] = {}
        group = consumer.consumer_group_metadata()
        batch = MicroBatch(settings.input_topic, [], [], [], [], [], starts, group)
        for message in messages:
            partition, offset = message.partition(), message.offset()
            if partition is None or offset is None:
                raise RuntimeError(f"{settings.input_topic}: {message.error()}")
            starts[partition] = marks[partition]
            batch.partitions.append(partition)
            batch.offsets.append(offset)
            batch.timestamps_ms.append(message.timestamp()[1])
            batch.keys.append(message.key())
            batch.values.append(message.value())
        return batch


def _publish(publisher: TransactionalPublisher, batch: MicroBatch, answers: Answers, clock: _Clock) -> None:
    """Publish; what follows the last message that is taken is the commit."""
    taken: list[tuple[float, float]] = []

    def dead_letters() -> Iterator[Output]:
        yield from answers.dead_letters
        taken.append((time.perf_counter(), time.thread_time()))

    begun = time.perf_counter(), time.thread_time()
    offsets = {partition: end.offset for partition, end in batch.ends.items()}
    publisher.publish(answers.scores, dead_letters(), offsets, batch.group)
    ended = time.perf_counter(), time.thread_time()
    for stage, (wall, cpu), (wall_end, cpu_end) in zip(
        ("produce", "commit"), (begun, taken[0]), (taken[0], ended), strict=True
    ):
        clock.wall_s[stage] += wall_end - wall
        clock.cpu_s[stage] += cpu_end - cpu


def _row(stage: str, wall_s: float, cpu_s: float) -> Row:
    return {"stage": stage, "time": round(1e6 * wall_s, 2), "CPU": round(1e6 * cpu_s, 2)}


def _live(live: Run) -> list[Row]:
    parts_of_it = {
        "one event at this rate": 1e6 / live.events_per_s,
        **{f"CPU of {part}": value for part, value in live.cpu_us.items()},
        **{f"stage {stage}": value for stage, value in live.stage_us.items()},
    }
    return [{"what": what, "µs": round(value, 2)} for what, value in parts_of_it.items()]
