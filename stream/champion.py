"""The model in force, and its change: between two micro-batches, each of which has one model from its windows on."""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from models.bundle import BundleError, LoadedBundle
from models.spec import BundleSpec
from stream.drift import Drift
from stream.metrics import Metrics
from stream.microbatch import Model
from stream.profiles import ProfileTables, tables_for
from stream.pseudonyms import CLEAR, Pseudonyms
from stream.reasons import Reasons
from stream.shadow import Shadow

log = logging.getLogger(__name__)


class Serving(NamedTuple):
    """What one micro-batch is scored with; it travels with the batch."""

    model: Model
    tables: ProfileTables | None = None  # of profiles, where the model reads them
    shadow: Shadow | None = None  # a challenger
    reasons: Reasons | None = None  # of its flags, unless they are switched off
    drift: Drift | None = None  # of what it scores, where the bundle says what it learned from


class Champion:
    """What the next micro-batch is scored with. One thread changes it, any may look."""

    def __init__(
        self,
        bundle: LoadedBundle,
        topic: str,
        metrics: Metrics,
        reasons: int = 0,
        pseudonyms: Pseudonyms = CLEAR,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``reasons`` is how many flags of a micro-batch have reasons at most; ``clock`` is that of drift, seconds."""
        self._topic, self._metrics, self._reasons, self._pseudonyms = topic, metrics, reasons, pseudonyms
        self._clock = clock
        self.serving = self._serve(bundle, tables_for(bundle.spec, topic, pseudonyms))
        self._told = self._tell(bundle)
        metrics.drift_psi.read_by(self._drifted)

    def take(self, bundle: LoadedBundle) -> None:
        """Put a verified bundle in force, from the next micro-batch on. A challenger has to challenge it anew.

        Raises:
            BundleError: its window is another one than those that are stored.
        """
        before, tables = self.serving, tables_for(bundle.spec, self._topic, self._pseudonyms)
        _refuse_other_window(bundle, before.model.spec)
        if tables is not None and before.tables is not None and tables.keys == before.tables.keys:
            tables = before.tables  # they know the index already
        self.leave_alone()
        self.serving = self._serve(bundle, tables)
        self._metrics.model_info.remove(*self._told)
        self._told = self._tell(bundle)
        self._metrics.reloads.inc()
        log.info(
            "another model is in force",
            extra={"model_version": bundle.spec.model_version, "before": before.model.spec.model_version},
        )

    def challenge(self, bundle: LoadedBundle) -> None:
        """Let a verified bundle score in the champion's shadow, from the next micro-batch on.

        Raises:
            BundleError: its window or its profiles are not those of the champion.
        """
        serving, tables = self.serving, tables_for(bundle.spec, self._topic, self._pseudonyms)
        _refuse_other_window(bundle, serving.model.spec)
        if tables is not None and (serving.tables is None or serving.tables.keys != tables.keys):
            raise BundleError(
                f"{bundle.bundle.directory} reads profiles ({tables.keys.definition.name}) that the champion "
                f"{serving.model.spec.model_version} does not, so they are not at hand: shadow a model that reads the "
                "champion's or none, and compare this one with `tenfold evaluate`"
            )
        self.leave_alone()
        self.serving = self.serving._replace(shadow=Shadow(bundle, self._metrics))
        log.info("a challenger is in the champion's shadow", extra={"model_version": bundle.spec.model_version})

    def leave_alone(self) -> None:
        """End that there is a challenger, if there is one."""
        shadow = self.serving.shadow
        if shadow is not None:
            self.serving = self.serving._replace(shadow=None)
            shadow.close()

    def _serve(self, bundle: LoadedBundle, tables: ProfileTables | None) -> Serving:
        reasons = Reasons(bundle, self._reasons, self._metrics) if self._reasons else None
        reference = bundle.bundle.reference
        drift = None if reference is None else Drift(bundle.spec, reference, self._clock)
        if drift is None:
            log.info(
                "the bundle does not say what it learned from, so no drift is measured: train again",
                extra={"model_version": bundle.spec.model_version},
            )
        return Serving(bundle, tables, None, reasons, drift)

    def _drifted(self) -> list[tuple[tuple[str, str], float]]:
        drift = self.serving.drift
        return [] if drift is None else [((each.column, each.span), each.psi) for each in drift.measure()]

    def _tell(self, bundle: LoadedBundle) -> tuple[str, str, str]:
        told = bundle.spec.model_version, bundle.spec.preset, bundle.runtime.name
        self._metrics.model_info.labels(*told).set(1)
        return told


def _refuse_other_window(bundle: LoadedBundle, stored: BundleSpec) -> None:
    spec, directory = bundle.spec, bundle.bundle.directory
    if (spec.sequence_length, spec.window_max_age_ms) == (stored.sequence_length, stored.window_max_age_ms):
        return
    if spec.sequence_length > stored.sequence_length or spec.window_max_age_ms > stored.window_max_age_ms:
        way_out = f"stop all scorers, run `TENFOLD_MODEL={directory} tenfold reset --rebuild`, start them"
    else:
        way_out = "restart all scorers"
    raise BundleError(
        f"{directory} looks back {_window(spec)}, and the stored windows are {_window(stored)}: "
        f"{way_out} (docs/models.md)"
    )


def _window(spec: BundleSpec) -> str:
    return f"{spec.sequence_length} transactions and {spec.window_max_age_ms / 86_400_000:g} days"
