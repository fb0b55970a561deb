"""A running scorer follows the store: real bundles in a real store, looked at as the scorer does."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from models.bundle import LoadedBundle, load_bundle, starter
from models.store import Store
from models.switches import Pointer
from stream.champion import Champion
from stream.metrics import Metrics
from stream.model_watch import ModelWatch
from tests.bundles import make_bundle

NOW = datetime(2026, 3, 10, tzinfo=UTC)


@dataclass
class Following:
    """A scorer's view of a store."""

    store: Store
    champion: Champion
    watch: ModelWatch
    challenger: ModelWatch
    registry: CollectorRegistry

    @classmethod
    def begin(cls, root: Path, bundle: LoadedBundle, in_force: str | None) -> "Following":
        registry = CollectorRegistry()
        metrics = Metrics(registry)
        store, champion = Store(root, now=lambda: NOW), Champion(bundle, "transactions", metrics)
        watch = ModelWatch(store, "champion", in_force, champion.take, metrics)
        challenger = ModelWatch(store, "challenger", None, champion.challenge, metrics, champion.leave_alone)
        return cls(store, champion, watch, challenger, registry)

    @property
    def version(self) -> str:
        return self.champion.serving.model.spec.model_version

    @property
    def shadowing(self) -> str | None:
        """The challenger's version."""
        shadow = self.champion.serving.shadow
        return None if shadow is None else shadow.model.spec.model_version

    def name(self, version: str, pointer: Pointer = "champion") -> None:
        """Switch a pointer as a hand does, unverified."""
        (self.store.root / pointer).write_text(f"{version}\n", encoding="utf-8")

    def counted(self, metric: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"tenfold_{metric}", labels)

    def models_told(self) -> list[str]:
        [family] = [family for family in self.registry.collect() if family.name == "tenfold_model_info"]
        return [sample.labels["model_version"] for sample in family.samples]

    def refused(self, pointer: Pointer = "champion") -> tuple[float | None, float | None]:
        """Return how many bundles were refused, and whether the store names such a one now."""
        return self.counted("bundles_refused_total", pointer=pointer), self.counted("refusing_bundle", pointer=pointer)


def refusal(caplog: pytest.LogCaptureFixture) -> str:
    """Return what was said of the only bundle that was refused."""
    [said] = [record for record in caplog.records if record.levelno == logging.ERROR]
    return str(vars(said)["error"])


@pytest.fixture
def following(tmp_path: Path) -> Following:
    """A scorer that scores with a; b is in the store, too."""
    root = tmp_path / "store"
    for version in ("a", "b"):
        make_bundle(root / version, model_version=version)
    begun = Following.begin(root, load_bundle(root / "a"), "a")
    begun.store.adopt_first("a")
    begun.watch.look()
    return begun


def test_a_promotion_and_a_rollback_are_taken_over_and_told(following: Following) -> None:
    following.store.promote("b", "better")
    assert following.version == "a", "before anybody has looked"
    following.watch.look()
    assert (following.version, following.models_told()) == ("b", ["b"])
    following.store.rollback("worse")
    following.watch.look()
    assert (following.version, following.models_told()) == ("a", ["a"])
    assert following.counted("reloads_total") == 2
    assert following.refused() == (0, 0)


def test_a_model_is_loaded_once_and_not_at_each_look(following: Following) -> None:
    following.store.promote("b", "better")
    following.watch.look()
    model = following.champion.serving.model
    following.watch.look()
    assert following.champion.serving.model is model
    assert following.counted("reloads_total") == 1


def test_the_first_champion_replaces_the_starter(tmp_path: Path) -> None:
    following = Following.begin(tmp_path / "store", load_bundle(starter("default")), None)
    following.watch.look()
    assert following.version.startswith("starter")
    make_bundle(tmp_path / "store" / "a", "default", model_version="a")
    following.store.adopt_first("a")
    following.watch.look()
    assert following.version == "a"


def test_what_does_not_verify_is_refused_once_until_the_store_names_another(
    following: Following, caplog: pytest.LogCaptureFixture
) -> None:
    following.store.promote("b", "better")
    model = following.store.root / "b" / "model.onnx"
    content = model.read_bytes()
    model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for _ in range(3):
        following.watch.look()
    assert following.version == "a"
    assert following.refused() == (1, 1)
    assert "changed: model.onnx" in refusal(caplog)

    model.write_bytes(content)
    following.name("a")
    following.watch.look()
    assert following.refused() == (1, 0)
    following.name("b")
    following.watch.look()
    assert (following.version, following.refused()) == ("b", (1, 0))


def test_a_bundle_that_comes_after_its_name_is_taken_when_it_is_there(following: Following) -> None:
    following.name("c")
    following.watch.look()
    assert following.refused() == (1, 1)
    make_bundle(following.store.root / "c", model_version="c")
    following.watch.look()
    assert (following.version, following.refused()) == ("c", (1, 0))


