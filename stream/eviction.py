"""Whether Redis may drop windows when its memory is full: asked before a scorer starts, and again while it runs."""

import logging

import redis

from stream.metrics import Metrics
from stream.redis_client import Client, primaries

log = logging.getLogger(__name__)

#: Seconds between two looks.
EVERY_S = 5.0


def evicting_policies(client: Client) -> str:
    """Return the ``maxmemory-policy`` of each primary that may evict, as text; empty if none may.

    Raises:
        redis.RedisError: one does not say.
    """
    asked = {server.info("memory").get("maxmemory_policy", "noeviction") for server in primaries(client)}
    return ", ".join(sorted(asked - {"noeviction"}))


class Eviction:
    """Whether Redis may evict, as of the last look."""

    def __init__(self, client: Client, metrics: Metrics) -> None:
        self._client, self._metrics = client, metrics
        self._policies = ""

    def look(self) -> None:
        """Ask, and say so where it has changed; a Redis that does not answer is told of by who needs it."""
        try:
            policies = evicting_policies(self._client)
        except redis.RedisError:
            return
        self._metrics.redis_may_evict.set(bool(policies))
        if policies and policies != self._policies:
            log.error(
                "Redis may drop windows by now, and scores would be wrong: set its maxmemory-policy to noeviction",
                extra={"maxmemory_policy": policies},
            )
        elif self._policies and not policies:
            log.info("Redis keeps windows again")
        self._policies = policies
