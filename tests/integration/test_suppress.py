"""Users and merchants that raise no anomaly for a while, on a real Redis and a real scorer."""

import json
import re
import time
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from confluent_kafka import Producer
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from models.bundle import LoadedBundle
from stream.cli import app
from stream.metrics import Metrics
from stream.redis_client import open_redis
from stream.redis_url import split_redis_url
from stream.settings import load
from stream.suppress_command import suppressed
from stream.suppression_rules import Because, Rule, Rules, RulesError
from stream.suppression_watch import Suppressed
from tests.brokers import RedisServer
from tests.oracle import read_topic
from tests.scorers import Deployment
from tests.unit.test_microbatch import START, MemoryStore
from tests.unit.test_reasons_published import USERS, batch_of, crafted, scored_of

pytestmark = pytest.mark.broker

NOW_MS = 1_800_000_000_000
SOON_S = 120.0


@pytest.fixture(params=["redis_url", "redis_nodes"])
def rules(request: pytest.FixtureRequest, group_id: str) -> Rules:
    """On one server, and on a cluster."""
    place = request.getfixturevalue(request.param)
    url = place if isinstance(place, str) else place.url
    return Rules(open_redis(split_redis_url(url), {}), group_id)


def because(at_ms: int = NOW_MS, reason: str = "on holiday") -> Because:
    return Because("eve", at_ms, reason)


def test_a_rule_is_in_force_until_its_end_or_until_it_is_lifted(rules: Rules) -> None:
    first, second = Rule("user", "a:nn", NOW_MS + 60_000, because()), Rule("merchant", "m", NOW_MS + 30_000, because())
    before, begun_ms = rules.version(), time.time_ns() // 1_000_000
    assert rules.suppress(first) is None
    assert rules.suppress(second) is None
    assert rules.version() != before
    assert rules.in_force(NOW_MS) == [second, first]
    assert rules.in_force(NOW_MS + 30_000) == [first]
    left_ms = cast("int", rules.client.pttl(f"tenfold:{{{rules.group_id}:suppressed}}:rules"))
    assert 0 < left_ms <= first.until_ms - begun_ms, "with the last rule Redis forgets them"
    later = first._replace(until_ms=NOW_MS + 90_000)
    assert rules.suppress(later) == first.until_ms
    assert rules.in_force(NOW_MS) == [second, later], "replaced"
    rules.lift("user", "a:nn", because())
    assert rules.in_force(NOW_MS) == [second]
    with pytest.raises(RulesError, match="this user is not suppressed"):
        rules.lift("user", "a:nn", because())
    with pytest.raises(RulesError, match="this merchant is not suppressed"):
        rules.lift("merchant", "m", because(NOW_MS + 30_000))


def test_who_shortens_a_rule_is_told(redis_url: str, group_id: str) -> None:
    settings = load(redis_url=redis_url, group_id=group_id)
    week, hour = (suppressed(settings, "user", "anna", until, "on holiday", NOW_MS) for until in ("7d", "1h"))
    assert week.lines == ["no anomaly of this user is raised before 2027-01-22T08:00:00.000Z"]
    [line] = hour.lines
    assert line.endswith("before 2027-01-15T09:00:00.000Z, in place of the rule until 2027-01-22T08:00:00.000Z")


