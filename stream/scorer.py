"""``tenfold score``: put the parts together, check that what they need is there, and run."""

import gc
import logging
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from uuid import uuid4

import redis
from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient
from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from models.bundle import STARTER, BundleError, LoadedBundle, load_bundle
from models.runtime import MissingRuntimeError
from models.store import Store, StoreError
from stream import health, logs
from stream.assignment import Assignment
from stream.catch_up import Recoverer
from stream.champion import Champion
from stream.clients import Contact, common_config, consumer_config, open_client, open_in_contact
from stream.errors import TenfoldError
from stream.eviction import EVERY_S as EVICTION_EVERY_S
from stream.eviction import Eviction, evicting_policies
from stream.history import History, open_history
from stream.in_force import bundle_in_force
from stream.in_touch import InTouch
from stream.lost_client import Watch, kafka_answers, run_replacing
from stream.metrics import Metrics
from stream.model_watch import ModelWatch
from stream.outage import Outage
from stream.periodic import look_every
from stream.pipeline import Pipeline
from stream.publisher import open_publisher
from stream.redis_client import Client, is_cluster_as_one_server, ping, why_unusable
from stream.score_log import EVERY_S as SCORED_EVERY_S
from stream.score_log import ScoreLog
from stream.service import Service
from stream.settings import Settings, mask_url
from stream.suppression_rules import Rules
from stream.suppression_watch import EVERY_S as SUPPRESSED_EVERY_S
from stream.suppression_watch import Suppressed
from stream.topics import TopicsError, missing_topics, require_topics
from stream.window_store import WindowStore, open_store

log = logging.getLogger(__name__)

_PROBE_S = 3.0
_STOPPING_S = 3.0


class StartError(TenfoldError):
    """The scorer cannot start; the message says what is missing and what to do."""


def run(settings: Settings, stop: threading.Event) -> None:
    """Score until ``stop`` is set.

    Raises:
        StartError: model or Redis is missing.
        stream.redis_client.RedisAwayError: a Redis Cluster is missing.
        stream.topics.TopicsError: broker or topic is missing.
        SettingsError: a setting cannot be used.
        training.extras.MissingExtraError: there is an archive to rebuild from, and nothing to read it with.
        stream.outage.OutageError: Kafka or Redis went away and did not come back.
        stream.pipeline.FencedError: another process has this one's instance id.
        stream.same_kafka.OtherKafkaError: the windows are another Kafka cluster's.
        stream.pseudonyms.PseudonymsError: windows lie under pseudonym keys that this process does not have.
    """
    logs.configure(settings.log_level, settings.log_format)
    model = _load_model(settings)
    store = open_store(settings, model.spec.sequence_length)
    _check_redis(store.client, settings)
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    metrics = Metrics(registry)
    champion = Champion(model, settings.input_topic, metrics, settings.reasons, settings.pseudonyms)
    watches = _watches(settings, model, champion, metrics)
    parts = _Parts(
        settings,
        champion,
        store,
        metrics,
        health.Health(),
        Outage(settings.outage_limit_s, time.monotonic),
        open_history(settings),
        Suppressed(Rules(store.client, settings.group_id), metrics),
        settings.instance_id or uuid4().hex,
        stop,
    )
    parts.metrics.ready.set_function(lambda: parts.health.reason is None)
    consumer, contact = open_in_contact(Consumer, consumer_config(settings))
    require_topics(consumer, settings, _topics(settings))
    service = _assemble(parts, consumer, contact)
    with closing(store.client), health.serving(settings, registry, parts.health):
        _tune_interpreter()
        log.info("connected", extra=_addresses(settings))
        started = {"model_version": model.spec.model_version, "delivery": settings.delivery}
        log.info("scorer started", extra={**started, "group": settings.group_id})
        if model.bundle.directory.parent == STARTER:
            log.warning(
                "the starter scores, which was trained on simulated payments: there is no champion",
                extra={"store": str(settings.model_store)},
            )
        parts.suppressed.look()  # before the first score
        looking = [
            look_every(1.0, parts.health.look, "waiting", stop),
            look_every(SUPPRESSED_EVERY_S, parts.suppressed.look, "suppressed", stop),
            look_every(settings.model_poll_s, lambda: _look_at(watches), "models", stop),
        ]
        if logs.is_text(settings.log_format):
            looking.append(look_every(SCORED_EVERY_S, ScoreLog(metrics).look, "scored", stop))
        if not settings.allow_eviction:
            evicting = Eviction(store.client, metrics)
            looking.append(look_every(EVICTION_EVERY_S, evicting.look, "eviction", stop))
        try:
            run_replacing(service, lambda: _assemble(parts, *open_in_contact(Consumer, consumer_config(settings))))
        finally:
            stop.set()
            for thread in looking:  # an engine that is being loaded does not like the process to end under it
                thread.join(_STOPPING_S)
    log.info("scorer stopped")


