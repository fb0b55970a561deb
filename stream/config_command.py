"""``tenfold config``: the settings that are in force, and where each comes from."""

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from stream.settings import CONFIG_FILE, PREFIX, Settings, load

_TABLES = ("kafka", "redis")


class Effective(NamedTuple):
    """One setting; an option of a client is ``kafka.<property>`` or ``redis.<option>``."""

    name: str
    value: object  # masked
    origin: str  # default, environment or file


def effective() -> list[Effective]:
    """Return every setting in force, secrets masked, in the order of the page of settings.

    Raises:
        stream.settings.SettingsError: they cannot be used.
    """
    settings = load()
    file = os.environ.get(CONFIG_FILE)
    in_file = tomllib.loads(Path(file).read_text(encoding="utf-8")) if file else {}
    return origins(settings.masked(), os.environ, in_file)


def origins(masked: Mapping[str, object], environ: Mapping[str, str], in_file: Mapping[str, Any]) -> list[Effective]:
    """Return each setting with its origin. Pure.

    Args:
        masked: what :meth:`stream.settings.Settings.masked` returns.
        environ: the environment.
        in_file: the settings of the TOML file.
    """
    exported = {name.upper() for name in environ}
    in_file = {name.lower(): value for name, value in in_file.items()}  # as they are read
    told = []
    for name in Settings.model_fields:
        variable = f"{PREFIX}{name.upper()}"
        value = masked[name]
        if name in _TABLES and isinstance(value, Mapping):
            of_file = {_option(name, each) for each in in_file.get(name, {})}
            whole = json.loads(environ.get(variable, "{}"))
            of_variables = {_option(name, each) for each in whole} | {
                _option(name, each.removeprefix(f"{variable}__"))
                for each in exported
                if each.startswith(f"{variable}__")
            }
            for option, its_value in value.items():
                from_file = option in of_file and option not in of_variables
                told.append(Effective(f"{name}.{option}", its_value, "file" if from_file else "environment"))
        else:
            origin = "environment" if variable in exported else "file" if name in in_file else "default"
            told.append(Effective(name, value, origin))
    return told


def lines(settings: list[Effective]) -> list[str]:
    """Return a line for each setting."""
    widths = [max(len(each.name) for each in settings), max(len(each.origin) for each in settings)]
    return [f"{each.name:{widths[0]}}  {each.origin:{widths[1]}}  {_shown(each.value)}".rstrip() for each in settings]


def _option(table: str, name: str) -> str:
    """Return an option as the settings name it: librdkafka's have dots, and a shell cannot export them."""
    return name.lower().replace("_", ".") if table == "kafka" else name.lower()


def _shown(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
