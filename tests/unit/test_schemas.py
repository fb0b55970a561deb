"""The schemas that others build on are the contract's own, and keep what released ones promised."""

import copy
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from typer.testing import CliRunner

from stream.cli import app
from stream.contract import FRAUD_SCORE, SOURCE_OFFSET, SOURCE_PARTITION, SOURCE_TOPIC
from stream.decode import decode
from stream.encode import source_headers
from stream.errors import TenfoldError
from stream.parse import ParsedLabel, ParsedScore, parse_plain
from stream.schemas import MESSAGES, asyncapi, json_schemas, schema_files
from stream.settings import PREFIX, Settings
from tests.compatibility import Direction, breaks

ROOT = Path(__file__).parents[2]
CHECKED_IN = ROOT / "docs" / "schemas"
PUBLISHED = Draft7Validator(json.loads((ROOT / "tests" / "data" / "asyncapi" / "3.0.0.json").read_text()))
RELEASES = sorted(path.name for path in (CHECKED_IN / "released").iterdir())
NOW_MS = 1_772_500_000_000  # 2026-03-03T01:06:40Z

#: Whose work a change must not break: those who produce it, or those who read it.
DIRECTIONS = {
    "transaction": Direction.WRITERS,
    "fraud-label": Direction.WRITERS,
    "fraud-score": Direction.READERS,
    "fraud-score-headers": Direction.READERS,
    "dead-letter-headers": Direction.READERS,
}


@pytest.fixture
def defaults(monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    return Settings()


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((CHECKED_IN / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def examples(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json_schemas()[name]["examples"]
    return found


def altered(document: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """Return the document with ``value`` at ``place``, or without what is there where ``value`` is ``...``."""
    copied: Any = copy.deepcopy(document)
    *steps, last = (int(step) if step.isdigit() else step for step in place.split("/"))
    part = copied
    for step in steps:
        part = part[step]
    part[last] = value
    if value is ...:
        del part[last]
    return copied


def test_the_schemas_that_are_checked_in_are_the_codes(defaults: Settings) -> None:
    found = {path.name: path.read_text() for path in CHECKED_IN.glob("*.json")}

    assert found == schema_files(defaults), "run: tenfold schema --out docs/schemas"


def test_the_command_writes_them_and_prints_the_document_alone(defaults: Settings, tmp_path: Path) -> None:
    written = CliRunner().invoke(app, ["schema", "--out", str(tmp_path / "new")])
    printed = CliRunner().invoke(app, ["schema"])

    assert written.exit_code == printed.exit_code == 0
    assert {path.name: path.read_text() for path in (tmp_path / "new").iterdir()} == schema_files(defaults)
    assert json.loads(printed.stdout) == asyncapi(defaults)


def test_a_place_that_cannot_be_written_is_said(defaults: Settings, tmp_path: Path) -> None:  # noqa: ARG001
    (tmp_path / "file").write_text("")
    refused = CliRunner().invoke(app, ["schema", "--out", str(tmp_path / "file")])

    assert isinstance(refused.exception, TenfoldError)
    assert "file cannot be written: File exists" in str(refused.exception)


@pytest.mark.parametrize("name", MESSAGES)
def test_examples_fit_their_schema(name: str) -> None:
    assert examples(name)
    for each in examples(name):
        validator(name).validate(each)


def test_the_engine_takes_the_examples() -> None:
    payments = examples("transaction")
    values = [json.dumps(each).encode() for each in payments]
    decoded = decode([each["user_id"].encode() for each in payments], values, [NOW_MS] * len(values))
    scores = [json.dumps(each).encode() for each in examples("fraud-score")]
    labels = [json.dumps(each).encode() for each in examples("fraud-label")]

    assert decoded.dead == []
    assert parse_plain(ParsedScore, scores, ("created_at", "scored_at")).others == []
    assert parse_plain(ParsedLabel, labels, ("labelled_at",)).others == []
    assert [FRAUD_SCORE.validate_json(each)["lstm_score"] for each in scores] == [91, 0]


def test_the_headers_of_a_score_are_what_their_schema_says() -> None:
    [headers] = source_headers("transactions", [2], [1204])

    [example] = examples("fraud-score-headers")
    assert {name: value.decode() for name, value in headers if isinstance(value, bytes)} == example
    assert list(example) == [SOURCE_TOPIC, SOURCE_PARTITION, SOURCE_OFFSET]


@pytest.mark.parametrize(
    "change",
    [
        {"transaction_id": ""},
        {"transaction_id": "t" * 129},
        {"transaction_id": 7},
        {"transaction_id": ...},
        {"user_id": ...},
        {"user_id": None},
        {"amount": ...},
        {"amount": "12.5"},
        {"amount": True},
        {"amount": -0.01},
        {"amount": 1.1e12},
        {"created_at": ...},
        {"created_at": "2026-03-01 18:21:07Z"},
        {"created_at": "2026-03-01T18:21:07"},
        {"created_at": "yesterday"},
        {"created_at": 1772389267},
        {"is_vpn": 1},
        {"is_vpn": None},
        {"merchant_id": ""},
        {"merchant_id": 7},
    ],
    ids=str,
)
def test_schema_and_engine_refuse_the_same_payments(change: dict[str, Any]) -> None:
    payment = {name: value for name, value in (examples("transaction")[0] | change).items() if value is not ...}
    user = payment.get("user_id")

    assert not validator("transaction").is_valid(payment)
    assert decode([user.encode() if isinstance(user, str) else None], [json.dumps(payment).encode()], [NOW_MS]).dead


@pytest.mark.parametrize(
    "change",
    [
        {"device": {"os": "x"}},
        {"merchant_id": None},
        {"amount": 0},
        {"amount": 10**12},
        {"user_id": "\N{FAMILY}" * 128},
    ],
    ids=str,
)
def test_schema_and_engine_take_the_same_payments(change: dict[str, Any]) -> None:
    payment = examples("transaction")[0] | change

    assert validator("transaction").is_valid(payment)
    assert not decode([payment["user_id"].encode()], [json.dumps(payment).encode()], [NOW_MS]).dead


def test_the_document_has_the_topics_and_the_group_that_are_set() -> None:
    settings = Settings(input_topic="payments", output_topic="scores", labels_topic="verdicts", group_id="eu")
    document = asyncapi(settings)

    addresses = {name: channel["address"] for name, channel in document["channels"].items()}
    assert addresses == {
        "transactions": "payments",
        "scores": "scores",
        "shadowScores": "scores.shadow",
        "deadLetters": "payments.dlq",
        "labels": "verdicts",
    }
    assert document["operations"]["scoreTransactions"]["bindings"]["kafka"]["groupId"]["const"] == "eu"


def test_the_document_is_what_asyncapi_3_asks_for(defaults: Settings) -> None:
    PUBLISHED.validate(asyncapi(defaults))
    PUBLISHED.validate(json.loads((CHECKED_IN / "asyncapi.json").read_text()))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("asyncapi", "2.6.0"),
        ("info/version", ...),
        ("servers/kafka/protocol", ...),
        ("channels/scores/adress", "fraud-scores"),
        ("operations/publishScores/action", "publish"),
        ("operations/publishScores/channel", ...),
        ("operations/scoreTransactions/bindings/kafka/groupId", 7),
        ("components/messages/fraudScore/bindings/kafka/key", "user_id"),
        ("components/messages/fraudScore/headres", {}),
        ("components/schemas/Transaction/properties/amount/type", "decimal"),
    ],
)
def test_a_document_that_asyncapi_3_does_not_know_is_found(defaults: Settings, place: str, value: Any) -> None:
    assert not PUBLISHED.is_valid(altered(asyncapi(defaults), place, value))


def test_the_document_refers_to_nothing_that_is_not_there(defaults: Settings) -> None:
    document = asyncapi(defaults)
    references = set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)))

    assert len(references) > 10
    for reference in references:
        found = document
        for step in reference.split("/"):
            found = found[step]


