"""Settings that are each allowed, and unwise together."""

from collections.abc import Iterator
from pathlib import Path

from stream.clients import TRANSACTION_TIMEOUT_MS
from stream.doctor_finding import Finding, note, warning
from stream.plurals import count_of
from stream.settings import Settings

_DAY_MS = 86_400_000
_SHORTEST_OUTAGE_S = 30.0  # a rebalance, or the end of a dead owner's transaction, takes up to 20 s
_RETRY_BACKOFF_MS = 100  # librdkafka's default, and a tail of 100 ms


def judge_settings(settings: Settings, cores: int) -> Iterator[Finding]:
    """Yield what is unwise in ``settings`` on a machine with so many ``cores``."""
    yield from _judge_kafka(settings)
    if settings.runtime_threads > cores:
        yield warning(
            "threads-over-cores",
            f"TENFOLD_RUNTIME_THREADS is {settings.runtime_threads} on {count_of(cores, 'core')}: threads wait for one "
            "another",
            f"set it to {cores} or less; more scorers do more than more threads",
        )
    if settings.outage_limit_s < _SHORTEST_OUTAGE_S:
        yield warning(
            "outage-limit-short",
            f"TENFOLD_OUTAGE_LIMIT_S is {settings.outage_limit_s:g}: a failover alone may take {_SHORTEST_OUTAGE_S:g} "
            "s, and the scorer would exit in the midst of it",
            "leave it at 300, and alert on tenfold_ready",
        )
    if settings.allow_eviction:
        yield warning(
            "eviction-allowed",
            "TENFOLD_ALLOW_EVICTION is true: a full Redis drops windows without a word, and scores are then wrong",
            "set Redis' maxmemory-policy to noeviction, and take the setting away",
        )
    if settings.delivery == "at-least-once":
        yield note("at-least-once", "TENFOLD_DELIVERY is at-least-once: after a crash some scores are published twice")
    if not settings.metrics_port:
        yield note("no-metrics", "TENFOLD_METRICS_PORT is 0: nobody sees lag, or that the scorer is not ready")
    if settings.partitioner == "any":
        yield note(
            "any-partitioner",
            "TENFOLD_PARTITIONER is any: a user whose events are on two partitions is not noticed",
            "name what the producers use, murmur2 or crc32",
        )
    if settings.model is not None and _champion(settings.model_store):
        yield note(
            "model-pinned",
            f"TENFOLD_MODEL is {settings.model}: what is promoted in {settings.model_store} is not followed",
            "take TENFOLD_MODEL away, if promotions are to reach the scorer",
        )


def _judge_kafka(settings: Settings) -> Iterator[Finding]:
    given = settings.kafka
    if given.get("security.protocol", "").lower() == "sasl_plaintext":
        yield warning(
            "password-in-clear",
            "security.protocol is sasl_plaintext: payments and, with PLAIN, the password go over the network in clear",
            "use SASL_SSL",
        )
    if given.get("enable.ssl.certificate.verification", "true").lower() == "false":
        yield warning(
            "certificate-not-verified",
            "enable.ssl.certificate.verification is false: anybody on the way can be Kafka",
            "name the certificates in ssl.ca.location instead",
        )
    timeout_ms = _number(given.get("transaction.timeout.ms"), TRANSACTION_TIMEOUT_MS)
    if settings.delivery == "exactly-once" and timeout_ms > 6 * TRANSACTION_TIMEOUT_MS and not settings.instance_id:
        yield warning(
            "transaction-timeout-long",
            f"transaction.timeout.ms is {timeout_ms} and TENFOLD_INSTANCE_ID is not set: so long a killed scorer's "
            "partitions wait",
            "leave it at 10000, or give each scorer a TENFOLD_INSTANCE_ID",
        )
    if "retry.backoff.ms" in given and _number(given["retry.backoff.ms"], 0) >= _RETRY_BACKOFF_MS:
        yield warning(
            "retry-backoff-long",
            f"retry.backoff.ms is {given['retry.backoff.ms']}: a transaction that begins while the last one's markers "
            "are written waits so long",
            "take it away: the scorer sets 5",
        )


def judge_ttl(ttl_days: int, window_max_age_ms: int, retention_ms: int | None) -> Iterator[Finding]:
    """Yield whether Redis would forget a window that still counts.

    ``retention_ms`` is the input's, which bounds how late an event may be scored; ``None`` where it is not known or
    without end.
    """
    needed = (window_max_age_ms + (retention_ms or 0)) / _DAY_MS
    if ttl_days < needed:
        yield warning(
            "window-ttl-short",
            f"TENFOLD_WINDOW_TTL_DAYS is {ttl_days}; windows count for {window_max_age_ms / _DAY_MS:g} days, and what "
            f"the input keeps may be scored {count_of(-(-(retention_ms or 0) // _DAY_MS), 'day')} late",
            f"set it to {int(needed) + 1} or more, so that it never decides a score",
        )


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.strip().isdigit() else default  # librdkafka refuses what is none


def _champion(store: Path) -> bool:
    return (store / "champion").exists()