@pytest.mark.parametrize("name", ["../a", "", "."])
def test_a_name_that_leads_out_of_the_store_is_refused(following: Following, name: str) -> None:
    following.name(name)
    following.watch.look()
    assert (following.version, following.refused()) == ("a", (1, 1))


@pytest.mark.parametrize(
    ("days", "way_out"),
    [(91, "run `TENFOLD_MODEL={}/c tenfold reset --rebuild`, start them"), (89, "restart all scorers")],
    ids=["longer", "shorter"],
)
def test_a_bundle_of_another_window_is_refused_with_the_way_out(
    following: Following, caplog: pytest.LogCaptureFixture, days: int, way_out: str
) -> None:
    make_bundle(following.store.root / "c", model_version="c", window_max_age_ms=days * 86_400_000)
    following.name("c")
    following.watch.look()
    assert (following.version, following.refused()) == ("a", (1, 1))
    told = refusal(caplog)
    assert f"looks back 10 transactions and {days} days, and the stored windows are 10 transactions and 90 days" in told
    assert way_out.format(following.store.root) in told


def test_a_store_that_cannot_be_read_is_counted_said_once_and_looked_at_again(
    following: Following, caplog: pytest.LogCaptureFixture
) -> None:
    pointer = following.store.root / "champion"
    read_before = following.counted("model_store_read_timestamp_seconds")
    pointer.unlink()
    pointer.mkdir()  # whoever reads it gets an error
    for _ in range(3):
        following.watch.look()
    assert following.counted("model_store_errors_total") == 3
    assert following.counted("model_store_read_timestamp_seconds") == read_before
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    pointer.rmdir()
    following.name("b")
    following.watch.look()
    assert following.version == "b"
    assert following.counted("model_store_errors_total") == 3


def test_a_champion_that_is_gone_is_a_store_that_is_gone_and_no_way_back_to_the_starter(following: Following) -> None:
    following.store.root.rename(following.store.root.with_name("unmounted"))
    following.watch.look()
    assert following.version == "a"
    assert following.counted("model_store_errors_total") == 1
    assert following.refused() == (0, 0)


def test_profiles_are_read_as_soon_as_the_model_reads_them_and_not_before(following: Following) -> None:
    for version, network in (("c", "deep_context"), ("d", "context"), ("e", "baseline")):
        make_bundle(following.store.root / version, network, model_version=version)
    assert following.champion.serving.tables is None
    following.name("c")
    following.watch.look()
    tables = following.champion.serving.tables
    assert tables is not None
    following.name("d")
    following.watch.look()
    assert following.champion.serving.tables is tables, "the same profiles: their index is known already"
    following.name("e")
    following.watch.look()
    assert following.champion.serving.tables is None


def test_profiles_of_another_definition_are_other_tables(following: Following) -> None:
    for version, delay in (("c", 7), ("d", 8)):
        make_bundle(following.store.root / version, "deep_context", model_version=version, label_delay_days=delay)
    seen = []
    for version in ("c", "d"):
        following.name(version)
        following.watch.look()
        tables = following.champion.serving.tables
        assert tables is not None
        seen.append(tables.keys.definition.label_delay_days)
    assert seen == [7, 8]


def test_a_challenger_comes_goes_and_is_another_one(following: Following) -> None:
    following.challenger.look()
    assert following.shadowing is None
    following.store.shadow("b")
    following.challenger.look()
    assert following.shadowing == "b"
    make_bundle(following.store.root / "c", model_version="c")
    following.store.shadow("c")
    following.challenger.look()
    assert following.shadowing == "c"
    following.store.shadow(None)
    following.challenger.look()
    assert following.shadowing is None
    assert following.version == "a"
    assert following.refused("challenger") == (0, 0)


def test_a_challenger_is_judged_anew_beside_another_champion(following: Following) -> None:
    """What reads profiles needs a champion that reads them: nobody else has them at hand."""
    for version in ("c", "d"):
        make_bundle(following.store.root / version, "deep_context", model_version=version)
    following.name("d", "challenger")
    following.challenger.look()
    assert (following.shadowing, following.refused("challenger")) == (None, (1, 1))

    following.name("c")
    following.watch.look()
    following.challenger.again()
    following.challenger.look()
    assert (following.shadowing, following.refused("challenger")) == ("d", (1, 0))

    following.name("a")
    following.watch.look()
    assert following.shadowing is None, "left alone with the champion it was beside"
    following.challenger.again()
    following.challenger.look()
    assert (following.shadowing, following.refused("challenger")) == (None, (2, 1))


def test_a_challenger_that_the_store_does_not_name_any_more_is_refused_no_longer(following: Following) -> None:
    following.name("nobody", "challenger")
    following.challenger.look()
    assert following.refused("challenger") == (1, 1)
    (following.store.root / "challenger").unlink()
    following.challenger.look()
    assert following.refused("challenger") == (1, 0)