def test_the_documents_schemas_are_those_of_the_messages(defaults: Settings) -> None:
    schemas = asyncapi(defaults)["components"]["schemas"]

    for schema in json_schemas().values():
        alone = {name: part for name, part in schema.items() if name not in {"$schema", "$defs"}}
        assert json.loads(json.dumps(alone).replace("#/$defs/", "#/components/schemas/")) == schemas[schema["title"]]


def test_the_page_lists_the_files(defaults: Settings) -> None:
    page = (ROOT / "docs" / "messages.md").read_text()

    assert re.findall(r"^\| `([\w.-]+\.json)` \|", page, re.MULTILINE) == list(schema_files(defaults))


def test_the_messages_of_the_readme_fit() -> None:
    blocks = re.findall(r"^```json\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    messages = [json.loads(line) for block in blocks for line in block.splitlines()]
    scores = [message for message in messages if "fraud_probability" in message]

    assert scores
    for score in scores:
        validator("fraud-score").validate(score)


# --- compatibility


def released(version: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CHECKED_IN / "released" / version / f"{name}.schema.json").read_text())
    return found


def test_each_release_has_left_its_schemas() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()

    assert set(re.findall(r"^## \[(.+?)\] - \d{4}", changelog, re.MULTILINE)) <= set(RELEASES)
    assert set(RELEASES) <= set(re.findall(r"^## \[(.+?)\]", changelog, re.MULTILINE))
    assert DIRECTIONS.keys() == MESSAGES.keys()


