"""librdkafka's configuration for each role, from the settings. What is set by hand wins, where it may be set."""

import logging
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from stream.kafka_token import NoTokenError, TokenCommand
from stream.partitioner import OWN_PARTITIONER
from stream.settings import PREFIX, Settings, SettingsError

Client = TypeVar("Client")

_librdkafka = logging.getLogger("tenfold.librdkafka")

_CLIENT_ID = "tenfold"  # with the instance's id behind it, where there is one

#: A killed process leaves its transaction open, and its partitions wait until the broker has timed it out.
TRANSACTION_TIMEOUT_MS = 10_000


#: Properties that are often set, by which the meaning of a mistyped one is guessed: librdkafka does not list its own.
OFTEN_SET = (
    "acks", "broker.address.family", "client.id", "client.rack", "compression.type", "connections.max.idle.ms", "debug",
    "enable.ssl.certificate.verification", "fetch.max.bytes", "fetch.min.bytes", "fetch.wait.max.ms",
    "heartbeat.interval.ms", "linger.ms", "max.poll.interval.ms", "message.max.bytes",
    "metadata.max.age.ms", "queue.buffering.max.messages", "queued.max.messages.kbytes", "reconnect.backoff.max.ms",
    "request.timeout.ms", "sasl.kerberos.keytab", "sasl.kerberos.principal", "sasl.kerberos.service.name",
    "sasl.mechanism", "sasl.oauthbearer.client.id", "sasl.oauthbearer.client.secret", "sasl.oauthbearer.config",
    "sasl.oauthbearer.extensions", "sasl.oauthbearer.method", "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url", "sasl.password", "sasl.username", "security.protocol",
    "session.timeout.ms", "socket.keepalive.enable", "socket.timeout.ms", "ssl.ca.location", "ssl.ca.pem",
    "ssl.certificate.location", "ssl.certificate.pem", "ssl.cipher.suites", "ssl.endpoint.identification.algorithm",
    "ssl.key.location", "ssl.key.password", "ssl.key.pem", "ssl.keystore.location", "ssl.keystore.password",
    "statistics.interval.ms", "transaction.timeout.ms",
)  # fmt: skip

_UNKNOWN = re.compile(r'^No such configuration property: "(.*)"$')


class Contact:
    """Whether Kafka answers, as librdkafka's error callback tells it."""

    def __init__(self) -> None:
        self.lost = False

    def on_error(self, error: KafkaError) -> None:
        """Take librdkafka's word."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.lost = True


class _LastWords(logging.Handler):
    """Keeps the last error that is logged."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it, without the names of client and thread in front."""
        if record.levelno >= logging.ERROR:
            self.text = record.getMessage().partition("]: ")[2] or record.getMessage()


def why_away(client: AdminClient | Consumer | Producer, error: KafkaError) -> str:
    """Return why a client gets no answer: a certificate, a password, an address. ``error`` only says that it does not.

    librdkafka tells when it is polled, and all of its attempts; the last one will do.
    """
    heard, propagate = _LastWords(), _librdkafka.propagate
    _librdkafka.addHandler(heard)
    _librdkafka.propagate = False
    try:
        client.poll(0)
    finally:
        _librdkafka.propagate = propagate
        _librdkafka.removeHandler(heard)
    return heard.text or error.str()


def common_config(settings: Settings) -> dict[str, Any]:
    """Return what every client has."""
    config = {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": f"{_CLIENT_ID}-{settings.instance_id}" if settings.instance_id else _CLIENT_ID,
        "reconnect.backoff.max.ms": 1000,
        "logger": _librdkafka,
        **settings.kafka,
    }
    if settings.kafka_token_command:
        config["oauth_cb"] = TokenCommand(settings.kafka_token_command)
    return config


def is_client_of_tenfold(client_id: str, settings: Settings) -> bool:
    """Return whether Tenfold's clients have such an id, by default or by these settings; others may take one, too."""
    return client_id in {_CLIENT_ID, settings.kafka.get("client.id")} or client_id.startswith(f"{_CLIENT_ID}-")