def _addresses(settings: Settings) -> dict[str, object]:
    """Return what is read and written, and where, without passwords."""
    return {
        "brokers": settings.bootstrap_servers,
        "input": settings.input_topic,
        "output": settings.output_topic,
        "dead_letters": settings.dlq_topic,
        "redis": mask_url(settings.redis_url.get_secret_value()),
    }


def _look_at(watches: list[ModelWatch]) -> None:
    """Look at both pointers, one after the other: another champion is another judge of the challenger."""
    for watch in watches:
        watch.look()


@dataclass(frozen=True)
class _Parts:
    """What outlives a consumer."""

    settings: Settings
    champion: Champion
    store: WindowStore
    metrics: Metrics
    health: health.Health
    outage: Outage
    history: History | None
    suppressed: Suppressed
    name: str  # of this process among its group's
    stop: threading.Event


def _assemble(parts: _Parts, consumer: Consumer, contact: Contact) -> Service:
    settings, store, champion, metrics, stop = parts.settings, parts.store, parts.champion, parts.metrics, parts.stop
    pipeline = Pipeline(
        lambda: open_publisher(settings, parts.name, consumer, stop.is_set),
        store,
        lambda: champion.serving,
        metrics,
        beside=settings.delivery == "exactly-once",
        suppressed=parts.suppressed,
    )
    recoverer = Recoverer(settings, store, champion.serving.model.spec, metrics, parts.history)
    assignment = Assignment(settings.input_topic, consumer, recoverer, parts.outage, stop)
    in_touch = InTouch(
        _topics(settings),
        consumer,
        contact,
        assignment,
        pipeline.open,
        store.ping,
        metrics,
        parts.outage,
        Watch([consumer], lambda: kafka_answers(settings)),
    )
    return Service(
        settings,
        consumer,
        assignment,
        pipeline,
        store.pseudonyms,
        in_touch,
        metrics,
        parts.health,
        parts.outage,
        stop,
    )


def _topics(settings: Settings) -> Sequence[str]:
    """Return the topics that there is no scoring without."""
    return settings.input_topic, settings.output_topic, settings.dlq_topic


def _tune_interpreter() -> None:
    """Keep Python's own housekeeping out of the micro-batches; together a fifth of the throughput, measured."""
    gc.collect()
    gc.freeze()  # what is loaded by now stays; looking through it again and again finds nothing
    gc.set_threshold(50_000, 20, 100)  # a batch makes tens of thousands of objects and lets go of them by itself
    # so long, 5 ms by default, the model waits for the other threads after each of its chunks, of 5 ms themselves
    sys.setswitchinterval(0.00005)


def _load_model(settings: Settings) -> LoadedBundle:
    try:
        directory = bundle_in_force(settings)
        return load_bundle(directory, settings.runtime, settings.runtime_threads)
    except (BundleError, MissingRuntimeError) as error:
        raise StartError(str(error)) from None


def _watches(settings: Settings, model: LoadedBundle, champion: Champion, metrics: Metrics) -> list[ModelWatch]:
    """Return what is followed while the scorer runs: nothing where a bundle is given by its name."""
    if settings.model is not None:
        return []
    try:  # what auto has measured holds for the next bundle, too
        store = Store(settings.model_store, model.runtime.name, settings.runtime_threads)
    except StoreError as error:
        raise StartError(str(error)) from None
    directory = model.bundle.directory
    in_force = directory.name if directory.parent == settings.model_store else None  # else it is the starter

    def take(bundle: LoadedBundle) -> None:
        champion.take(bundle)
        challenger.again()  # beside another champion it may have to be refused, or not any more

    def challenge(bundle: LoadedBundle) -> None:
        _check_shadow_topic(settings)
        champion.challenge(bundle)

    challenger = ModelWatch(store, "challenger", None, challenge, metrics, champion.leave_alone)
    return [ModelWatch(store, "champion", in_force, take, metrics), challenger]


def _check_shadow_topic(settings: Settings) -> None:
    try:
        admin = open_client(AdminClient, common_config(settings))
        missing = missing_topics(admin, [settings.shadow_topic], _PROBE_S)
    except KafkaException as error:
        raise ConnectionError(f"Kafka does not answer ({error.args[0].str()})") from None
    if missing:
        raise TopicsError(
            f"no topic {settings.shadow_topic} for a challenger's scores: create with `tenfold topics create`, then "
            "`tenfold models shadow --off`, and name it again"
        )


def _check_redis(client: Client, settings: Settings) -> None:
    try:
        ping(client)
        if settings.allow_eviction:  # then not asked either: not every service lets its clients ask
            return
        evicting = evicting_policies(client)
        if is_cluster_as_one_server(client):  # with one shard it works
            log.warning("Redis is a cluster, and asked as one server: begin TENFOLD_REDIS_URL with redis+cluster://")
    except redis.RedisError as error:
        raise StartError(": ".join(why_unusable(settings, error))) from None

    if evicting:
        url = mask_url(settings.redis_url.get_secret_value())
        raise StartError(
            f"Redis at {url} has maxmemory-policy {evicting}: it would drop windows without a word when its memory is "
            "full. Set it to noeviction, or accept wrong scores with TENFOLD_ALLOW_EVICTION=true"
        )
