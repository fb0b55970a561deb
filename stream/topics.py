"""The topics: creating them, seeing that they are there, telling one from its successor of the same name."""

from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from stream.clients import common_config, open_client, why_away
from stream.errors import TenfoldError
from stream.settings import Settings

_DAY_MS = 86_400_000
_CALL_S = 15.0
_CHECK_S = 10.0
_MOCK_CLUSTER = "mockCluster"  # how librdkafka's mock broker begins its cluster's id
_DLQ_MESSAGE_BYTES = 2 * 1_048_588  # twice Kafka's default: a dead letter is its input and the reason


class TopicsError(TenfoldError):
    """A topic is missing or could not be created, or there is no broker to ask."""


def topics_to_create(
    settings: Settings, partitions: int, replication: int, keep_days: int | None = None
) -> list[NewTopic]:
    """Return the five topics; scores and labels are partitioned as the transactions are."""
    kept = {} if keep_days is None else {"retention.ms": str(keep_days * _DAY_MS)}
    configs = {settings.dlq_topic: {"max.message.bytes": str(_DLQ_MESSAGE_BYTES)}}
    names = (
        *(settings.input_topic, settings.output_topic, settings.labels_topic, settings.dlq_topic),
        settings.shadow_topic,
    )
    return [
        NewTopic(name, num_partitions=partitions, replication_factor=replication, config=kept | configs.get(name, {}))
        for name in names
    ]


def create_topics(
    settings: Settings, partitions: int, replication: int, keep_days: int | None = None
) -> dict[str, int]:
    """Create what is missing; return how many partitions each topic had before. What exists is left as it is.

    Kafka keeps records for ``keep_days`` by their timestamps, or for as long as the broker's own default says.

    Raises:
        TopicsError: Kafka does not answer, or refuses.
    """
    admin = open_client(AdminClient, common_config(settings))
    there = _existing(admin, settings)
    before: dict[str, int] = {}
    asked = admin.create_topics(topics_to_create(settings, partitions, replication, keep_days), request_timeout=_CALL_S)
    for name, answer in asked.items():
        try:
            answer.result(timeout=_CALL_S)
            before[name] = 0
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if cause.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise TopicsError(
                    f"topic {name} at {settings.bootstrap_servers} was not created: {cause.str()}"
                ) from None
            before[name] = there.get(name, partitions)  # another one was quicker, and asked for the same
    return before


def require_topics(client: AdminClient | Consumer | Producer, settings: Settings, names: Iterable[str]) -> None:
    """See that the broker answers and has the topics.

    Raises:
        TopicsError: it does not answer, or has not; the message says which and what to do.
    """
    missing = sorted(set(names) - _existing(client, settings).keys())
    if missing:
        raise TopicsError(
            f"no topic {', '.join(missing)} at {settings.bootstrap_servers}: create with `tenfold topics create`, "
            "or name others"
        )


def missing_topics(client: AdminClient | Consumer, names: Iterable[str], timeout_s: float) -> list[str]:
    """Return which of the topics are not there.

    Raises:
        KafkaException: the broker does not answer in time.
    """
    return [name for name in names if not client.list_topics(name, timeout_s).topics[name].partitions]


def _existing(client: AdminClient | Consumer | Producer, settings: Settings) -> dict[str, int]:
    try:
        found = client.list_topics(timeout=_CHECK_S).topics
        return {name: len(topic.partitions) for name, topic in found.items()}
    except KafkaException as error:
        raise TopicsError(
            f"Kafka at {settings.bootstrap_servers} does not answer ({why_away(client, error.args[0])}): "
            "start it, or set TENFOLD_BOOTSTRAP_SERVERS and TENFOLD_KAFKA__…"
        ) from None


def cluster_id(admin: AdminClient, topic: str, timeout_s: float) -> str:
    """Return the id of the Kafka cluster; ``topic`` is the only one that the broker then has to tell about.

    Raises:
        KafkaException: the broker does not answer in time.
    """
    return admin.list_topics(topic, timeout_s).cluster_id or ""


class Ids(NamedTuple):
    """What tells a topic and its cluster from others of the same names."""

    cluster: str
    topic: str


def ids_of(admin: AdminClient, topic: str, timeout_s: float) -> Ids:
    """Return the ids of a topic and of its Kafka cluster.

    Raises:
        KafkaException: the broker does not answer in time.
    """
    cluster = cluster_id(admin, topic, timeout_s)
    if cluster.startswith(_MOCK_CLUSTER):
        return Ids(cluster, cluster)  # the demo's broker cannot be asked for a topic's id, nor can it delete a topic
    described = admin.describe_topics(TopicCollection([topic]), request_timeout=timeout_s)
    return Ids(cluster, str(described[topic].result().topic_id))


def topic_id(admin: AdminClient, topic: str, timeout_s: float) -> str:
    """Return the id of a topic; one that is deleted and made again under its name has another.

    Raises:
        KafkaException: the broker does not answer in time.
    """
    return ids_of(admin, topic, timeout_s).topic
