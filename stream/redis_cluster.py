"""Many commands on a Redis Cluster, in one round trip.

redis-py's own pipeline looks at every key of a command, and sends a script's arguments twice, the first time to learn
which of them are keys. Here the first key decides, since all of a command's keys are in one slot; each node gets its
part before the first answer is read; and redis-py is asked only about what has moved meanwhile.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import redis
from redis.cluster import ClusterNode
from redis.connection import ConnectionInterface
from redis.exceptions import AskError, ClusterDownError, RedisClusterException, TryAgainError

#: A command and its arguments, as they go over the wire. All its keys are in one slot of a cluster.
Command: TypeAlias = tuple[str | bytes | int | float, ...]

#: Answers after which redis-py asks again, elsewhere if need be: the slot is on its way, or its node is gone.
_ASK_AGAIN = (AskError, TryAgainError, ClusterDownError, redis.ConnectionError, redis.TimeoutError)


class Cluster(redis.RedisCluster):
    """redis-py's client of a cluster, with no errors but ``redis.RedisError``."""

    def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """Do as redis-py does."""
        with as_redis_error():
            return super().execute_command(*args, **kwargs)  # type: ignore[no-untyped-call]

    def owner(self, key: bytes) -> ClusterNode:
        """Return the primary that has a key, as far as is known here.

        Raises:
            redis.ConnectionError: it is not known.
        """
        with as_redis_error():
            node: ClusterNode = self.get_node_from_key(key)
            return node


@contextmanager
def as_redis_error() -> Iterator[None]:
    """Raise what the cluster's client has to say as an error of Redis, which redis-py's own is not."""
    try:
        yield
    except RedisClusterException as error:
        raise redis.ConnectionError(str(error)) from error


def ask_nodes(cluster: Cluster, commands: Sequence[Command]) -> list[Any]:
    """Return the answers to commands in their order, errors among them.

    Raises:
        redis.RedisError: what a node did not do was asked for once more, and in vain.
    """
    places: dict[ClusterNode, list[int]] = {}
    for place, command in enumerate(commands):
        places.setdefault(cluster.owner(_key(command)), []).append(place)
    answers: list[Any] = [None] * len(commands)
    with ExitStack() as sent:
        asked: list[tuple[list[int], ConnectionInterface]] = []
        for node, its in places.items():
            sending = _sent(cluster.get_redis_connection(node), [commands[place] for place in its])
            try:
                asked.append((its, sent.enter_context(sending)))
            except (redis.ConnectionError, redis.TimeoutError) as error:
                for place in its:
                    answers[place] = error
        for its, connection in asked:
            for place, answer in zip(its, _read(connection, len(its)), strict=True):
                answers[place] = answer
    for place, answer in enumerate(answers):
        if isinstance(answer, _ASK_AGAIN):
            answers[place] = cluster.execute_command(*commands[place])
    return answers


@contextmanager
def _sent(node: redis.Redis, commands: Sequence[Command]) -> Iterator[ConnectionInterface]:
    """Send commands; yield the connection on which the answers come."""
    pool = node.connection_pool
    connection = pool.get_connection()
    done = False
    try:
        connection.send_packed_command(connection.pack_commands(commands))
        yield connection
        done = True
    finally:
        if not done:
            connection.disconnect()  # nobody is to take its answers for those to another question
        pool.release(connection)


def _read(connection: ConnectionInterface, count: int) -> list[Any]:
    """Return so many answers, errors among them."""
    answers: list[Any] = []
    try:
        while len(answers) < count:
            try:
                answers.append(connection.read_response())
            except redis.ResponseError as error:
                answers.append(error)
    except (redis.ConnectionError, redis.TimeoutError) as error:
        answers += [error] * (count - len(answers))
    return answers


def _key(command: Command) -> Any:
    """Return the first key of a command."""
    return command[3 if command[0] in {"EVAL", "EVALSHA"} else 1]
