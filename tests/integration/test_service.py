"""What operators rely on, on a real broker and a real Redis."""

import json
import re
import signal
import sys
import time
from datetime import datetime
from itertools import islice

import pytest
import redis
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from models.bundle import LoadedBundle
from tests.brokers import RedisServer
from tests.oracle import BAD, read_topic
from tests.scorers import Deployment, Scorer, verdict_of
from tests.terminal import Terminal
from tests.topics import Topics, create_again
from tests.traffic import Record, produce, traffic

pytestmark = pytest.mark.broker


def some(events: int, seed: int = 1) -> list[Record]:
    return list(islice(traffic(events, users=50, seed=seed, bad_share=0), events))


def lag(scorer: Scorer, unit: str) -> list[float]:
    return [scorer.metric(f'tenfold_lag_{unit}{{partition="{partition}"}}') for partition in range(3)]


def test_sigterm_under_load_finishes_the_batch_and_leaves_the_group(
    deployment: Deployment, bundle: LoadedBundle
) -> None:
    scorers = [deployment.scorer().wait_until_ready(), deployment.scorer().wait_until_ready()]
    produce(deployment.bootstrap, deployment.input_topic, traffic(20_000, users=500, seed=1))
    first, second = deployment.first_to_score(scorers)
    begun = time.monotonic()
    assert first.stop() == 0
    assert time.monotonic() - begun < 30, "5 s are promised; a machine that runs other things gets more here"
    deployment.wait_until_scored([second])
    second.process.wait_until(lambda: second.metric("tenfold_partitions") == 3, 20)
    second.stop()
    _, verdict = verdict_of(bundle, deployment)
    assert verdict.right, verdict
    assert '"level": "error"' not in first.log_text


def test_on_a_terminal_it_says_where_it_is_connected_and_how_it_goes_and_elsewhere_it_logs_json(
    deployment: Deployment,
) -> None:
    command = [sys.executable, "-m", "stream", "score"]
    with Terminal(command, deployment.environment(TENFOLD_LOG_FORMAT="auto")) as terminal:
        told = terminal.until("scoring every partition partitions=0,1,2")
        produce(deployment.bootstrap, deployment.input_topic, traffic(400, users=9, seed=4, bad_share=0.1))
        terminal.until("by now scored=")
        counts = terminal.until("\r\n")
    assert f"connected brokers={deployment.bootstrap} input={deployment.input_topic}" in told
    assert f"redis={deployment.redis_url}" in told
    assert "{" not in told
    assert "partition=" not in told
    assert re.fullmatch(r"[1-9]\d* flagged=\d+ dead_letters=[1-9]\d* lag=\d+", counts)

    scorer = deployment.scorer().wait_until_ready()
    assert scorer.stop() == 0
    lines = [json.loads(line) for line in scorer.log_text.splitlines()]
    assert [line["message"] for line in lines if line["message"].startswith("scorer")] == [
        "scorer started",
        "scorer stopped",
    ]
    assert {line["partition"] for line in lines if line["message"] == "scoring"} == {0, 1, 2}
    assert "by now" not in scorer.log_text


def test_a_killed_scorers_batches_are_scored_once(deployment: Deployment, bundle: LoadedBundle) -> None:
    deployment.settings["TENFOLD_KAFKA__session.timeout.ms"] = "3000"
    scorers = [deployment.scorer().wait_until_ready(), deployment.scorer().wait_until_ready()]
    produce(deployment.bootstrap, deployment.input_topic, traffic(20_000, users=500, seed=1))
    victim, survivor = deployment.first_to_score(scorers)
    victim.kill()
    deployment.wait_until_scored([survivor])
    survivor.stop()
    _, verdict = verdict_of(bundle, deployment)
    assert verdict.right, verdict


def test_a_scorer_too_many_owns_nothing_and_is_ready(deployment: Deployment) -> None:
    scorers = [deployment.scorer() for _ in range(4)]

    def shared_out() -> bool:
        owned = sorted(scorer.metric("tenfold_partitions") for scorer in scorers)
        return owned == [0, 1, 1, 1] and {scorer.get("/readyz")[0] for scorer in scorers} == {200}

    scorers[0].process.wait_until(shared_out, 60)
    assert [scorer.stop() for scorer in scorers] == [0] * 4


