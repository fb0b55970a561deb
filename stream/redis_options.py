"""Which options of redis-py's client a setting can give, and what each takes: a truth value, a number or text.

redis-py's own signatures say so. Left to it, a mistake is an error of Python's with the first command, or none at all.
"""

import inspect
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from types import UnionType
from typing import Any, Union, get_args, get_origin
from urllib.parse import parse_qs

import redis
from redis.cluster import REDIS_ALLOWED_KEYS
from redis.connection import parse_url

from stream.redis_url import RedisUrl

SENTINELS = "sentinel_"  # options that begin so are for the connections to Sentinel

_LONGEST_S = 1_000_000  # well below what a socket refuses to wait
_MOST = 1_000_000_000  # of connections, attempts, seconds or bytes

#: What a setting can hold, by the name of its type, and how that is said.
_GIVE = {
    "bool": "true or false",
    "int": f"a whole number, 0 to {_MOST}",
    "bytes": f"a whole number, 1 to {_MOST}",
    "float": f"a number of seconds above 0, {_LONGEST_S} at most",
    "str": "text",
}

#: Options that redis-py's client takes of one server only, which it is told the address of.
_ALONE = {"single_connection_client"}

#: Options that are not for the connections to Sentinel: where it is says the address, and what it answers is text.
_NOT_OF_SENTINEL = {"host", "port", "db", "unix_socket_path", "encoding", "encoding_errors", "decode_responses"}

#: Options that take some values only.
_CHOICES: dict[str, tuple[object, ...]] = {
    "ssl_min_version": (771, 772),  # TLS 1.2 and 1.3
    "protocol": (2, 3),
    "ssl_cert_reqs": ("none", "optional", "required"),
}

#: Options that need a package that redis-py does not bring: the module, and the package's name.
_NEEDS = {"ssl_validate_ocsp": ("cryptography", "cryptography"), "ssl_validate_ocsp_stapled": ("OpenSSL", "pyOpenSSL")}


def takes_text(name: str, place: RedisUrl) -> bool:
    """Return whether an option takes text: ``1e5`` and ``true`` are text then, too."""
    return _options_of(_form(place)).get(name) == "str"


def wrong_option(name: str, value: object, place: RedisUrl) -> str | None:
    """Return what is wrong with an option, without its name and value; ``None`` if nothing is."""
    known = _options_of(_form(place))
    if name not in known:
        return _unknown(name, place)
    if name.startswith("ssl_") and not place.tls:
        return "is for TLS: TENFOLD_REDIS_URL begins with rediss:// then, rediss+sentinel:// or rediss+cluster://"
    choices = _CHOICES.get(name.removeprefix(SENTINELS))
    if choices is not None:
        return None if value in choices else f"takes {', '.join(map(str, choices[:-1]))} or {choices[-1]}"
    module, package = _NEEDS.get(name.removeprefix(SENTINELS), ("", ""))
    if module and find_spec(module) is None:
        return f"needs the package {package}, which is not installed"
    takes = known[name]
    if not takes:
        return "takes an object of Python, which no setting can hold: leave it out"
    return None if _fits(value, takes) else f"takes {_GIVE[takes]}"


def wrong_in_query(place: RedisUrl, owned: Collection[str]) -> str | None:
    """Return what is wrong with an option behind the ``?`` of an address, and its name; ``None`` if nothing is.

    ``owned`` are options that are looked at elsewhere.
    """
    try:
        options = parse_url(place.plain)
    except ValueError as error:  # its name is in it, its value is not
        return str(error)
    for name in parse_qs(place.plain.partition("?")[2]).keys() - owned:
        value = options[name]
        if name.startswith("ssl_") and not isinstance(value, str) and place.tls:
            continue  # redis-py has a form for them here
        takes = _options_of(_form(place)).get(name)
        if name.startswith(SENTINELS) or (isinstance(value, str) and takes not in (None, "", "str")):
            return f"{name} cannot be given behind the ?: give it as TENFOLD_REDIS__{name.upper()}"
        wrong = wrong_option(name, value, place)
        if wrong:
            return f"{name} behind the ? {wrong}"
    return None


def _unknown(name: str, place: RedisUrl) -> str:
    """Return why an option is not known, and what was meant."""
    known = [each for each, takes in _options_of(_form(place)).items() if takes]
    for form, begin in (("server", "redis://"), ("sentinel", "redis+sentinel://"), ("cluster", "redis+cluster://")):
        if name in _options_of(form):
            return f"is for addresses that begin with {begin}"
    close = get_close_matches(name.lower(), known, n=1)
    return "is no option of redis-py's client" + (f": did you mean {close[0]}?" if close else "")


def _fits(value: object, takes: str) -> bool:
    match takes:
        case "bool":
            return value in (True, False)  # 1 and 0 among them
        case "int" | "bytes":
            return isinstance(value, int) and not isinstance(value, bool) and (takes == "bytes") <= value <= _MOST
        case "float":
            return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LONGEST_S
        case _:
            return isinstance(value, str)


def _form(place: RedisUrl) -> str:
    return "socket" if place.plain.startswith("unix://") else place.kind


@cache
def _options_of(form: str) -> Mapping[str, str]:
    """Return the options of the client of a server, of one behind Sentinel or of a cluster, and what each takes."""
    one = _plain_types(redis.Redis)
    alone = {name: one.pop(name) for name in _ALONE & one.keys()}
    if form == "cluster":
        handed_on = {name: takes for name, takes in one.items() if name in REDIS_ALLOWED_KEYS}
        return {**handed_on, **_plain_types(redis.RedisCluster)}
    if form == "socket":
        one = {name: takes for name, takes in one.items() if not name.startswith("socket_keepalive")}
    if form == "sentinel":
        theirs = {f"{SENTINELS}{name}": takes for name, takes in one.items() if name not in _NOT_OF_SENTINEL}
        return {**one, **theirs}
    return {**one, **alone}


def _plain_types(client: type) -> dict[str, str]:
    """Return each argument of a client, and the type of its values that a setting can hold, empty if there is none."""
    arguments = list(inspect.signature(client).parameters.values())
    types = {each.name: _plain_type(each.annotation) for each in arguments if each.kind is not each.VAR_KEYWORD}
    return {name: "bytes" if name.endswith("_size") else plain for name, plain in types.items()}


def _plain_type(annotation: Any) -> str:
    if isinstance(annotation, str):
        names = annotation.split(" | ")
    else:
        either = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
        names = [getattr(each, "__name__", "") for each in either]
    return next((name for name in _GIVE if name in names), "")
