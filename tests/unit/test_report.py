"""The report needs nothing beside it, is told without colour, and says what was measured."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree as ET

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the training extra")
pytest.importorskip("matplotlib", reason="needs the training extra")
pytest.importorskip("pyarrow", reason="needs the training extra")

from sklearn.metrics import auc, roc_curve

from models.spec import BundleSpec
from tests.windowed import DAY_MS, part_of
from training.dataset import Part
from training.evaluate import Evaluated, Inputs, evaluate
from training.known_cards import Frauds
from training.measures import Known
from training.plots import calibration, decimals, importance, thinned
from training.prediction import Floats32
from training.report import MEASURES, report_page
from training.svg import GREY, STYLES

SPEC = BundleSpec(
    model_version="model-1",
    preset="default",
    features=("log_amount", "is_vpn"),
    sequence_length=3,
    window_max_age_ms=90 * DAY_MS,
    zone="UTC",
    context=("merchant_fraud_rate_7d", "user_fraud_rate_7d"),
    threshold=0.4,
    threshold_rule="what <the> rule says",
    trained_from=datetime(2026, 1, 1, tzinfo=UTC),
    trained_to=datetime(2026, 2, 1, tzinfo=UTC),
    label_rule="that of the last event",
    label_delay_days=7,
    seed=1,
    created_at=datetime(2026, 3, 1, tzinfo=UTC),
    libraries={},
)
NO_FRAUDS = Frauds(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int64))
LOSSES = {"loss": [0.3, 0.2, 0.1], "validation_loss": [0.35, 0.25, 0.27]}


def scored_days(days: int = 16, seed: int = 1) -> Part:
    part = part_of(4000, seed, days=days)
    part.context[:, 0] += 2 * part.is_fraud
    return part


def by_context(_: Floats32, __: object, context: Floats32) -> Floats32:
    odds = np.exp(2 * context[:, 0] - 4)
    return (odds / (1 + odds)).astype(np.float32)


def evaluated(part: Part, *, beside: bool = True) -> Evaluated:
    found = evaluate(
        by_context,
        part,
        Inputs(SPEC.features, SPEC.context),
        Known(NO_FRAUDS, 7),
        threshold=SPEC.threshold,
        alert_budget=0.05,
        seed=3,
        baseline=(lambda of: np.full(len(of), 0.1, np.float32)) if beside else None,
    )
    return replace(found, metrics={**found.metrics, "training": LOSSES} if beside else found.metrics)


def test_payments_are_judged_by_their_published_probabilities() -> None:
    found = evaluate(
        lambda _, lengths, __: np.full(len(lengths), 0.0123456, np.float32),
        scored_days(2),
        Inputs(SPEC.features, SPEC.context),
        Known(NO_FRAUDS, 7),
        threshold=0.0123458,
        alert_budget=0.05,
        seed=3,
    )
    assert found.metrics["flagged"] == 1, "0.012346 is published, and that is above the threshold"


@pytest.fixture(scope="module")
def judged() -> Evaluated:
    return evaluated(scored_days())


@pytest.fixture(scope="module")
def page(judged: Evaluated) -> str:
    return report_page(SPEC, judged)


class Tags(HTMLParser):
    """Collects start tags with their attributes, and sees that what is opened is closed."""

    VOID = ("meta", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_no_script_and_nothing_from_elsewhere(page: str) -> None:
    tags = Tags(page)
    assert tags.open == []
    names = [name for name, _ in tags.tags]
    assert not {"script", "link", "img", "iframe", "object", "a"} & set(names)
    for _, attributes in tags.tags:
        targets = [value or "" for name, value in attributes.items() if name in ("href", "src", "xlink:href")]
        assert all(target.startswith("#") for target in targets)
        assert not any(name.startswith("on") for name in attributes)
    assert "@import" not in page
    assert set(re.findall(r"url\((.)", page)) <= {"#"}
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_each_plot_is_whole_with_ids_of_its_own_a_title_and_a_caption(page: str) -> None:
    figures = re.findall(r"<figure>\n<h3>(.*?)</h3>\n(<svg.*?</svg>)\n<figcaption>(.*?)</figcaption>", page, re.DOTALL)
    titles = [title for title, _, _ in figures]
    assert titles == [
        *("ROC", "Precision and recall", "Scores", "Calibration", "Precision by day", "Training"),
        *("What each step is worth", "What each feature is worth", "What each profile is worth"),
    ]
    assert len(figures) == page.count("<svg")
    seen: set[str] = set()
    for _, svg, caption in figures:
        root = ET.fromstring(svg)  # noqa: S314 - made here
        ids = [element.get("id", "") for element in root.iter() if element.get("id")]
        assert len(set(ids)) == len(ids)
        assert not seen & set(ids)
        seen |= set(ids)
        wanted = set(re.findall(r"(?:url\(|xlink:href=\")#([^\")]+)", svg))
        assert wanted <= set(ids)
        assert "width" not in root.attrib
        assert root.get("viewBox")
        assert root.get("aria-hidden") == "true"
        assert list(root.iter("{http://www.w3.org/2000/svg}text")), "text is drawn, not written"
        assert len(caption) > 20


def test_lines_are_told_apart_without_colour_and_dark_enough() -> None:
    for name in ("linestyle", "marker"):
        assert len({style[name] for style in STYLES}) == len(STYLES)
    for color in [*(style["color"] for style in STYLES), GREY]:
        channels = np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        luminance = float(linear @ [0.2126, 0.7152, 0.0722])
        assert 1.05 / (luminance + 0.05) >= 4.5  # WCAG 2.2, contrast against white


def test_the_page_says_what_was_measured(page: str, judged: Evaluated) -> None:
    metrics = judged.metrics
    for name in ("auc", "average_precision"):
        assert f"<dd>{metrics[name]:.3f}</dd>" in page
    assert f"<dd>{metrics['card_precision_at_100']:.2%}</dd>" in page
    most = np.mean([min(day["defrauded_cards"], 100) / 100 for day in metrics["days_of_test"]])
    assert metrics["card_precision_at_100"] <= most
    assert f"card precision could be\n{most:.2%} at most" in page
    assert "It was trained on 2026-01-01 to 2026-01-31." in page, "the end of training is not a day of it"
    assert len(metrics["weeks"]) == 3
    for week in metrics["weeks"]:
        assert f"<span>{week['from']}</span> <span>to {week['to'][5:]}</span>" in page
        assert f'<td data-name="AUC, by the protocol">{week["protocol_auc"]:.3f}</td>' in page
        for name, share in (("card precision at 100 a day", "card_precision_at_100"), ("recall", "recall")):
            assert f'<td data-name="{name}">{week[share]:.2%}</td>' in page, "a share is one wherever it stands"
    assert f"{metrics['mean_of_weeks']['average_precision']:.3f}" in page
    assert f"<td>{metrics['gain']['average_precision']:+.3f}</td>" in page
    assert "lowest after epoch 2 of 3: 0.2500" in page
    assert "what &lt;the&gt; rule says" in page


@pytest.mark.parametrize(
    ("fact", "warning"),
    [
        ({"seen_in_training": True}, "It was trained on some of these days: the figures flatter."),
        ({"split": "rows"}, "Rows were split without regard to time: the test flatters"),
    ],
)
def test_what_flatters_is_said(fact: dict[str, object], warning: str, judged: Evaluated) -> None:
    page = report_page(SPEC, replace(judged, metrics={**judged.metrics, **fact}))
    assert warning in page
    assert page.count("flatter") == 1
    harmless = {name: False if value is True else "time" for name, value in fact.items()}
    assert warning not in report_page(SPEC, replace(judged, metrics={**judged.metrics, **harmless}))


def test_what_is_measured_is_explained_on_the_page(page: str) -> None:
    explained = page.partition("<h2>What the words mean</h2>")[2]
    words = {word.lower() for term in re.findall(r"<dt>(.*?)</dt>", explained) for word in term.split(", ")}
    measured = {title.partition(",")[0].removesuffix(" at 100 a day") for title in MEASURES.values()}
    assert {*measured, "precision", "recall", "threshold", "step", "profile", "gradient boosting"} - {"AUC"} <= words
    assert "auc" in words


def test_the_same_evaluation_gives_the_same_page(page: str) -> None:
    again = evaluated(scored_days())
    assert report_page(SPEC, again) == page


def test_without_a_baseline_and_a_training_there_is_nothing_of_them() -> None:
    page = report_page(SPEC, evaluated(scored_days(), beside=False))
    assert "boosting" not in page
    assert "<h2>Against others" not in page
    assert "<h3>Training" not in page


def test_days_without_a_fraud_are_shown_with_what_cannot_be_measured() -> None:
    part = scored_days()
    first = part.windows.records["created_at_ms"].max(axis=1) < 7 * DAY_MS
    part.is_fraud[first] = 0  # a whole week
    judged = evaluated(part)
    assert judged.metrics["weeks"][0]["auc"] is None
    json.dumps(judged.metrics, allow_nan=False)
    assert '<td data-name="AUC">n/a</td>' in report_page(SPEC, judged)


def test_what_is_thinned_is_the_same_curve() -> None:
    rng = np.random.default_rng(1)
    is_fraud = (rng.random(50_000) < 0.05).astype(np.float32)
    false_positives, found, _ = roc_curve(is_fraud, is_fraud + rng.normal(size=50_000))

    x, y = thinned(false_positives, found)

    assert len(x) < 310 < len(false_positives)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert auc(x, y) == pytest.approx(auc(false_positives, found), abs=0.002)


def test_a_curve_of_one_place_is_left_alone() -> None:
    for n in (1, 3):
        x, y = thinned(np.ones(n), np.ones(n))
        assert set(x) == set(y) == {1.0}


def texts(svg: str) -> dict[str, tuple[float, float]]:
    """Return each text of a plot and where it stands, from its upper left corner."""
    found = re.findall(r'<text [^>]*?x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]+)</text>', svg)
    return {text: (float(x), float(y)) for x, y, text in found}


def test_the_numbers_of_the_calibration_stand_below_its_lines_and_apart() -> None:
    bins = [(0.1999, 0.0, 1234), (0.2001, 1.0, 20_500), (0.9, 0.0, 7)]
    svg = calibration(
        [{"mean_probability": mean, "fraud_rate": rate, "payments": payments} for mean, rate, payments in bins]
    )
    places = texts(svg)
    numbers = [places[name] for name in ("1.2k", "20k", "7")]
    markers = [float(y) for y in re.findall(r'<use [^>]*y="([\d.]+)" style="fill: #0b4f8a', svg)]

    assert len({round(y) for _, y in numbers}) == 1
    assert len(markers) == len(bins) + 1  # the legend has one
    assert numbers[0][1] > max(markers) + 6  # half a marker, and more
    between = [after[0] - before[0] for before, after in pairwise(numbers)]
    assert min(between) > 20  # points: four digits


@pytest.mark.parametrize("scale", [1, 0.1, 0.01])
def test_no_bar_that_can_be_seen_is_called_zero(scale: float) -> None:
    drops = {"largest": 0.3 * scale, "small": 0.3 * scale / 50, "none": 0.0}
    shown = texts(importance("feature", drops))
    written = decimals(drops.values())

    for drop in drops.values():
        assert f"{drop:.{written}f}" in shown
        assert (float(f"{drop:.{written}f}") == 0) == (drop == 0)


def test_what_is_next_to_nothing_is_drawn_so() -> None:
    bar = r"<path d=\"M ([\d.]+) [\d.]+ \nL ([\d.]+) [^\"]*\"[^>]*style=\"fill: #0b4f8a"
    [(begin, end)] = re.findall(bar, importance("step", {"a": 1e-5}))

    assert 0 < float(end) - float(begin) < 1  # points, of 360