@pytest.mark.parametrize("version", RELEASES)
@pytest.mark.parametrize("name", MESSAGES)
def test_what_a_release_promised_still_holds(version: str, name: str) -> None:
    if not (CHECKED_IN / "released" / version / f"{name}.schema.json").exists():
        pytest.skip("the release had no such message")

    assert breaks(released(version, name), json_schemas()[name], DIRECTIONS[name]) == []


def changed(name: str, place: str, value: Any) -> dict[str, Any]:
    """Return a message's schema with the keyword at ``place`` set, or taken out where ``value`` is ``...``."""
    return altered(json_schemas()[name], place, value)


def required(name: str, more: str = "", less: str = "") -> list[str]:
    return [*(each for each in json_schemas()[name]["required"] if each != less), *([more] if more else [])]


@pytest.mark.parametrize(
    ("name", "place", "value", "said"),
    [
        ("fraud-score", "properties/lstm_score", ..., "lstm_score is gone"),
        ("fraud-score", "properties/reasons", ..., "reasons is gone"),
        ("fraud-score", "$defs/ScoreReason/properties/effect", ..., r"reasons\[\].effect is gone"),
        ("fraud-score", "$defs/ScoreReason/properties/effect/type", "string", r"effect is string .* number"),
        ("fraud-score", "properties/lstm_score/type", "number", "lstm_score is number .* integer"),
        ("fraud-score", "properties/profile_day/anyOf/0/type", "integer", "profile_day"),
        ("fraud-score", "properties/lstm_score/maximum", 1000, "another maximum"),
        ("fraud-score", "properties/lstm_score/minimum", ..., "another minimum"),
        ("fraud-score", "properties/scored_at/pattern", "^[0-9]+$", "another pattern"),
        ("fraud-score", "properties/profile_day/anyOf/0/format", ..., "another format"),
        ("fraud-score", "properties/user_id/maxLength", 256, "another maxLength"),
        ("fraud-score", "required", required("fraud-score", less="scored_at"), "scored_at must be there"),
        ("fraud-score-headers", "properties/source-offset", ..., "source-offset is gone"),
        ("dead-letter-headers", "required", required("dead-letter-headers", less="reason"), "reason must be there"),
        ("transaction", "properties/merchant_id", ..., "merchant_id is gone"),
        ("transaction", "required", required("transaction", more="is_vpn"), "is_vpn must be there"),
        ("transaction", "required", required("transaction", more="currency"), "currency must be there"),
        ("transaction", "properties/amount/type", "string", "amount is number .* string"),
        ("transaction", "properties/amount/type", "integer", "amount is number .* integer"),
        ("transaction", "properties/amount/maximum", 1000, "another maximum"),
        ("transaction", "properties/transaction_id/minLength", 8, "another minLength"),
        ("transaction", "properties/merchant_id/anyOf/1", {"type": "boolean"}, "merchant_id is null"),
        ("transaction", "properties/created_at/pattern", "Z$", "another pattern"),
        ("fraud-label", "properties/is_fraud/type", "integer", "is_fraud is boolean .* integer"),
    ],
)
def test_what_breaks_those_who_know_the_old_schema_is_found(name: str, place: str, value: Any, said: str) -> None:
    found = breaks(json_schemas()[name], changed(name, place, value), DIRECTIONS[name])

    assert len(found) == 1, found
    assert re.search(said, found[0]), found


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("fraud-score", "properties/country", {"type": "string"}),
        ("fraud-score", "required", required("fraud-score", more="suppressed")),
        ("fraud-score", "properties/lstm_score/maximum", 99),
        ("fraud-score", "properties/fraud_probability/type", "integer"),
        ("fraud-score", "$defs/ScoreReason/properties/rank", {"type": "integer"}),
        ("fraud-score", "properties/profile_day/anyOf/1", ...),
        ("fraud-score", "description", "in other words"),
        ("transaction", "properties/country", {"type": "string"}),
        ("transaction", "required", required("transaction", less="created_at")),
        ("transaction", "properties/amount/maximum", 1e15),
        ("transaction", "properties/transaction_id/maxLength", ...),
        ("transaction", "properties/is_vpn", {"anyOf": [{"type": "boolean"}, {"type": "null"}]}),
    ],
)
def test_what_breaks_nobody_is_let_through(name: str, place: str, value: Any) -> None:
    assert breaks(json_schemas()[name], changed(name, place, value), DIRECTIONS[name]) == []


def test_a_keyword_that_the_check_does_not_know_is_said() -> None:
    with pytest.raises(ValueError, match="multipleOf"):
        breaks(
            json_schemas()["transaction"],
            changed("transaction", "properties/amount/multipleOf", 0.01),
            Direction.WRITERS,
        )