def test_probes_and_metrics_tell_what_goes_on(deployment: Deployment) -> None:
    scorer = deployment.scorer().wait_until_ready()
    assert scorer.get("/healthz") == (200, '{"alive": true}\n')
    assert scorer.get("/readyz") == (200, '{"ready": true}\n')
    assert scorer.get("/nothing")[0] == 404
    produce(deployment.bootstrap, deployment.input_topic, iter(some(100)))
    produce(deployment.bootstrap, deployment.input_topic, iter([Record(b"u", b"not json", bad=True)]))
    deployment.wait_until_scored([scorer])
    scorer.process.wait_until(lambda: scorer.metric("tenfold_events_total") == 101, 10)
    assert scorer.metric("tenfold_scores_total") == 100
    assert scorer.metric('tenfold_dead_letters_total{reason="not-json"}') == 1
    assert scorer.metric("tenfold_end_to_end_latency_seconds_count") == 101
    assert scorer.metric('tenfold_fraud_probability_bucket{le="1.0"}') == 100  # of dead letters there is none
    assert scorer.metric("tenfold_window_misses_total") > 0
    assert scorer.metric("tenfold_misplaced_events_total") == 0
    assert scorer.metric('tenfold_recoveries_total{cause="fresh-group"}') == 3
    for partition in range(3):
        scorer.process.wait_until(
            lambda sample=f'tenfold_lag_records{{partition="{partition}"}}': scorer.metric(sample) == 0, 10
        )
    for stage in ("decode", "load", "advance", "model", "encode", "publish", "save"):
        assert scorer.metric(f'tenfold_stage_seconds_count{{stage="{stage}"}}') > 0
    assert 'tenfold_model_info{model_version="' in scorer.get("/metrics")[1]


def test_nothing_is_outstanding_behind_the_last_record_of_a_transactional_producer(deployment: Deployment) -> None:
    def send(events: int, seed: int) -> None:
        producer.begin_transaction()
        for record in some(events, seed):
            producer.produce(deployment.input_topic, key=record.key, value=record.value)
        producer.flush()

    def caught_up(scored: int) -> bool:
        outstanding = lag(scorer, "records") + lag(scorer, "seconds")
        return scorer.metric("tenfold_scores_total") == scored and not any(outstanding)

    producer = Producer({"bootstrap.servers": deployment.bootstrap, "transactional.id": deployment.group_id})
    producer.init_transactions()
    scorer = deployment.scorer().wait_until_ready()
    send(100, seed=1)
    producer.commit_transaction()
    scorer.process.wait_until(lambda: caught_up(100), 30)

    send(60, seed=2)  # open, they wait
    scorer.process.wait_until(lambda: sum(lag(scorer, "records")) == 60 and all(lag(scorer, "seconds")), 30)
    producer.abort_transaction()
    scorer.process.wait_until(lambda: caught_up(100), 30)
    scorer.stop()

    scorer = deployment.scorer().wait_until_ready()  # begins before markers
    send(60, seed=3)
    scorer.process.wait_until(lambda: sum(lag(scorer, "records")) == 60, 30)
    producer.commit_transaction()
    scorer.process.wait_until(lambda: caught_up(60), 30)


def test_what_waits_while_redis_is_away_is_counted(deployment: Deployment, own_redis: RedisServer) -> None:
    own_redis.start(appendonly=True)
    deployment.redis_url = own_redis.url
    scorer = deployment.scorer().wait_until_ready()
    produce(deployment.bootstrap, deployment.input_topic, iter(some(60, seed=1)))
    scorer.process.wait_until(lambda: scorer.metric("tenfold_scores_total") == 60, 30)

    own_redis.kill()
    produce(deployment.bootstrap, deployment.input_topic, iter(some(60, seed=2)))
    scorer.process.wait_until(lambda: sum(lag(scorer, "records")) == 60 and min(lag(scorer, "seconds")) > 2, 30)
    produce(deployment.bootstrap, deployment.input_topic, iter(some(60, seed=3)))
    scorer.process.wait_until(lambda: sum(lag(scorer, "records")) == 120, 30)

    own_redis.restart()
    scorer.process.wait_until(lambda: scorer.metric("tenfold_scores_total") == 180, 60)
    scorer.process.wait_until(lambda: not any(lag(scorer, "records") + lag(scorer, "seconds")), 30)


def test_who_does_not_answer_is_named(deployment: Deployment, own_redis: RedisServer) -> None:
    def up(dependency: str) -> float:
        return scorer.metric(f'tenfold_dependency_up{{dependency="{dependency}"}}')

    own_redis.start(appendonly=True)
    deployment.redis_url = own_redis.url
    scorer = deployment.scorer().wait_until_ready()
    assert (up("kafka"), up("redis"), scorer.metric("tenfold_redis_may_evict")) == (1, 1, 0)

    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        scorer.process.wait_until(lambda: scorer.metric("tenfold_redis_may_evict") == 1, 60)
        client.config_set("maxmemory-policy", "noeviction")
        scorer.process.wait_until(lambda: scorer.metric("tenfold_redis_may_evict") == 0, 60)
    assert "maxmemory-policy to noeviction" in scorer.log_text

    own_redis.kill()
    scorer.process.wait_until(lambda: up("redis") == 0, 60)
    assert up("kafka") == 1
    own_redis.restart()
    scorer.process.wait_until(lambda: up("redis") == 1, 60)


