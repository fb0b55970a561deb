"""Reasons for the flags of a micro-batch: the most probable, in one run of the model that no score depends on."""

import logging
from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np

from models.bundle import LoadedBundle
from models.reasons import FlagReason, explain, explainer_of
from stream.encode import rounded
from stream.metrics import Metrics
from stream.microbatch import Scored

log = logging.getLogger(__name__)

Outcome = Literal["given", "over-limit", "failed"]


class Reasons:
    """What a model goes by, asked of the flagged events of each micro-batch."""

    def __init__(self, bundle: LoadedBundle, limit: int, metrics: Metrics) -> None:
        """Let at most ``limit`` events of a micro-batch have reasons: each costs about 20 runs of the model."""
        self._explainer, self._limit, self._metrics = explainer_of(bundle), limit, metrics
        self._has_failed = False
        for outcome in get_args(Outcome):
            metrics.flags_explained.labels(outcome)  # so that the first one is an increase

    def of(self, scored: Scored) -> Mapping[int, list[FlagReason]]:
        """Return the reasons of flagged events, by their place among the scored.

        Above the limit the most probable have reasons, of equal ones the first. If the model fails, none have.
        """
        published = rounded(scored.probabilities)
        flagged = np.flatnonzero(published > self._explainer.spec.threshold)
        if not len(flagged):
            return {}
        some = np.sort(flagged[np.argsort(-published[flagged], kind="stable")[: self._limit]])
        with self._metrics.timer("reasons"):
            try:
                context = None if scored.context is None else scored.context[some]
                found = explain(self._explainer, scored.windows.take(some), scored.probabilities[some], context)
            except Exception as error:  # noqa: BLE001 -- a runtime's errors have no common class
                self._fail(error, len(flagged))
                return {}
        self._metrics.flags_explained.labels("given").inc(len(some))
        self._metrics.flags_explained.labels("over-limit").inc(len(flagged) - len(some))
        return dict(zip(some.tolist(), found, strict=True))

    def _fail(self, error: Exception, flags: int) -> None:
        self._metrics.flags_explained.labels("failed").inc(flags)
        if not self._has_failed:
            log.warning(
                "the model fails when asked for reasons, scores go on without them; from now on this is only counted",
                extra={"model_version": self._explainer.spec.model_version, "error": str(error)},
            )
        self._has_failed = True
