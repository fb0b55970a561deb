"""The gate on models that were trained: one on shuffled labels, and better ones."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("duckdb", reason="needs the training extra")
pytest.importorskip("tensorflow", reason="needs the training extra")

from typer.testing import CliRunner

from models.bundle import write_bundle
from models.features import PRESETS
from models.store import Store
from stream.cli import app
from tests.bundles import bundle_spec
from tests.simulated_archive import TOPICS, put_simulated
from tests.wanted import WANTED
from training.archive import open_archive
from training.archive_dataset import dataset_of

pytestmark = [pytest.mark.training, pytest.mark.timeout(900)]

VALIDATION_DAYS, TEST_DAYS = 3, 9


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = str(tmp_path_factory.mktemp("archive"))
    put_simulated(open_archive(url), users=2400, days=42, partitions=2)
    return url


@pytest.fixture(scope="module")
def root(archive: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a store whose champion was trained on shuffled labels; the commands see archive and store."""
    store = tmp_path_factory.mktemp("store")
    train_on_shuffled_labels(archive, store / "shuffled", tmp_path_factory.mktemp("scratch"))
    Store(store).adopt_first("shuffled")
    with pytest.MonkeyPatch.context() as patched:
        for name in list(os.environ):
            if name.startswith("TENFOLD_"):
                patched.delenv(name)
        patched.setenv("TENFOLD_MODEL_STORE", str(store))
        patched.setenv("TENFOLD_ARCHIVE", archive)
        yield store


def train_on_shuffled_labels(archive: str, bundle: Path, scratch: Path) -> None:
    from training.fit import build_for, fit, predict, save  # noqa: PLC0415 - to import TensorFlow takes seconds

    wanted = replace(WANTED, features=PRESETS["baseline"], context=(), until=None, honest_per_fraud=10)
    wanted = replace(wanted, validation_days=VALIDATION_DAYS, test_days=TEST_DAYS)
    made = dataset_of(open_archive(archive), TOPICS, "fraud-scores", wanted, scratch)
    train, golden = made.dataset.train, made.dataset.test.take(slice(64))
    train = replace(train, is_fraud=np.random.default_rng(1).permutation(train.is_fraud))
    model = build_for(train)
    fit(model, train, made.dataset.validation, epochs=1, batch_size=512, seed=1, scratch=scratch, verbose=2)
    save(model, scratch / "model.keras", scratch / "model.h5")
    write_bundle(
        bundle,
        keras_path=scratch / "model.keras",
        h5_path=scratch / "model.h5",
        spec=bundle_spec(model_version=bundle.name, trained_to=datetime.fromtimestamp(train.end_ms / 1000, UTC)),
        metrics={"days": made.days},
        golden_windows=golden.windows,
        golden_probabilities=predict(model, golden.features, golden.context),
        card="# A model for tests\n",
    )


def run(*words: str) -> tuple[int, Any]:
    ran = CliRunner().invoke(app, [*words, "--json"])
    return ran.exit_code, json.loads(ran.stdout)


def train(archive: str, store: Path) -> tuple[int, Any]:
    few = ["--preset", "baseline", "--epochs", "3", "--batch-size", "512", "--honest", "10"]
    days = ["--validation-days", str(VALIDATION_DAYS), "--test-days", str(TEST_DAYS)]
    return run("train", "--archive", archive, "--store", str(store), "--promote-if-better", *few, *days)


def test_a_model_of_shuffled_labels_gives_way_to_a_better_one_and_is_refused_after_it(archive: str, root: Path) -> None:
    store = Store(root)
    assert store.named("champion") == "shuffled"

    code, told = train(archive, root)
    better = told["model_version"]

    assert (code, told["promoted"], told["decision"]["outcome"]) == (0, True, "passed")
    assert store.named("champion") == better
    assert store.history()[0][-1].reason == "tenfold train --promote-if-better"
    comparison = told["decision"]["comparison"]
    assert [comparison["first_day"], comparison["last_day"]] == told["days"]["test"]
    measured = comparison["measures"]["average_precision"]
    assert measured["finding"] == "better"
    assert measured["challenger"] == pytest.approx(told["metrics"]["protocol_average_precision"], abs=1e-4)
    card_precision = comparison["measures"]["card_precision_at_100"]["challenger"]
    assert card_precision == pytest.approx(told["metrics"]["card_precision_at_100"], abs=1e-3)

    code, told = run("models", "promote", "shuffled", "--reason", "by mistake")

    assert (code, told["switch"], told["decision"]["outcome"]) == (1, None, "refused")
    assert told["decision"]["comparison"]["measures"]["average_precision"]["finding"] == "worse"
    assert store.named("champion") == better
    assert [decision.outcome for decision in store.decisions()] == ["passed", "refused"]


@pytest.mark.parametrize("options", [["--data", "data"], ["--archive", "archive", "--split", "rows"]])
def test_only_a_split_by_time_of_an_archive_is_compared(options: list[str]) -> None:
    assert CliRunner().invoke(app, ["train", *options, "--promote-if-better"]).exit_code == 2
