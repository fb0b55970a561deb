"""Which bundle made a published score, and what it read beside the window: found again, where they still are."""

from collections.abc import Iterator
from contextlib import closing
from datetime import date
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
import redis
from pydantic import ValidationError

from models.bundle import SPEC, BundleError, load_bundle, resolve_model, starter
from models.context import NO_DAY, Profiled, context_columns, day_date
from models.runtime import MissingRuntimeError
from models.spec import BundleSpec
from models.window import Records
from stream.errors import TenfoldError
from stream.explain import Context, Model
from stream.parse import ParsedTransaction
from stream.profile_layout import ProfileIndex
from stream.profiles import tables_for
from stream.redis_client import RedisAwayError, connect, round_trip
from stream.redis_cluster import Command
from stream.settings import Settings, mask_url


class ExplainError(TenfoldError):
    """A payment cannot be explained; the message says why and what to do."""


class NotKeptError(ExplainError):
    """The payment or its score is not where it was looked for; it may be elsewhere."""


def find_model(settings: Settings, version: str | None) -> Model:
    """Return the bundle of a version: the one that is set, one of the store, or a starter. Else the one in force.

    Raises:
        ExplainError: it does not verify, or its engine is not installed.
    """
    try:
        chosen = next((each for each in _bundles(settings) if version is not None and _version(each) == version), None)
        directory = chosen or resolve_model(settings.model, settings.model_store)
        bundle = load_bundle(directory, settings.runtime, settings.runtime_threads)
        return Model(bundle, chosen is not None, settings.model_store)
    except (BundleError, MissingRuntimeError) as error:
        raise ExplainError(str(error)) from None


def _bundles(settings: Settings) -> Iterator[Path]:
    if settings.model is not None:
        yield settings.model
    if settings.model_store.is_dir():
        yield from sorted(each for each in settings.model_store.iterdir() if each.is_dir())
    yield from (starter(preset) for preset in ("default", "baseline"))


@cache
def _version(directory: Path) -> str | None:
    try:
        return BundleSpec.model_validate_json((directory / SPEC).read_bytes()).model_version
    except (OSError, ValidationError):  # not a bundle, or not one of this release
        return None


def served_context(
    settings: Settings, spec: BundleSpec, payment: ParsedTransaction, record: Records, day: date | None
) -> Context:
    """Return what a model reads beside the window: the profiles of ``day``, as they lie in Redis.

    ``record`` is ``[1] RECORD``, the payment's own. Where the table is gone, the context is that of no table.

    Raises:
        ExplainError: what says which tables there are cannot be read.
        stream.redis_client.RedisAwayError: Redis does not answer.
    """
    tables = tables_for(spec, settings.input_topic, settings.pseudonyms)
    if tables is None:
        return Context(None, None)
    names = settings.pseudonyms.of([payment.user_id.encode()])
    try:
        with closing(connect(settings)) as client:
            [raw] = round_trip(client, [("GET", tables.keys.index)])
            index = _index(raw, tables.keys.index.decode())
            only = ProfileIndex(tables=tuple(table for table in index.tables if table.day == day))
            tables.learn(only.model_dump_json().encode())
            question = tables.ask(record["created_at_ms"], [payment.merchant_id], names)
            commands = [cast("Command", ("HMGET", key, *fields)) for key, fields in question.commands]
            found = tables.read(question, round_trip(client, commands) if commands else [])
    except redis.RedisError as error:
        url = mask_url(settings.redis_url.get_secret_value())
        raise RedisAwayError(f"Redis at {url} does not answer ({error}): it has the profiles") from None
    profiled = Profiled(found.profiles[:, 0], found.profiles[:, 1], np.array([payment.amount]))
    used = int(found.days[0])
    return Context(context_columns(profiled, spec.context), None if used == NO_DAY else day_date(used))


def _index(raw: bytes | None, key: str) -> ProfileIndex:
    try:
        return ProfileIndex() if raw is None else ProfileIndex.model_validate_json(raw)
    except ValidationError:
        told = f"{key} in Redis is no index of profiles: delete it, and run `tenfold profiles publish`"
        raise ExplainError(told) from None
