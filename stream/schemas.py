"""The contract for others: a JSON Schema of each message, and one AsyncAPI document. Both are made from the contract.

``docs/schemas/`` holds what this makes with the default settings; a test fails where the two differ.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue

from stream.asyncapi import document
from stream.contract import DEAD_LETTER_HEADERS, FRAUD_LABEL, FRAUD_SCORE, SCORE_HEADERS, TRANSACTION
from stream.settings import Settings

Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MODE: JsonSchemaMode = "validation"

#: What goes over a topic, by the name that its file begins with; headers are text in UTF-8.
MESSAGES: Mapping[str, TypeAdapter[Any]] = {
    "transaction": TRANSACTION,
    "fraud-score": FRAUD_SCORE,
    "fraud-score-headers": SCORE_HEADERS,
    "fraud-label": FRAUD_LABEL,
    "dead-letter-headers": DEAD_LETTER_HEADERS,
}


class _Readable(GenerateJsonSchema):
    """In the contract's order, and without ``Transaction Id`` as the title of ``transaction_id``."""

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:  # noqa: ARG002
        return value

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def json_schemas() -> dict[str, Schema]:
    """Return the JSON Schema (2020-12) of each of :data:`MESSAGES`."""
    return {
        name: {"$schema": _DIALECT, **adapter.json_schema(schema_generator=_Readable, mode=_MODE)}
        for name, adapter in MESSAGES.items()
    }


def asyncapi(settings: Settings) -> Schema:
    """Return the AsyncAPI 3 document, with the topics and the group that the settings name."""
    references, definitions = TypeAdapter.json_schemas(
        [(name, _MODE, adapter) for name, adapter in MESSAGES.items()],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Readable,
    )
    payloads = {name: references[name, _MODE] for name in MESSAGES}
    return document(settings, payloads, definitions["$defs"])


def schema_files(settings: Settings) -> dict[str, str]:
    """Return the text of each file by its name."""
    texts = {f"{name}.schema.json": schema for name, schema in json_schemas().items()}
    return {name: as_text(content) for name, content in (texts | {"asyncapi.json": asyncapi(settings)}).items()}


def as_text(content: Schema) -> str:
    """Return JSON for people, and for diffs."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
