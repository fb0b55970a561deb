"""Whether a JSON Schema still keeps the promise of an earlier one, for the keywords that the contract's schemas use."""

from collections.abc import Iterator
from enum import Enum
from typing import Any

Schema = dict[str, Any]

_AT_LEAST, _AT_MOST = ("minimum", "minLength"), ("maximum", "maxLength")
_SAME = ("pattern", "format")
_NO_PROMISE = {"$schema", "$defs", "title", "description", "examples"}
_KNOWN = {"type", "anyOf", "properties", "required", "items", *_AT_LEAST, *_AT_MOST, *_SAME} | _NO_PROMISE


class Direction(Enum):
    """Who is to go on working with the schema of before."""

    WRITERS = "writers"  # what others produced is still accepted
    READERS = "readers"  # what others understood is all that is published


def breaks(old: Schema, new: Schema, direction: Direction) -> list[str]:
    """Return what ``new`` breaks for those who know ``old``, a sentence each. Fields that only ``new`` has may come.

    Raises:
        ValueError: a schema has a keyword that is not known here; nothing can be said then.
    """
    gone = sorted(set(_places(old, old)) - set(_places(new, new)))
    lost = [f"{place} is gone" for place in gone if place.rpartition(".")[0].removesuffix("[]") not in gone]
    given, by = ((old, old), (new, new)) if direction is Direction.WRITERS else ((new, new), (old, old))
    return [*lost, *_refused(given, by, "the value")]


def _refused(given: tuple[Schema, Schema], by: tuple[Schema, Schema], place: str) -> Iterator[str]:
    """Yield why something that fits ``given`` may not fit ``by``. Both are schemas with the document they stand in."""
    (one, of_one), (other, of_other) = (_resolved(*given), given[1]), (_resolved(*by), by[1])
    choices = [(each, of_other) for each in other.get("anyOf", [other])]
    for variant in one.get("anyOf", [one]):
        problems = [list(_refused_one((_resolved(variant, of_one), of_one), each, place)) for each in choices]
        if all(problems):
            yield from min(problems, key=len)


def _refused_one(given: tuple[Schema, Schema], by: tuple[Schema, Schema], place: str) -> Iterator[str]:
    one, other = given[0], _resolved(*by)
    if one.get("type") != other.get("type") and (one.get("type"), other.get("type")) != ("integer", "number"):
        yield f"{place} is {one.get('type')} for one and {other.get('type')} for the other"
        return
    for keyword in _AT_LEAST:
        if keyword in other and one.get(keyword, float("-inf")) < other[keyword]:
            yield f"{place} has another {keyword}"
    for keyword in _AT_MOST:
        if keyword in other and one.get(keyword, float("inf")) > other[keyword]:
            yield f"{place} has another {keyword}"
    for keyword in _SAME:
        if keyword in other and one.get(keyword) != other[keyword]:
            yield f"{place} has another {keyword}"
    for name in other.get("required", []):
        if name not in one.get("required", []):
            yield f"{place}.{name} must be there for one and not for the other"
    for name, its in one.get("properties", {}).items():
        if name in other.get("properties", {}):
            yield from _refused((its, given[1]), (other["properties"][name], by[1]), f"{place}.{name}")
    if "items" in other:
        yield from _refused((one.get("items", {}), given[1]), (other["items"], by[1]), f"{place}[]")


def _places(schema: Schema, document: Schema, place: str = "the value") -> Iterator[str]:
    """Yield each field that a schema names, those of lists and alternatives included."""
    schema = _resolved(schema, document)
    for name, its in schema.get("properties", {}).items():
        yield f"{place}.{name}"
        yield from _places(its, document, f"{place}.{name}")
    for variant in schema.get("anyOf", []):
        yield from _places(variant, document, place)
    if "items" in schema:
        yield from _places(schema["items"], document, f"{place}[]")


def _resolved(schema: Schema, document: Schema) -> Schema:
    if "$ref" in schema:
        schema = document["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    unknown = schema.keys() - _KNOWN
    if unknown:
        raise ValueError(f"the check of compatibility does not know {', '.join(sorted(unknown))}: teach it")
    return schema
