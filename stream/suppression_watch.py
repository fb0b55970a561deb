"""The rules of suppression as a running scorer knows them: looked for once a second, beside the traffic."""

import logging
from collections.abc import Mapping

import numpy as np
import redis

from stream.encode import rounded
from stream.metrics import Metrics
from stream.microbatch import Scored
from stream.suppression_rules import Kind, Rules, RulesError

log = logging.getLogger(__name__)

#: Seconds between two looks.
EVERY_S = 1.0


class Suppressed:
    """Who is suppressed, as of the last look. One thread looks, another may ask."""

    def __init__(self, rules: Rules, metrics: Metrics) -> None:
        self._rules, self._metrics = rules, metrics
        self._version: bytes | None = None
        self._until_ms: Mapping[tuple[Kind, str], int] = {}
        self._readable = True

    def look(self) -> None:
        """Read the rules if they have changed; while they cannot be read those that are known go on."""
        try:
            version = self._rules.version()
            if version != self._version:
                self._until_ms = {(rule.kind, rule.id): rule.until_ms for rule in self._rules.in_force(0)}
                self._metrics.suppressions.set(len(self._until_ms))
                self._version = version  # as it was before the rules were read: what came in between is read again
            self._readable = True
        except (redis.RedisError, RulesError) as error:
            if self._readable:
                log.warning("the rules of suppression cannot be read; those known go on", extra={"error": str(error)})
            self._readable = False

    def of(self, scored: Scored, threshold: float, now_ms: int) -> frozenset[int]:
        """Return the places of scores above the threshold whose user or merchant is suppressed at ``now_ms``."""
        until_ms = self._until_ms
        if not until_ms:
            return frozenset()
        found = []
        for place in np.flatnonzero(rounded(scored.probabilities) > threshold).tolist():
            payment = scored.transactions[place]
            of_user = until_ms.get(("user", payment.user_id), 0)
            of_merchant = 0 if payment.merchant_id is None else until_ms.get(("merchant", payment.merchant_id), 0)
            if max(of_user, of_merchant) > now_ms:
                found.append(place)
        return frozenset(found)
