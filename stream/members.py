"""How many scorers a group has, as Kafka knows it."""

import time

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

_CALL_S = 10.0
_AGAIN_S = 0.2
_SOON = {  # a broker that has just begun to keep groups
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
}


def count_members(admin: AdminClient, group: str) -> int:
    """Return how many scorers the group has; none where nobody has scored for it.

    Raises:
        KafkaException: Kafka does not say, or not to this account.
    """
    deadline = time.monotonic() + _CALL_S
    while True:
        try:
            return len(admin.describe_consumer_groups([group], request_timeout=_CALL_S)[group].result().members)
        except KafkaException as failed:
            if failed.args[0].code() not in _SOON or time.monotonic() > deadline:
                raise
        time.sleep(_AGAIN_S)