def test_a_redis_that_answers_and_refuses_is_told_by_its_own_words(
    deployment: Deployment, own_redis: RedisServer
) -> None:
    """Full, or with another password: looked at as one that is down, or as windows on their way, nobody finds it."""

    def waits_with(why: str) -> bool:
        down = scorer.metric('tenfold_dependency_up{dependency="redis"}') == 0
        return down and why in scorer.get("/readyz")[1]

    own_redis.start()
    deployment.redis_url = own_redis.url
    scorer = deployment.scorer().wait_until_ready()
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory", "1")
        produce(deployment.bootstrap, deployment.input_topic, iter(some(100)))
        scorer.process.wait_until(lambda: waits_with("Redis: command not allowed when used memory"), 60)
        client.config_set("maxmemory", "0")
        scorer.process.wait_until(lambda: scorer.get("/readyz")[0] == 200, 60)
        assert scorer.metric('tenfold_dependency_up{dependency="redis"}') == 1

        client.config_set("requirepass", "another")
        client.client_kill_filter(_type="normal", skipme=True)
        scorer.process.wait_until(lambda: waits_with("Redis refuses this client"), 60)
        client.config_set("requirepass", "")
        scorer.process.wait_until(lambda: scorer.get("/readyz")[0] == 200, 60)


def test_topics_that_are_gone_are_named_and_made_again_they_are_scored(deployment: Deployment) -> None:
    topics = (deployment.input_topic, deployment.output_topic)
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap})
    scorer = deployment.scorer().wait_until_ready()

    for deleted in admin.delete_topics(list(topics)).values():
        deleted.result(30)
    expected = f"no topic {', '.join(topics)}: create with `tenfold topics create`"
    scorer.process.wait_until(lambda: scorer.get("/readyz") == (503, f'{{"ready": false, "why": "{expected}"}}\n'), 60)
    logged = [json.loads(line) for line in scorer.log_text.splitlines()]
    assert [*topics] in [line["missing"] for line in logged if line["message"] == "no topic"]

    for topic in topics:
        create_again(admin, topic, 3)
    scorer.process.wait_until(lambda: scorer.get("/readyz")[0] == 200, 60)
    produce(deployment.bootstrap, deployment.input_topic, iter(some(100)))
    deployment.wait_until_scored([scorer])
    assert len(read_topic(deployment.bootstrap, deployment.output_topic)) == 100


def test_a_producer_with_another_partitioner_is_noticed(deployment: Deployment) -> None:
    scorer = deployment.scorer().wait_until_ready()
    producer = Producer({"bootstrap.servers": deployment.bootstrap, "partitioner": "consistent_random"})
    for record in some(300):
        producer.produce(deployment.input_topic, key=record.key, value=record.value)
    producer.flush()
    deployment.wait_until_scored([scorer])
    scorer.process.wait_until(lambda: scorer.metric("tenfold_scores_total") == 300, 10)
    assert scorer.metric("tenfold_misplaced_events_total") > 50


def test_logs_carry_no_user_data(deployment: Deployment) -> None:
    deployment.settings["TENFOLD_LOG_LEVEL"] = "debug"
    scorer = deployment.scorer().wait_until_ready()
    value = json.dumps({"user_id": "very-private", "transaction_id": "very-private", "amount": "very-private"})
    records = [*some(50), Record(b"very-private", value.encode(), bad=True), Record(None, b"very-private", bad=True)]
    produce(deployment.bootstrap, deployment.input_topic, iter(records))
    deployment.wait_until_scored([scorer])
    assert "very-private" not in scorer.get("/metrics")[1]
    scorer.stop()
    assert "very-private" not in scorer.log_text
    assert "user-" not in scorer.log_text
    assert all(isinstance(json.loads(line), dict) for line in scorer.log_text.splitlines())


def test_a_dead_letter_that_its_topic_refuses_is_cut(
    deployment: Deployment, topics: Topics, bundle: LoadedBundle
) -> None:
    deployment.dlq_topic = topics.create("small.dlq", 1, {"max.message.bytes": "100000"})
    scorer = deployment.scorer().wait_until_ready()
    good, large = some(20), b'{"' + b"x" * 200_000
    records = [*good[:10], Record(b"u", large, bad=True), *good[10:]]
    produce(deployment.bootstrap, deployment.input_topic, iter(records))
    deployment.wait_until_scored([scorer])
    scorer.stop()
    [dead] = read_topic(deployment.bootstrap, deployment.dlq_topic)
    assert dead.value() == large[:65_536]
    assert dict(dead.headers() or [])["truncated"] == b"200002"
    _, verdict = verdict_of(bundle, deployment)
    assert verdict.right, verdict


