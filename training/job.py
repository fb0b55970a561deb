"""What every training does once its windows are there: the network, its test, the bundle."""

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from models.bundle import write_bundle
from models.features import PRESETS
from models.reference import column_names
from models.spec import BundleSpec
from models.store import Store
from models.window import SEQUENCE_LENGTH, WINDOW_MAX_AGE_MS, Ints
from stream.progress import now_and_then
from training.dataset import Dataset, Part, Split
from training.known_cards import Frauds
from training.reference import training_reference
from training.resumable import resumable
from training.threshold import BY_BUDGET, ThresholdRule

if TYPE_CHECKING:
    import keras

    from training.evaluate import Evaluated
    from training.prediction import Floats32, Predict

LABEL_RULE = "that of the window's last event, as landed when validation begins; none by then is not fraud"

#: The AUC of a model that says nothing of who is a fraud.
CHANCE = 0.5


class Trained(NamedTuple):
    """What a training made."""

    bundle: Path
    metrics: dict[str, Any]
    model: "keras.Model"
    history: "keras.callbacks.History"


@dataclass(frozen=True)
class Job:
    """How a model is trained and where it goes.

    Raises:
        FileExistsError: the store has a bundle of that version.
        ValueError: there is no such preset.
    """

    preset: str
    epochs: int
    batch_size: int
    seed: int
    store: Path
    h5: Path | None  # the model is written there too, as whole-model HDF5
    label_delay_days: int
    zone: str
    created_at: datetime
    rule: ThresholdRule = BY_BUDGET
    split: Split = "time"  # one by row is for comparison, and never becomes champion
    context: tuple[str, ...] = ()  # names of the context's columns; profiles are made of an archive only
    model_version: str | None = None  # preset and time of training if not given

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"no preset {self.preset!r}; there is {', '.join(PRESETS)}")
        if self.bundle.exists():
            raise FileExistsError(f"{self.bundle} exists, and a bundle is never overwritten: name another version")

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features of a step."""
        return PRESETS[self.preset]

    @property
    def bundle(self) -> Path:
        """Where the bundle goes."""
        return self.store / (self.model_version or f"{self.preset}-{self.created_at:%Y%m%dT%H%M%SZ}")

    def run(self, dataset: Dataset, frauds: Frauds, facts: Mapping[str, Any] | None = None) -> Trained:
        """Train, test, write the bundle, and tell the steps on standard output.

        The bundle becomes the store's champion only where there is none and the test ranked better than chance, and
        never after a split by row: to replace one is a decision that takes a comparison on the same days. A run that
        was killed goes on at its last epoch when it is repeated.

        Args:
            dataset: the windows.
            frauds: of the cards of the test, at least from :func:`training.known_cards.first_known_ms` on.
            facts: what else ``metrics.json`` says, of the data.

        Raises:
            training.resumable.AtWorkError: another process is at the same training.
        """
        say(f"Created {len(dataset)} sequences")
        say("Building LSTM model…")
        _quieten_tensorflow()
        # TensorFlow, scikit-learn and matplotlib take seconds to import: not before the data is known to serve
        import keras  # noqa: PLC0415

        from training.fit import build_for, fit, predict  # noqa: PLC0415

        keras.utils.set_random_seed(self.seed)
        model = build_for(dataset.train)
        say(f'Model: "{model.name}", {model.count_params():,} parameters')
        say("Training…")
        options = (self.epochs, self.batch_size, self.seed, self.features, self.context)
        with resumable(self.store, options, dataset) as scratch:
            training = fit(
                model,
                dataset.train,
                dataset.validation,
                epochs=self.epochs,
                batch_size=self.batch_size,
                seed=self.seed,
                scratch=scratch,
                verbose=1 if sys.stdout.isatty() else 2,
            )
            say("Evaluating…")
            validated = predict(model, dataset.validation.features, dataset.validation.context)
            spec = self._spec(dataset, self.rule.choose(dataset.validation.is_fraud, validated))
            tested = self._tested(model, dataset, frauds, spec.threshold)
            losses = {"loss": training.history["loss"], "validation_loss": training.history["val_loss"]}
            metrics = {**tested.metrics, "training": losses, **(facts or {}), "split": self.split}
            self._write(model, dataset, spec, replace(tested, metrics=metrics), len(training.epoch), validated)
        adopted = self._may_be_first(metrics["auc"]) and Store(self.store).adopt_first(self.bundle.name)
        say(f"Bundle {self.bundle}" + (", the first of the store and so its champion" if adopted else ""))
        say(f"Look at {self.bundle / 'report.html'}")
        return Trained(self.bundle, metrics, model, training)

    def _tested(self, model: "keras.Model", dataset: Dataset, frauds: Frauds, threshold: float) -> "Evaluated":
        """Judge the model on the test, beside gradient boosting."""
        from training.baseline import fit_baseline  # noqa: PLC0415 - as above
        from training.evaluate import Inputs, evaluate  # noqa: PLC0415
        from training.fit import predict  # noqa: PLC0415
        from training.importance import SAMPLE  # noqa: PLC0415
        from training.measures import Known  # noqa: PLC0415

        say("Training gradient boosting, to compare…")
        baseline = fit_baseline(dataset.train, dataset.validation, self.seed)
        test = dataset.test
        inputs = 1 + test.features.shape[1] + len(self.features) + len(self.context)
        evaluated = evaluate(
            told_of(
                lambda features, _, context: predict(model, features, context),
                3 * len(test) + inputs * min(len(test), SAMPLE),
            ),
            test,
            Inputs(self.features, self.context),
            Known(frauds, self.label_delay_days),
            threshold=threshold,
            alert_budget=self.rule.alert_budget,
            seed=self.seed,
            baseline=baseline.predict,
        )
        say(f"Test Loss: {evaluated.metrics['loss']:.4f}")
        say(f"Test Accuracy: {evaluated.metrics['accuracy']:.4f}")
        say(f"Test AUC: {evaluated.metrics['auc']:.4f}")
        return evaluated

    def _write(
        self,
        model: "keras.Model",
        dataset: Dataset,
        spec: BundleSpec,
        tested: "Evaluated",
        epochs: int,
        validated: "Floats32",
    ) -> None:
        """Write the bundle, and the model where ``h5`` says."""
        from training.card import model_card  # noqa: PLC0415 - as above
        from training.fit import predict, save  # noqa: PLC0415
        from training.report import report_page  # noqa: PLC0415

        how = f"Adam, batches of {self.batch_size}, {epochs} of at most {self.epochs} epochs, seed {self.seed}."
        if self.split == "rows":
            how += " Split by row, not by time: the test flatters, and this bundle is for comparison only."
        golden = _golden_windows(dataset.test)
        with tempfile.TemporaryDirectory(dir=self.store, prefix=f".{self.bundle.name}.") as scratch:
            keras_path, h5_path = Path(scratch) / "model.keras", Path(scratch) / "model.h5"
            save(model, keras_path, h5_path)
            write_bundle(
                self.bundle,
                keras_path=keras_path,
                h5_path=h5_path,
                spec=spec,
                metrics=tested.metrics,
                golden_windows=golden.windows,
                golden_probabilities=predict(model, golden.features, golden.context),
                golden_context=golden.context if spec.context else None,
                card=model_card(spec, tested.metrics, dataset, how),
                report=report_page(spec, tested),
                reference=training_reference(dataset, column_names(spec), validated),
            )
            if self.h5 is not None:
                self.h5.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(h5_path, self.h5)
                say(f"Model saved to {self.h5}")

    def _may_be_first(self, auc: float | None) -> bool:
        """Return whether the bundle may become champion uncompared; tell why not where the store would take it."""
        if self.split == "rows" or Store(self.store).named("champion") is not None:
            return False
        if auc is not None and auc > CHANCE:
            return True
        say(
            "The store has no champion, and this bundle does not become it by itself: "
            f"its test AUC is not above {CHANCE}, so it ranks frauds no better than chance. The starter stays in force"
        )
        return False

    def _spec(self, dataset: Dataset, threshold: float) -> BundleSpec:
        return BundleSpec(
            model_version=self.bundle.name,
            preset=self.preset,
            features=self.features,
            sequence_length=SEQUENCE_LENGTH,
            window_max_age_ms=WINDOW_MAX_AGE_MS,
            zone=self.zone,
            context=self.context,
            threshold=threshold,
            threshold_rule=str(self.rule),
            trained_from=_instant(dataset.train.begin_ms),
            trained_to=_instant(dataset.train.end_ms),
            label_rule=LABEL_RULE,
            label_delay_days=self.label_delay_days,
            seed=self.seed,
            created_at=self.created_at,
            libraries={
                "python": platform.python_version(),
                **{name: version(name) for name in ("keras", "numpy", "onnx", "onnxruntime", "tensorflow")},
            },
        )


def say(line: str) -> None:
    """Tell a step."""
    print(line, flush=True)


def told_of(predict: "Predict", total: int, clock: Callable[[], float] = time.monotonic) -> "Predict":
    """Return a model that tells, every few seconds, how many of ``total`` windows it has scored."""
    scored = now_and_then(lambda done: say(f"{done:,} of {total:,} windows scored"), clock)

    def telling(features: "Floats32", lengths: Ints, context: "Floats32") -> "Floats32":
        probabilities = predict(features, lengths, context)
        scored(len(probabilities))
        return probabilities

    return telling


def _quieten_tensorflow() -> None:
    """Keep from the terminal what TensorFlow says of a machine in order, unless somebody has said how much it may say.

    What fails is an exception, whatever the level. Without a GPU, that there is none is logged as an error, too.
    """
    level = "2" if Path("/proc/driver/nvidia").exists() else "3"  # hides all below errors, or errors, too
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", level)


def _golden_windows(test: Part) -> Part:
    """Return some of the test windows: four of every length that occurs, and the sixteen latest frauds."""
    rows = [np.flatnonzero(test.windows.lengths == length)[:4] for length in range(1, SEQUENCE_LENGTH + 1)]
    rows.append(np.flatnonzero(test.is_fraud)[-16:])
    return test.take(np.unique(np.concatenate(rows)))


def _instant(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)
