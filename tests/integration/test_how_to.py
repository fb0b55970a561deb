"""The commands of the pages on how to do something, typed as they stand there, and what a reader then sees."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from models.store import Store
from tests.bundles import make_bundle
from tests.followed_store import SOON_S, following, load, wait_for_more
from tests.kafka_tools import with_kafka_tools
from tests.oracle import read_topic
from tests.pages import ROOT, blocks, the_block
from tests.processes import http_get
from tests.shells import PageShell
from tests.traffic import produce, traffic

pytestmark = pytest.mark.broker

#: The bundles of the pages' examples.
OLDER, NEWER = "default-20260301T020000Z", "default-20260308T020000Z"


def store_of(shell: PageShell, *versions: str) -> Store:
    """Make a store of bundles, each of which was champion after the one before, and let the shell know of it."""
    store = Store(shell.directory / "store")
    for threshold, version in enumerate(versions, 1):
        make_bundle(store.root / version, model_version=version, threshold=threshold / 10)
    store.adopt_first(versions[0])
    for version in versions[1:]:
        store.promote(version, "better")
    shell.environment["TENFOLD_MODEL_STORE"] = str(store.root)
    return store


def in_passing(page: str, begin: str) -> str:
    """Return the command that a page names in a sentence, by its first words."""
    [found] = re.findall(rf"`({re.escape(begin)}[^`]*)`", (ROOT / page).read_text())
    return str(found)


def test_a_rollback_is_seen_in_the_scores(shell: PageShell) -> None:
    store = store_of(shell, OLDER, NEWER)
    *switch, watch = shell.script(the_block("docs/how-to/rollback.md", "models rollback")).splitlines()
    shown = the_block("docs/how-to/rollback.md", "rollback: champion").text
    scorer = following(shell.deployment, store)
    with load(shell.deployment):
        wait_for_more(scorer)
        printed = shell.run("\n".join(switch)).splitlines()
        scorer.process.wait_until(lambda: scorer.metric("tenfold_reloads_total") == 1, SOON_S)
        wait_for_more(scorer)
        scores = [json.loads(line) for line in shell.run(watch).splitlines()]
    shell.run(in_passing("docs/how-to/rollback.md", "tenfold models retire"))

    at = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.sub(at, "", "\n".join(printed[-2:])) == re.sub(at, "", shown.strip())
    assert len(scores) == 20
    assert {score["model_version"] for score in scores} == {OLDER}
    assert store.versions() == [OLDER]
    assert scorer.stop() == 0


def test_before_the_first_champion_there_was_the_starter(shell: PageShell) -> None:
    """The refusal's commands put it in force where scorers run; a champion's file that is gone does not."""
    page = (ROOT / "docs" / "how-to" / "rollback.md").read_text()
    store = store_of(shell, OLDER)
    scorer = following(shell.deployment, store)
    refused = shell.run("tenfold models rollback --reason worse 2>&1 || echo exit $?")
    (store.root / "champion").rename(store.root / "gone")
    scorer.process.wait_until(lambda: scorer.metric("tenfold_model_store_errors_total") > 0, SOON_S)
    assert f'model_version="{OLDER}"' in scorer.get("/metrics")[1]
    (store.root / "gone").rename(store.root / "champion")

    [said] = re.findall(r"^\| `… (has no champion before this one)`", page, re.MULTILINE)
    assert said in refused
    assert "exit 1" in refused
    shell.run("\n".join(re.findall(r"`([^`]*)`", refused)))
    scorer.process.wait_until(lambda: 'model_version="starter-default"' in scorer.get("/metrics")[1], SOON_S)
    assert scorer.stop() == 0


@contextmanager
def without_topics_behind(shell: PageShell, ending: str) -> Iterator[None]:
    """Delete the topics with that word in their names in the end."""
    admin = AdminClient({"bootstrap.servers": shell.deployment.bootstrap})
    try:
        yield
    finally:
        made = [name for name in admin.list_topics(timeout=30).topics if ending in name]
        for deleted in admin.delete_topics(made).values():
            deleted.result(30)


def test_a_stretch_is_scored_once_more_by_a_group_of_its_own(shell: PageShell) -> None:
    deployment = shell.deployment
    scorer = deployment.scorer()
    produce(deployment.bootstrap, deployment.input_topic, traffic(400, users=30, seed=1, bad_share=0))
    deployment.wait_until_scored([scorer])
    between = datetime.now(UTC)
    produce(deployment.bootstrap, deployment.input_topic, traffic(200, users=30, seed=2, bad_share=0))
    deployment.wait_until_scored([scorer])
    assert scorer.stop() == 0

    block, word = the_block("docs/how-to/recovering.md", "tenfold reset"), deployment.group_id
    for said, here in (
        ("again", word),
        ("2026-03-01T00:00:00Z", between.isoformat()),
        ("=9118", f"={shell.port}"),
        ("--partitions 12", "--partitions 3"),
    ):
        assert said in block.text
        block = replace(block, text=block.text.replace(said, here))

    def scores_of(topic: str) -> dict[tuple[bytes, bytes], dict[str, Any]]:
        by_source = {}
        for record in read_topic(deployment.bootstrap, topic):
            headers = dict(record.headers() or [])
            by_source[headers["source-partition"], headers["source-offset"]] = json.loads(record.value() or b"")
        return by_source

    live = scores_of(deployment.output_topic)
    with without_topics_behind(shell, word):
        shell.serve(block, lambda: len(scores_of(f"fraud-scores.{word}")) == 200)
        again = scores_of(f"fraud-scores.{word}")

    assert len(live) == len(read_topic(deployment.bootstrap, deployment.output_topic)) == 600
    wanted = {at: score for at, score in live.items() if score["transaction_id"].startswith("t-2-")}
    assert again.keys() == wanted.keys()
    assert all(again[at]["window_length"] == score["window_length"] for at, score in wanted.items())
    probabilities = {at: score["fraud_probability"] for at, score in wanted.items()}
    assert {at: score["fraud_probability"] for at, score in again.items()} == pytest.approx(probabilities, abs=1e-5)


def test_windows_move_along_to_added_partitions(shell: PageShell) -> None:
    """That scores are then the same as if there had always been so many: tests/integration/test_reset.py."""
    deployment = shell.deployment
    shell.environment["PATH"] = f"{with_kafka_tools(shell.directory / 'programs')}:{shell.environment['PATH']}"
    scorer = deployment.scorer()
    produce(deployment.bootstrap, deployment.input_topic, traffic(300, users=50, seed=1, bad_share=0))
    deployment.wait_until_scored([scorer])
    assert scorer.stop() == 0
    printed = shell.type(the_block("docs/operations.md", "kafka-topics.sh"))

    lines = re.findall(r"^partition \d+: (\d+) events?, (\d+) from other partitions$", printed, re.MULTILINE)
    moved = [(int(events), int(others)) for events, others in lines]
    assert len(moved) == 24
    assert sum(events for events, _ in moved) == 300
    assert 150 < sum(others for _, others in moved) < 300


def test_the_doctor_and_the_bundles_are_asked_before_an_upgrade(shell: PageShell) -> None:
    store_of(shell, OLDER, NEWER)
    printed = shell.type(the_block("docs/how-to/upgrading.md", "tenfold doctor"))

    assert f"bundle {NEWER} proves its sums" in printed
    assert printed.splitlines()[-2:] == [f"{OLDER}: verified", f"{NEWER}: verified"]


def test_what_was_imported_is_in_the_first_score(shell: PageShell) -> None:
    """Windows and profiles of the page on own data; the training between is that of the walk-through."""
    today = datetime.now(UTC).date()
    settings, load_history, send = map(shell.script, blocks("docs/how-to/own-data.md"))
    lines = ["ID,CARD,WHEN,SHOP,amount,FRAUD"]
    lines += [
        f"t{n},{('anna', 'ben')[n % 2]},{today - timedelta(days=40 - n)} 12:00:00,m-{n % 9},{n}.50,{int(n == 4)}"
        for n in range(30)
    ]
    (shell.directory / "2025.csv").write_text("\n".join(lines))
    load_history = load_history.replace("2025.csv.gz", "2025.csv").replace("--partitions 12", "--partitions 3")
    said = shell.run(settings + load_history)
    make_bundle(shell.directory / "models" / NEWER, "context", model_version=NEWER)
    (shell.directory / "models" / "champion").write_text(NEWER)
    shell.run(f"{settings}tenfold profiles publish")
    scorer = shell.start(f"{settings}tenfold score")
    scorer.wait_until(lambda: http_get(shell.port, "/readyz")[0] == 200, 60)
    *_, score = shell.run(settings + send).splitlines()
    assert scorer.end(signal.SIGTERM) == 0

    assert said.splitlines()[0].startswith("30 payments from ")
    told = json.loads(score)
    assert (told["model_version"], told["window_length"]) == (NEWER, 10)
    assert today <= datetime.fromisoformat(told["profile_day"]).date() <= today + timedelta(days=1)
    assert scorer.log.read_text().count("the archive has what came before the log") == 3