def test_one_dead_letter_is_refused_as_too_large_and_costs_one_round_while_other_partitions_have_traffic(
    deployment: Deployment, topics: Topics, bundle: LoadedBundle
) -> None:
    deployment.dlq_topic = topics.create("small.dlq", 1, {"max.message.bytes": "150000"})
    scorer = deployment.scorer().wait_until_ready()
    producer = Producer({"bootstrap.servers": deployment.bootstrap})
    for seed in (1, 2):  # a large letter in each; the second when batches have got through since the first was refused
        for number, record in enumerate(some(200, seed)):
            if number == 50:
                producer.produce(deployment.input_topic, b'{"' + b"x" * 200_000, b"u", 0, headers=[(BAD, b"")])
            producer.produce(deployment.input_topic, record.value, record.key, 1)
            producer.flush()
        deployment.wait_until_scored([scorer])
    scorer.stop()
    logged = [json.loads(line) for line in scorer.log_text.splitlines()]
    [taken_up_again] = [line for line in logged if line["message"] == "taking partitions up again"]
    assert "too large" in taken_up_again["error"]
    dead = read_topic(deployment.bootstrap, deployment.dlq_topic)
    assert [len(letter.value() or b"") for letter in dead] == [65_536] * 2
    _, verdict = verdict_of(bundle, deployment)
    assert verdict.right, verdict


def test_a_group_that_starts_at_the_end_scores_only_what_is_new_on_warm_windows(deployment: Deployment) -> None:
    old, new = some(200), some(30, seed=2)
    produce(deployment.bootstrap, deployment.input_topic, iter(old))
    scorer = deployment.scorer(TENFOLD_START_FROM="latest").wait_until_ready()
    assert scorer.metric("tenfold_recovered_events_total") == 200
    produce(deployment.bootstrap, deployment.input_topic, iter(new))
    scorer.process.wait_until(lambda: scorer.metric("tenfold_scores_total") == 30, 20)
    scorer.stop()
    scores = [json.loads(record.value() or b"") for record in read_topic(deployment.bootstrap, deployment.output_topic)]
    assert len(scores) == 30
    assert max(score["window_length"] for score in scores) > 2


def test_two_groups_on_one_topic_do_not_see_each_other(
    deployment: Deployment, bundle: LoadedBundle, topics: Topics
) -> None:
    other = Deployment(
        **{
            **vars(deployment),
            "group_id": f"{deployment.group_id}-other",
            "output_topic": topics.create("other-scores", 3),
            "dlq_topic": topics.create("other-dlq", 1),
        }
    )
    produce(deployment.bootstrap, deployment.input_topic, traffic(2_000, users=50, seed=1))
    scorers = [deployment.scorer(), other.scorer()]
    for each, scorer in zip((deployment, other), scorers, strict=True):
        each.wait_until_scored([scorer])
        scorer.stop()
        _, verdict = verdict_of(bundle, each)
        assert verdict.right, verdict


def test_an_instance_id_makes_a_static_member_that_takes_its_partitions_up_at_once(deployment: Deployment) -> None:
    scorer = deployment.scorer(TENFOLD_INSTANCE_ID="zero").wait_until_ready()
    produce(deployment.bootstrap, deployment.input_topic, traffic(3_000, users=50, seed=1))
    scorer.process.wait_until(lambda: scorer.metric("tenfold_events_total") > 0, 20)
    scorer.process.end(signal.SIGKILL)
    again = deployment.scorer(TENFOLD_INSTANCE_ID="zero").wait_until_ready()
    lines = [json.loads(line) for line in again.log_text.splitlines()]
    times = {line["message"]: datetime.fromisoformat(line["time"]) for line in reversed(lines)}
    took = times["scoring"] - times["scorer started"]
    assert took.total_seconds() < 9, "it waited for its predecessor's session or transaction to time out: 10 s each"
    deployment.wait_until_scored([again])


def test_a_redis_that_may_evict_windows_is_refused_unless_that_is_accepted(
    deployment: Deployment, own_redis: RedisServer
) -> None:
    own_redis.start("--maxmemory-policy", "allkeys-lru")
    deployment.redis_url = own_redis.url
    refused = deployment.scorer()
    assert refused.process.wait() == 1
    assert "maxmemory-policy allkeys-lru" in refused.log_text
    assert "Traceback" not in refused.log_text
    deployment.scorer(TENFOLD_ALLOW_EVICTION="true").wait_until_ready().stop()
