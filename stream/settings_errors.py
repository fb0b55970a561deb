"""What is said of settings that are wrong: which one, whether it is the file's, and what may stand there. Pure."""

import json
import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings


class OptionError(ValueError):
    """An option of a table is wrong; the message goes on behind its name."""

    def __init__(self, option: str, wrong: str) -> None:
        super().__init__(wrong)
        self.option = option


def unknown(environ: Mapping[str, str], settings: type[BaseSettings], more: Collection[str]) -> str | None:
    """Return what is wrong with a variable's name, or with a table given whole; ``None`` if nothing is.

    Args:
        environ: the environment.
        settings: the class whose fields are the settings.
        more: variables that are known, too.
    """
    prefix, tables = _prefix(settings), _tables(settings)
    known = {f"{prefix}{name.upper()}" for name in settings.model_fields} | set(more)
    for table in set(tables) & set(environ):
        if not _is_json_object(environ[table]):
            return f"{table} is no JSON object: give each of its entries as {table}__NAME=VALUE"
    entries = tuple(f"{table}__" for table in tables)
    for name in environ:
        upper = name.upper()
        if upper.startswith(prefix) and not upper.startswith(entries) and upper not in known:
            close = _close(upper, known, tables)
            return f"{name} is not a setting" + (f": did you mean {close}?" if close else "")
    return None


def explain(
    problem: Mapping[str, Any], settings: type[BaseSettings], environ: Mapping[str, str], file: str | None
) -> str:
    """Return what is wrong with a value, in words; a secret is not quoted.

    Args:
        problem: one of the errors that pydantic has found.
        settings: the class whose fields are the settings.
        environ: the environment.
        file: the settings' file, if there is one.
    """
    place = [str(part) for part in problem["loc"]]
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not place:
        return message
    if problem["type"] == "extra_forbidden":  # what the environment has is looked at before
        return _unknown_in_file(place[0], problem["input"], settings, file)
    variable, given = f"{_prefix(settings)}{place[0].upper()}", problem["input"]
    error = problem.get("ctx", {}).get("error")
    option = f"{variable}__{error.option}" if isinstance(error, OptionError) else f"{variable}__"
    exported = any(name.upper() == variable or name.upper().startswith(option.upper()) for name in environ)
    if isinstance(error, OptionError):
        return f"{option.upper()} {message}" if exported or not file else f"{option}, in {file}, {message}"
    name = "__".join([variable, *place[1:2]]) + (f", in {file}," if file and not exported else "")
    if problem["type"] == "value_error":  # raised here, and says what to do
        return f"{name.removesuffix(',')}: {message}"
    if problem["type"] == "dict_type":
        return f"{name} is no table: give each of its entries as {variable}__NAME=VALUE, or below [{place[0]}]"
    is_secret = len(place) > 1 or settings.model_fields[place[0]].annotation is SecretStr
    if is_secret or not isinstance(given, bool | int | float | str):
        return f"{name.removesuffix(',')}: {message}"
    return f"{name} is {given!r}: give {_allowed(settings.model_fields[place[0]], problem)}"


def _unknown_in_file(name: str, value: object, settings: type[BaseSettings], file: str | None) -> str:
    """Return what is wrong with a name at the top of the file that is no setting's."""
    table = _table_around(name, value, settings)
    if table:
        return f"[{table}], in {file}, is not a table of settings: they stand at its top, with no table around them"
    wrong, plain = f"{name}, in {file}, is not a setting", _plain(name, settings)
    head, underscores, entry = plain.partition("__")
    if underscores and f"{_prefix(settings)}{head.upper()}" in _tables(settings):
        return f"{wrong}: in the file it is {json.dumps(entry) if '.' in entry else entry} below [{head}]"
    if plain in settings.model_fields:
        return f"{wrong}: in the file it is {plain}"
    close = get_close_matches(plain, settings.model_fields, n=1)
    return wrong + (f": did you mean {close[0]}?" if close else "")


def _table_around(name: str, value: object, settings: type[BaseSettings]) -> str | None:
    """Return the name of the table that has settings in it: this one, or one inside; ``None`` if none has."""
    if not isinstance(value, Mapping):
        return None
    if {_plain(key, settings) for key in value} & settings.model_fields.keys():
        return name
    return next(filter(None, (_table_around(f"{name}.{key}", each, settings) for key, each in value.items())), None)


def _plain(name: str, settings: type[BaseSettings]) -> str:
    """Return how a setting is called in the file, by a name that may be its variable's."""
    return name.lower().removeprefix(_prefix(settings).lower())


def _allowed(field: FieldInfo, problem: Mapping[str, Any]) -> str:
    """Return what may stand in a setting, in words."""
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "")
    if kind.startswith("bool"):
        return "true or false"
    if kind == "string_pattern_mismatch":
        [(least, most)] = re.findall(r"{(\d+),(\d+)}", context["pattern"])
        return f"{least} to {most} letters, digits, dots, hyphens or underscores"
    if kind == "string_type":
        return "text, in quotes"
    if field.annotation not in (int, float):
        return str(field.description)
    bounds = {
        bound: getattr(each, bound) for each in field.metadata for bound in ("ge", "gt", "le") if hasattr(each, bound)
    }
    number = "a whole number" if field.annotation is int else "a number"
    match bounds:
        case {"ge": least, "le": most}:
            return f"{number}, {least} to {most}"
        case {"ge": least}:
            return f"{number}, {least} or more"
        case _:
            return f"{number} above {bounds['gt']:g}, {bounds['le']} at most"


def _prefix(settings: type[BaseSettings]) -> str:
    return settings.model_config["env_prefix"]


def _tables(settings: type[BaseSettings]) -> list[str]:
    """Return the variables whose entries have two underscores before their names."""
    fields = settings.model_fields.items()
    return [f"{_prefix(settings)}{name.upper()}" for name, field in fields if get_origin(field.annotation) is dict]


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _close(name: str, known: Collection[str], tables: Collection[str]) -> str | None:
    """Return what was meant by a name that is no setting: one that looks nearly so, an entry of a table, or any."""
    near = get_close_matches(name, known, n=1, cutoff=0.85)
    entries = [name.replace(f"{table}_", f"{table}__", 1) for table in tables if name.startswith(f"{table}_")]
    return next(iter([*near, *entries, *get_close_matches(name, known, n=1)]), None)