def test_the_history_keeps_who_when_what_and_why_of_the_last_changes(
    rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.suppression_rules.HISTORY", 3)
    for number in range(5):
        rules.suppress(Rule("user", f"u{number}", NOW_MS + 60_000, because(NOW_MS + number, f"why {number}")))
    with pytest.raises(RulesError):
        rules.lift("user", "nobody", because())
    rules.lift("user", "u4", Because("bob", NOW_MS + 9, "is back"))
    assert [(change.what, change.id, *change.because) for change in rules.history()] == [
        ("lift", "u4", "bob", NOW_MS + 9, "is back"),
        ("suppress", "u4", "eve", NOW_MS + 4, "why 4"),
        ("suppress", "u3", "eve", NOW_MS + 3, "why 3"),
    ]


def test_more_rules_than_a_scorer_reads_at_once_are_refused(rules: Rules, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.suppression_rules.MOST_RULES", 2)
    for number in range(2):
        rules.suppress(Rule("user", f"u{number}", NOW_MS + 60_000 * (number + 1), because()))
    third = Rule("user", "u2", NOW_MS + 300_000, because())
    with pytest.raises(RulesError, match="rules already"):
        rules.suppress(third)
    assert len(rules.history()) == 2, "what was not done is no change"
    rules.suppress(Rule("user", "u1", NOW_MS + 120_000, because()))
    rules.suppress(third._replace(because=because(NOW_MS + 60_000)))  # the first one has ended


def test_what_is_known_goes_on_while_redis_is_away_and_ends_with_what_redis_lost(
    tmp_path: Path, bundle: LoadedBundle, group_id: str
) -> None:
    server = RedisServer(tmp_path)
    server.start()
    rules = Rules(open_redis(split_redis_url(server.url), {}), group_id)
    registry = CollectorRegistry()
    suppressed = Suppressed(rules, Metrics(registry))
    scored = scored_of(bundle, MemoryStore(START), batch_of(crafted(), 0, 10 * USERS))
    flags = [place for place, p in enumerate(scored.probabilities) if p > bundle.spec.threshold]
    payment = scored.transactions[flags[0]]
    theirs = {place for place in flags if scored.transactions[place].user_id == payment.user_id}

    def found(now_ms: int = NOW_MS) -> set[int]:
        suppressed.look()
        return set(suppressed.of(scored, bundle.spec.threshold, now_ms))

    try:
        assert found() == set()
        rules.suppress(Rule("user", payment.user_id, NOW_MS + 1, because()))
        assert found() == theirs
        assert found(NOW_MS + 1) == set(), "it has ended, whatever Redis has"
        rules.lift("user", payment.user_id, because())
        assert found() == set()
        assert payment.merchant_id is not None
        rules.suppress(Rule("merchant", payment.merchant_id, NOW_MS + 1, because()))
        assert found() == theirs, "each has a merchant"
        rules.suppress(Rule("user", "ann", NOW_MS + 1, because()))
        redis.Redis.from_url(server.url).hset(f"tenfold:{{{group_id}:suppressed}}:rules", "user:bob", "not a rule")
        assert found() == theirs, "what cannot be read keeps nobody from being scored"
        server.stop()
        assert found() == theirs
        server.start()  # without data
        assert found() == set()
    finally:
        server.stop()


def test_the_rights_of_the_page_are_enough_and_reach_no_window(tmp_path: Path, group_id: str) -> None:
    [rights] = re.findall(r"`(~tenfold:\S* [^`]*)`", (Path(__file__).parents[2] / "docs/suppress.md").read_text())
    server = RedisServer(tmp_path)
    server.start()
    try:
        redis.Redis.from_url(server.url).execute_command("ACL", "SETUSER", "analyst", "on", ">secret", *rights.split())
        client = open_redis(split_redis_url(server.url), {"username": "analyst", "password": "secret"})
        rules = Rules(client, group_id)
        rules.suppress(Rule("user", "ann", NOW_MS + 60_000, because()))
        rules.lift("user", "ann", because())
        assert (rules.in_force(NOW_MS), len(rules.history())) == ([], 2)
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.get(f"tenfold:{{{group_id}:transactions:0}}:mark")
    finally:
        server.stop()


def invoke(deployment: Deployment, *words: str) -> Any:
    ran = CliRunner().invoke(app, ["suppress", *words, "--json"], env=dict(deployment.environment()))
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


def produce_crafted(deployment: Deployment, prefix: str) -> None:
    events = batch_of(crafted(), 0, 10 * USERS, prefix)
    producer = Producer({"bootstrap.servers": deployment.bootstrap, "partitioner": "murmur2_random"})
    for key, value in zip(events.keys, events.values, strict=True):
        producer.produce(deployment.input_topic, key=key, value=value)
    assert producer.flush(SOON_S) == 0


def test_scores_of_the_suppressed_are_published_and_raise_no_anomaly(
    deployment: Deployment, bundle: LoadedBundle
) -> None:
    scorer = deployment.scorer().wait_until_ready()
    told = invoke(deployment, "user", "first-0", "--until", "2h", "--reason", "on holiday")
    assert (told["kind"], told["id"], told["reason"]) == ("user", "first-0", "on holiday")
    invoke(deployment, "merchant", "m-1", "--until", "2100-01-01T00:00:00Z", "--reason", "a sale")
    scorer.process.wait_until(lambda: scorer.metric("tenfold_suppressions") == 2, SOON_S)
    produce_crafted(deployment, "first")
    deployment.wait_until_scored([scorer])

    invoke(deployment, "lift", "merchant", "m-1", "--reason", "is over")
    scorer.process.wait_until(lambda: scorer.metric("tenfold_suppressions") == 1, SOON_S)
    produce_crafted(deployment, "second")
    deployment.wait_until_scored([scorer])
    counted = scorer.metric("tenfold_suppressed_total")
    assert scorer.stop() == 0

    scores = [json.loads(record.value() or b"") for record in read_topic(deployment.bootstrap, deployment.output_topic)]
    assert len(scores) == 2 * 10 * USERS
    flags = [each for each in scores if each["fraud_probability"] > bundle.spec.threshold]
    assert all("reasons" in each for each in flags)
    held = [each for each in flags if each["user_id"] in {"first-0", "first-1"}]
    assert held, "the crafted ones are flagged"
    assert counted == len(held)
    for each in scores:
        assert each.get("suppressed", False) == (each in held)
        assert each["sequence_anomaly"] == (each in flags and each not in held)
    for name in ("first-0", "m-1"):
        assert name not in scorer.log_text
    assert [(row["what"], row["kind"]) for row in invoke(deployment, "list", "--history")] == [
        ("lift", "merchant"),
        ("suppress", "merchant"),
        ("suppress", "user"),
    ]
    [left] = invoke(deployment, "list")
    assert (left["kind"], left["id"]) == ("user", "first-0")
