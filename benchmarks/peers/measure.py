"""Engines side by side on one backlog, in turns, and each checked: a rate counts only if the work was done."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from confluent_kafka import Message, Producer

from benchmarks.peers.agreement import Agreement, Scores, Transaction, check, expected_scores, in_order
from benchmarks.peers.run import PARTITIONS, Engine, Timed, run
from models.bundle import load_bundle, starter
from tests.oracle import read_topic
from tests.topics import Topics

Result = dict[str, str | int | float | list[float]]

_EXCERPT_USERS = 12  # few, so that their windows fill


@dataclass(frozen=True)
class Backlog:
    """A topic to score, and what must come of it."""

    topic: str
    expected: Scores
    comparable: set[Transaction]  # whose probabilities an engine must agree on


def measure(bootstrap: str, redis_url: str, topic: str, engines: Sequence[Engine], rounds: int) -> list[Result]:
    """Let the engines score a topic in turns, ``rounds`` times; return their figures, in the order of ``engines``.

    Args:
        bootstrap: a broker on which processes started together join together, see :func:`benchmarks.peers.run.run`.
        redis_url: a Redis that nobody else uses.
        topic: transactions, none of them bad, that nobody adds to; read from its beginning.
        engines: the first one is what the others are compared with.
        rounds: how often each has its turn.

    Returns:
        For each engine, fit for JSON: ``engine``, ``version``, ``variant``, ``processes``, ``events``;
        ``events_per_s`` and ``cpu_us_per_event``, medians; ``events_per_s_by_round``; ``first_is_faster_by``, the
        median of the ratios within a round; ``least_busy_process``, the least CPU of a process against their mean;
        ``compared`` and ``largest_difference``, of probabilities with the tests' oracle.

    Raises:
        ValueError: a topic too short for an engine that is timed on an excerpt.
        benchmarks.peers.agreement.DisagreementError: an engine did not do the work.
        benchmarks.peers.run.UnfitBrokerError: processes would join one after the other.
        tests.processes.StartError: a process ended or stood still; its last lines are in the message.
    """
    topics, records = Topics(bootstrap), read_topic(bootstrap, topic)
    whole = Backlog(topic, *_expected(records))
    backlogs = [_excerpt(bootstrap, records, topics, e) if e.excerpt else whole for e in engines]
    timed: list[list[Timed]] = [[] for _ in engines]
    agreements: list[list[Agreement]] = [[] for _ in engines]
    try:
        for _ in range(rounds):
            for engine, backlog, its_timed, its_agreements in zip(engines, backlogs, timed, agreements, strict=True):
                taken, output = run(bootstrap, redis_url, backlog.topic, engine)
                name = f"{engine.name} ({engine.variant})"
                its_agreements.append(check(name, output, backlog.expected, backlog.comparable))
                its_timed.append(taken)
    finally:
        topics.delete_all()
    return [_result(*figures, timed[0]) for figures in zip(engines, timed, agreements, strict=True)]


def _result(engine: Engine, timed: list[Timed], agreements: list[Agreement], first: list[Timed]) -> Result:
    rates = [each.events_per_s for each in timed]
    ratios = [theirs.events_per_s / rate for theirs, rate in zip(first, rates, strict=True)]
    return {
        "engine": engine.name,
        "version": engine.version,
        "variant": engine.variant,
        "processes": engine.processes,
        "events": timed[0].events,
        "events_per_s": round(median(rates), 1),
        "events_per_s_by_round": [round(rate, 1) for rate in rates],
        "first_is_faster_by": round(median(ratios), 2),
        "cpu_us_per_event": round(median(each.cpu_us_per_event for each in timed), 1),
        "least_busy_process": round(min(each.least_busy for each in timed), 2),
        "compared": min(each.compared for each in agreements),
        "largest_difference": max(float(f"{each.largest_difference:.1e}") for each in agreements),
    }


def _expected(records: Iterable[Message]) -> tuple[Scores, set[Transaction]]:
    scores = expected_scores(records, load_bundle(starter("default")))
    return scores, set(scores)


def _excerpt(bootstrap: str, records: list[Message], topics: Topics, engine: Engine) -> Backlog:
    """Make a topic of the first events of a few users, as many as the engine takes."""
    users = set(list(dict.fromkeys(record.key() for record in records))[:_EXCERPT_USERS])
    taken = [record for record in records if record.key() in users][: engine.excerpt]
    if len(taken) < engine.excerpt:
        raise ValueError(f"{len(users)} users have {len(taken)} events, too few for {engine.name}: give the topic more")
    topic = topics.create("excerpt", PARTITIONS)
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    for record in taken:
        producer.produce(topic, key=record.key(), value=record.value())
    if producer.flush(60):
        raise RuntimeError(f"{bootstrap} did not take {len(taken)} records for the excerpt within a minute")
    return Backlog(topic, _expected(taken)[0], in_order(taken))
