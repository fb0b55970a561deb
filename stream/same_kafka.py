"""Which Kafka a group's windows are of.

Two clusters that share a Redis, a test stage beside production, say, and name group and topic alike, would find each
other's marks, take them for those of a topic that was made anew, and score all of it again, in turns. So the id of the
cluster is kept in Redis beside the windows, set once::

    tenfold:{<group>:<topic>}:kafka    the cluster's id

``tenfold reset`` is the way to take a group's windows along to another cluster.
"""

from typing import cast

from stream.errors import TenfoldError
from stream.window_store import WindowStore

WHAT_TO_DO = (
    "set the TENFOLD_GROUP_ID or the TENFOLD_REDIS_URL that belongs to this Kafka; if it takes the other one's place, "
    "run `tenfold reset` once the scorers there are stopped (docs/how-to/recovering.md)"
)


class OtherKafkaError(TenfoldError):
    """The windows are of another Kafka cluster; the message says what can be done."""


def require_same_kafka(store: WindowStore, cluster_id: str) -> None:
    """See that the group's windows are of this cluster, or of none yet: then they are this one's from now on.

    Raises:
        OtherKafkaError: they are another cluster's.
        redis.RedisError: Redis does not answer.
    """
    store.client.set(_key(store), cluster_id, nx=True)
    if told := other_kafka(store, cluster_id):
        raise OtherKafkaError(f"{told}: {WHAT_TO_DO}")


def other_kafka(store: WindowStore, cluster_id: str) -> str | None:
    """Return in words that the windows are of another cluster, ``None`` if they are of this one or of none yet.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    found = cast("bytes | None", store.client.get(_key(store)))
    if found is None or (theirs := found.decode()) == cluster_id:
        return None
    return (
        f"Redis has the windows of group {store.group_id} on another Kafka (cluster {theirs}, and this is {cluster_id})"
    )


def take_over(store: WindowStore, cluster_id: str) -> None:
    """Say that the group's windows are this cluster's; nobody may be scoring for the group.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    store.client.set(_key(store), cluster_id)


def _key(store: WindowStore) -> str:
    return f"tenfold:{{{store.group_id}:{store.topic}}}:kafka"
