"""The first steps of each recipe in docs/how-to/extend.md, and the tests that then say what is still missing."""

from pathlib import Path
from typing import NotRequired, get_args

import numpy as np
import numpy.typing as npt
import pytest
from prometheus_client import CollectorRegistry, Counter

from models.bundle import BundleError, load_bundle, write_bundle
from models.context import PRESET_CONTEXT
from models.fastest_runtime import CANDIDATES
from models.features import FEATURES, PADDING, PRESETS, Steps, step_features
from models.golden import Golden, check_probabilities, read_golden
from models.keras_file import read_network
from models.onnx_export import to_onnx
from models.runtime import TOLERANCE, MissingRuntimeError, OnnxRuntime, RuntimeName, open_runtime
from stream.commands.learning import Preset
from stream.contract import Transaction
from stream.metrics import Metrics
from stream.parse import ParsedTransaction
from stream.settings import Settings
from tests.bundles import bundle_spec
from tests.keras_files import KERAS_FILES
from tests.unit import test_parse, test_readme, test_reasons

NETWORK = KERAS_FILES / "baseline.keras"
WITH_CENTS = ("amount", "hour_of_day", "cents", "is_vpn")  # as many as the network of the tests reads


def cents(steps: Steps) -> npt.NDArray[np.generic]:
    return np.round(steps.amount * 100) % 100


@pytest.fixture
def golden() -> Golden:
    return read_golden(NETWORK.with_suffix(".npz"))


@pytest.fixture
def model() -> bytes:
    return bytes(to_onnx(read_network(NETWORK)).SerializeToString())


# --- a feature


def test_a_registered_feature_is_computed_stands_in_the_spec_and_is_scored_on(
    golden: Golden, model: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FEATURES, "cents", cents)
    windows = golden.windows
    features = step_features(windows, WITH_CENTS)
    within = np.arange(windows.records.shape[1]) < windows.lengths[:, None]
    assert np.array_equal(features[within, 2], cents(Steps(windows, "UTC"))[within].astype(np.float32))
    assert (features[~within] == PADDING).all()

    probabilities = OnnxRuntime(model).predict(features, windows.lengths)
    assert np.abs(probabilities - golden.probabilities).max() > TOLERANCE, "the network has to see the difference"
    write_bundle(
        tmp_path / "bundle",
        keras_path=NETWORK,
        h5_path=NETWORK.with_suffix(".h5"),
        spec=bundle_spec(features=WITH_CENTS),
        metrics={},
        golden_windows=windows,
        golden_probabilities=probabilities,
        card="",
    )
    loaded = load_bundle(tmp_path / "bundle")

    assert loaded.spec.features == WITH_CENTS
    assert np.array_equal(loaded.score(windows), probabilities)

    monkeypatch.delitem(FEATURES, "cents")
    with pytest.raises(BundleError, match="unknown feature cents"):
        load_bundle(tmp_path / "bundle")


def test_a_feature_that_no_reason_can_leave_out_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FEATURES, "cents", cents)

    with pytest.raises(AssertionError, match="cents"):
        test_reasons.test_all_that_a_model_may_see_of_the_last_payment_can_be_left_out()


def test_a_preset_is_known_by_its_number_of_features() -> None:
    assert len({len(features) for features in PRESETS.values()}) == len(PRESETS)


def test_each_preset_can_be_trained_and_says_what_it_reads_of_profiles() -> None:
    assert set(get_args(Preset)) == PRESETS.keys() == PRESET_CONTEXT.keys()


# --- a message field


def test_a_field_that_the_fast_parser_does_not_know_is_noticed() -> None:
    class Wider(Transaction):
        device: NotRequired[str]

    with pytest.raises(AssertionError, match="device"):
        test_parse.test_the_fast_way_knows_the_contracts_fields_and_which_may_be_missing(ParsedTransaction, Wider)


# --- a runtime


@pytest.mark.parametrize("name", get_args(RuntimeName))
def test_a_runtime_opens_by_its_name_and_computes_what_keras_does(
    name: RuntimeName, golden: Golden, model: bytes
) -> None:
    try:
        runtime = open_runtime(name, model)
    except MissingRuntimeError as missing:
        pytest.skip(str(missing))

    assert runtime.name == name
    probabilities = runtime.predict(golden.features, golden.windows.lengths, golden.context)
    check_probabilities(probabilities, golden.probabilities, runtime.tolerance)
    assert name not in CANDIDATES or runtime.tolerance <= TOLERANCE, "a choice of `auto` is never seen in a score"


def test_each_runtime_can_be_set_and_stands_in_the_page() -> None:
    settable = set(get_args(Settings.model_fields["runtime"].annotation))
    [row] = test_readme.table_rows(test_readme.SETTINGS, "`TENFOLD_RUNTIME`")

    assert settable == {*get_args(RuntimeName), "auto"}
    assert [name for name in sorted(settable) if f"`{name}`" not in row[2]] == []


# --- a metric


class WithAnother(Metrics):
    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.coins = Counter("tenfold_coins", "Payments without cents", registry=registry)


def test_a_metric_that_the_page_does_not_list_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_readme, "Metrics", WithAnother)

    with pytest.raises(AssertionError, match=r"`tenfold_coins_total`.*Payments without cents"):
        test_readme.test_the_page_of_operations_has_each_metric()