#: What is fetched ahead: some batches, not the default's 100,000 records of each partition and 64 MiB.
_FETCH_AHEAD = {"queued.min.messages": 20_000, "queued.max.messages.kbytes": 16_384, "fetch.queue.backoff.ms": 10}


def consumer_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration of the group's member."""
    config = {
        "session.timeout.ms": 10_000,
        # a rebalance waits so long for a member whose loop does not come round; a publish that fails and a new producer
        # in its place take less, together
        "max.poll.interval.ms": 60_000,
        "fetch.error.backoff.ms": 50,
        "topic.metadata.refresh.interval.ms": 30_000,  # by then the group has a partition that was added
        **common_config(settings),
        "group.id": settings.group_id,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",  # where to start is decided by the table of recovery
        "isolation.level": "read_committed",
        "partition.assignment.strategy": "range",
    }
    if settings.instance_id:
        config["group.instance.id"] = settings.instance_id
    return config


def reader_config(settings: Settings, fetching: Mapping[str, int] = MappingProxyType({})) -> dict[str, Any]:
    """Return the configuration of a consumer that reads ranges of the log and the group's offsets; it never joins.

    ``fetching`` is for one that reads in a way of its own; settings win over it.
    """
    return {
        **_FETCH_AHEAD,
        **fetching,
        **common_config(settings),
        "group.id": settings.group_id,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
    }


def producer_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration of an idempotent producer."""
    return {
        "linger.ms": 5,
        "message.max.bytes": 16_777_216,  # a dead letter is as large as its input; the broker has the last word
        "queue.buffering.max.messages": max(100_000, 2 * settings.batch_size),
        **common_config(settings),
        "enable.idempotence": True,
        "partitioner": OWN_PARTITIONER,
        "delivery.report.only.error": True,
    }


def transactional_config(settings: Settings, name: str) -> dict[str, Any]:
    """Return the configuration of the producer whose transactions carry scores and offsets.

    ``name`` is the process's own: a producer of the same name ends the transaction that its predecessor left open. What
    stands between group and name can be in neither: no two groups have an id in common, nor the prefix of their rights.
    """
    return {
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
        # the default of 100 is a tail of 100 ms whenever a transaction begins while the last one's markers are written
        "retry.backoff.ms": 5,
        **producer_config(settings),
        "transactional.id": f"{settings.group_id}~{name}",
    }


def open_client(make: Callable[[dict[str, Any]], Client], config: dict[str, Any]) -> Client:
    """Make a client.

    Raises:
        SettingsError: librdkafka refuses a property, which the message names.
        stream.kafka_token.NoTokenError: the command for tokens gives none.
    """
    try:
        return make(config)
    except SystemError:  # the same as below, where an error is called back besides
        if "oauth_cb" not in config:
            raise
        raise NoTokenError(config["oauth_cb"].why) from None
    except KafkaException as error:
        cause = error.args[0]
        if "oauth_cb" in config and cause == KafkaError.SASL_AUTHENTICATION_FAILED:  # but the command nobody was asked
            raise NoTokenError(config["oauth_cb"].why) from None
        reason = cause.str() if isinstance(cause, KafkaError) else str(cause)
        raise SettingsError(f"TENFOLD_KAFKA__… is refused by librdkafka: {reason}{_meant(reason)}") from None


def open_in_contact(make: Callable[[dict[str, Any]], Client], config: Mapping[str, Any]) -> tuple[Client, Contact]:
    """Return a client, and what tells whether Kafka answers it; raises what :func:`open_client` does."""
    contact = Contact()
    return open_client(make, {**config, "error_cb": contact.on_error}), contact


def _meant(reason: str) -> str:
    """Return what was meant by a property that librdkafka does not know, to stand behind its words."""
    unknown = _UNKNOWN.match(reason)
    if unknown is None:
        return ""
    setting = unknown[1].replace(".", "_")
    if setting in Settings.model_fields:  # in TOML a table goes on to the next, or to the end
        variable = f"{PREFIX}{setting.upper()}"
        return f": a setting of its own is meant, {variable}, or {setting} above the file's tables"
    close = get_close_matches(unknown[1], OFTEN_SET, n=1, cutoff=0.75)
    return f": did you mean {close[0]}?" if close else ""
