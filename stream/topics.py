"""Creating the four topics."""

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from stream.clients import common_config, open_client
from stream.errors import TenfoldError
from stream.settings import Settings

_CALL_S = 15.0
_DLQ_MESSAGE_BYTES = 2 * 1_048_588  # twice Kafka's default: a dead letter is its input and the reason


class TopicsError(TenfoldError):
    """A topic could not be created."""


def topics_to_create(settings: Settings, partitions: int, replication: int) -> list[NewTopic]:
    """Return the four topics; scores and labels are partitioned as the transactions are."""
    configs = {settings.dlq_topic: {"max.message.bytes": str(_DLQ_MESSAGE_BYTES)}}
    names = (settings.input_topic, settings.output_topic, settings.labels_topic, settings.dlq_topic)
    return [
        NewTopic(name, num_partitions=partitions, replication_factor=replication, config=dict(configs.get(name, {})))
        for name in names
    ]


def create_topics(settings: Settings, partitions: int, replication: int) -> dict[str, bool]:
    """Create what is missing; return each topic and whether it is new. What exists is left as it is.

    Raises:
        TopicsError: Kafka does not answer, or refuses.
    """
    admin = open_client(AdminClient, common_config(settings))
    created: dict[str, bool] = {}
    asked = admin.create_topics(topics_to_create(settings, partitions, replication), request_timeout=_CALL_S)
    for name, answer in asked.items():
        try:
            answer.result(timeout=_CALL_S)
            created[name] = True
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if cause.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise TopicsError(
                    f"topic {name} at {settings.bootstrap_servers} was not created: {cause.str()}"
                ) from None
            created[name] = False
    return created
