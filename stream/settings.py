"""Every setting, once: ``TENFOLD_…`` in the environment, or the same names in lower case in a TOML file.

The environment wins over the file. A setting that is unknown or contradicts another is refused at start, by name.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qs

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from stream.errors import UsageError
from stream.framing import Framing
from stream.logs import LogFormat
from stream.pseudonyms import Pseudonyms
from stream.redis_url import split_redis_url
from stream.settings_errors import OptionError, explain, unknown

PREFIX = "TENFOLD_"
CONFIG_FILE = f"{PREFIX}CONFIG"
_FOREIGN = f"{PREFIX}TEST_"  # the test suite's own addresses

_TOPIC = r"^[A-Za-z0-9._-]{1,249}$"  # what Kafka accepts

#: librdkafka properties that the scorer needs to own, and what to use instead.
_OWNED_KAFKA_PROPERTIES = {
    "bootstrap.servers": "TENFOLD_BOOTSTRAP_SERVERS",
    "metadata.broker.list": "TENFOLD_BOOTSTRAP_SERVERS",
    "group.id": "TENFOLD_GROUP_ID",
    "group.instance.id": "TENFOLD_INSTANCE_ID",
    "transactional.id": "TENFOLD_INSTANCE_ID",
    "auto.offset.reset": "TENFOLD_START_FROM",
    "partitioner": "TENFOLD_PARTITIONER",
    "enable.auto.commit": None,
    "enable.auto.offset.store": None,
    "enable.idempotence": None,
    "enable.partition.eof": None,
    "isolation.level": None,
    "partition.assignment.strategy": None,
    "group.protocol": None,  # that of KIP-848 has the broker assign, and knows nothing of session.timeout.ms
}

#: redis-py's options that would change what its answers mean, or whose they are, and why they cannot be set.
_OWNED_REDIS_OPTIONS = {
    "decode_responses": "windows are bytes, not text",
    **dict.fromkeys(("encoding", "encoding_errors"), "the names of windows are UTF-8"),
    "legacy_responses": "answers would have another form",
    **dict.fromkeys(("read_from_replicas", "load_balancing_strategy"), "a replica may be behind, and so its marks are"),
    "retry": "the scorer tries again by itself, for TENFOLD_OUTAGE_LIMIT_S",
    **dict.fromkeys(
        ("host", "port", "db", "ssl", "url", "unix_socket_path"),
        "its address is TENFOLD_REDIS_URL, rediss:// the one over TLS",
    ),
}

_BEHIND_THE_ADDRESS = (
    "has an option behind its ? that is none of redis-py's, or not as redis-py takes it; none is named, since one is a "
    "secret: write & in it as %26, or give it as TENFOLD_REDIS__NAME"
)


class SettingsError(UsageError):
    """The settings cannot be used; the message names each one at fault and what to do."""


def _scalar(value: object) -> object:
    """Return text from the environment as the number or truth value it spells."""
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except ValueError:
            return value
        return parsed if isinstance(parsed, bool | int | float) else value
    return value


RedisOption = bool | int | float | str


#: How consumer groups of jobs end, behind the scorers'; no group of scorers ends so.
_JOBS = {"archiver": "-archive", "monitor": "-monitor"}


class Settings(BaseSettings):
    """The scorer's settings; see ``docs/settings.md`` for a table."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    bootstrap_servers: str = Field("localhost:9092", min_length=1, description="Kafka brokers, host:port,…")
    kafka: dict[str, str] = Field({}, repr=False, description="any librdkafka property")
    kafka_token_command: str = Field("", description="a command that prints a token for SASL/OAUTHBEARER, as JSON")
    redis_url: SecretStr = Field(
        SecretStr("redis://localhost:6379/0"),
        description="redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://",
    )
    redis: dict[str, RedisOption] = Field({}, repr=False, description="any option of redis-py's client")

    group_id: str = Field(
        "tenfold", pattern=r"^[A-Za-z0-9._-]{1,249}$", description="consumer group; owns its windows in Redis"
    )
    instance_id: str = Field(
        "", pattern=r"^[A-Za-z0-9._-]{0,64}$", description="name of this process that survives restarts"
    )
    start_from: Literal["earliest", "latest"] = Field("earliest", description="where a group without offsets begins")
    delivery: Literal["exactly-once", "at-least-once"] = "exactly-once"
    partitioner: Literal["murmur2", "crc32", "any"] = Field("murmur2", description="how producers place keys")

    input_topic: str = Field("transactions", pattern=_TOPIC)
    output_topic: str = Field("fraud-scores", pattern=_TOPIC)
    dlq_topic: str = Field(
        "", pattern=f"{_TOPIC}|^$", description="dead letters; the input topic's name and .dlq if empty"
    )
    labels_topic: str = Field("fraud-labels", pattern=_TOPIC)
    input_framing: Framing = Field(
        "none", description="what may stand before the JSON of payments and labels: confluent is its Schema Registry's"
    )
    shadow_topic: str = Field(
        "", pattern=f"{_TOPIC}|^$", description="a challenger's scores; the output topic's name and .shadow if empty"
    )

    pseudonym_keys: SecretStr = Field(
        SecretStr(""),
        description="keys of users' pseudonyms in Redis and archive, newest first; without any, users have their ids",
    )

    archive: str = Field("", description="directory or fsspec URL of the archive")

    model: Path | None = Field(None, description="a bundle's directory; else the store's champion, else the starter")
    model_store: Path = Field(Path("models/store"), description="directory of bundles and the file champion")
    model_poll_s: float = Field(
        5.0, gt=0, le=86_400, description="seconds between two looks at the store, without a model given"
    )
    runtime: Literal["onnxruntime", "openvino", "openvino-bf16", "auto"] = "onnxruntime"
    runtime_threads: int = Field(1, ge=1, le=256)

    batch_size: int = Field(4096, ge=1, le=65536, description="most events in one transaction")
    reasons: int = Field(
        64, ge=0, description="flagged events of a micro-batch that get reasons at most; 0 switches reasons off"
    )
    allow_eviction: bool = Field(False, description="accept a Redis that may evict windows when its memory is full")
    window_ttl_days: int = Field(
        180, ge=1, le=36_500, description="Redis forgets a user's window after so long without events"
    )
    outage_limit_s: float = Field(
        300.0, gt=0, le=1_000_000_000, description="seconds without Kafka or Redis until the process gives up"
    )

    metrics_host: str = Field("127.0.0.1", description="address of /metrics, /healthz and /readyz")
    metrics_port: int = Field(9108, ge=0, le=65535, description="0 switches the three off")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: LogFormat = Field("auto", description="text on a terminal, else json")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Explicit values, then the environment, then the file that ``TENFOLD_CONFIG`` names."""
        config_file = os.environ.get(CONFIG_FILE)
        file = (TomlConfigSettingsSource(settings_cls, Path(config_file)),) if config_file else ()
        return (init_settings, env_settings, *file)

    @field_validator("model", mode="before")
    @classmethod
    def _no_model(cls, value: object) -> object:
        """Read an empty one as none, as a composed environment may have it."""
        return None if value == "" else value

    @field_validator("group_id")
    @classmethod
    def _no_jobs_group(cls, value: str) -> str:
        for job, end in _JOBS.items():
            if value.endswith(end):
                its = value.removesuffix(end) or "another deployment"
                raise ValueError(
                    f"ends in {end}, as the group of {its}'s {job} does: the two would share partitions, and neither "
                    "have them all. Give another name"
                )
        return value

    @property
    def archive_group(self) -> str:
        """The archiver's consumer group."""
        return self.group_id + _JOBS["archiver"]

    @property
    def monitor_group(self) -> str:
        """The monitor's consumer group."""
        return self.group_id + _JOBS["monitor"]

    @field_validator("dlq_topic")
    @classmethod
    def _dlq_beside_input(cls, value: str, info: Any) -> str:
        return value or f"{info.data.get('input_topic', 'transactions')}.dlq"

    @field_validator("shadow_topic")
    @classmethod
    def _shadow_beside_output(cls, value: str, info: Any) -> str:
        return value or f"{info.data.get('output_topic', 'fraud-scores')}.shadow"

    @field_validator("kafka", mode="before")
    @classmethod
    def _librdkafka_names(cls, value: object) -> object:
        """Read ``SECURITY_PROTOCOL``, the form a shell can export, as ``security.protocol``."""
        if not isinstance(value, Mapping):
            return value
        for name, entry in value.items():
            if not isinstance(entry, bool | int | float | str):  # in TOML, sasl.password = "…" is a table in a table
                raise ValueError(f'{name} is no text: in TOML a name with dots is in quotes, as "sasl.password"')
        return {
            str(name).lower().replace("_", "."): str(entry).lower() if isinstance(entry, bool) else str(entry)
            for name, entry in value.items()
        }

    @field_validator("redis", mode="before")
    @classmethod
    def _redis_options(cls, value: object, info: Any) -> object:
        """Read numbers and truth values, but a password of ``1e5`` as it stands; refuse what redis-py does not take."""
        if not isinstance(value, Mapping) or not value or "redis_url" not in info.data:
            return value
        from stream.redis_options import takes_text, wrong_option  # noqa: PLC0415 - redis-py takes long to import

        place = split_redis_url(info.data["redis_url"].get_secret_value())
        options = {name: entry if takes_text(name, place) else _scalar(entry) for name, entry in value.items()}
        for name, entry in options.items():
            wrong = None if name in _OWNED_REDIS_OPTIONS else wrong_option(name, entry, place)
            if name in cls.model_fields:  # in TOML a table goes on to the next, or to the end
                wrong = f"is a setting of its own: {PREFIX}{name.upper()}, or {name} above the file's tables"
            if wrong:
                raise OptionError(name, wrong)
        if "ssl_keyfile" in options and "ssl_certfile" not in options:
            raise OptionError("ssl_keyfile", "needs ssl_certfile, the certificate that the key is of")
        return options

    @field_validator("redis_url")
    @classmethod
    def _redis_place(cls, value: SecretStr) -> SecretStr:
        place = split_redis_url(value.get_secret_value())
        query = place.plain.partition("?")[2]
        if query:
            from stream.redis_options import wrong_in_query  # noqa: PLC0415

            wrong = wrong_in_query(place, _OWNED_REDIS_OPTIONS)
            if wrong:
                raise ValueError(_BEHIND_THE_ADDRESS if _is_secret(query) else wrong)
        return value

    @field_validator("pseudonym_keys")
    @classmethod
    def _usable_keys(cls, value: SecretStr) -> SecretStr:
        Pseudonyms.parse(value.get_secret_value())
        return value

    @property
    def pseudonyms(self) -> Pseudonyms:
        """How users are named in Redis."""
        return Pseudonyms.parse(self.pseudonym_keys.get_secret_value())

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        for name in self.kafka.keys() & _OWNED_KAFKA_PROPERTIES.keys():
            instead = _OWNED_KAFKA_PROPERTIES[name]
            raise ValueError(
                f"TENFOLD_KAFKA__{name} cannot be set: "
                + (f"use {instead}" if instead else "exactly-once scoring depends on its value")
            )
        query = parse_qs(self.redis_url.get_secret_value().partition("?")[2])
        for name, why in _OWNED_REDIS_OPTIONS.items():
            if name in self.redis or (name in query and name != "db"):
                raise ValueError(f"TENFOLD_REDIS__{name.upper()}, or {name} behind an address, cannot be set: {why}")
        spellings = ("sasl.mechanism", "sasl.mechanisms")  # to librdkafka they are one
        by_token = "OAUTHBEARER" in {self.kafka.get(name, "").upper() for name in spellings}
        if self.kafka_token_command and (not by_token or "sasl.oauthbearer.method" in self.kafka):
            raise ValueError(
                "TENFOLD_KAFKA_TOKEN_COMMAND needs TENFOLD_KAFKA__SASL_MECHANISM=OAUTHBEARER, and no "
                "TENFOLD_KAFKA__SASL_OAUTHBEARER_METHOD, with which librdkafka gets tokens by itself"
            )
        topics = {
            "TENFOLD_INPUT_TOPIC": self.input_topic,
            "TENFOLD_OUTPUT_TOPIC": self.output_topic,
            "TENFOLD_DLQ_TOPIC": self.dlq_topic,
            "TENFOLD_LABELS_TOPIC": self.labels_topic,
            "TENFOLD_SHADOW_TOPIC": self.shadow_topic,
        }
        for name, topic in topics.items():
            twins = [other for other, its in topics.items() if its == topic and other != name]
            if twins:
                raise ValueError(f"{name} and {twins[0]} both name the topic {topic!r}: give each its own")
        return self

    def masked(self) -> dict[str, object]:
        """Return the settings for printing, without passwords."""
        shown = self.model_dump(mode="json", exclude={"redis_url", "kafka", "redis", "pseudonym_keys"})
        shown["redis_url"] = mask_url(self.redis_url.get_secret_value())
        shown["pseudonym_keys"] = "****" if self.pseudonyms.keys else ""
        shown["archive"] = mask_url(self.archive)
        for table in ("kafka", "redis"):
            options: Mapping[str, object] = getattr(self, table)
            shown[table] = {name: "****" if _is_secret(name) else value for name, value in options.items()}
        return shown


def _is_secret(option: str) -> bool:
    return any(word in option.lower() for word in ("password", "secret", "key", "jaas", "token", "pem", "credential"))


def mask_url(url: str) -> str:
    """Return a URL with user and password masked, and its query where that names a secret.

    All before the last ``@`` is taken for theirs: a password may hold what ends one elsewhere. A user alone is shown,
    unless it is Redis', for which it may be a password without its colon.
    """
    scheme, begin, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    if "?" in user:  # of a password, or of the query
        user, at, place = "****", "", ""
    elif at and (":" in user or scheme.startswith(("redis", "unix"))):
        user = "****"
    path, mark, query = place.partition("?")
    return f"{scheme}{begin}{user}{at}{path}{mark}{'****' if _is_secret(query) or 'sig' in query.lower() else query}"


def load(**overrides: object) -> Settings:
    """Read the settings from the environment and the file that ``TENFOLD_CONFIG`` names; ``overrides`` win.

    Raises:
        SettingsError: a setting is unknown, cannot be used, or contradicts another.
    """
    environ = {name: value for name, value in os.environ.items() if not name.upper().startswith(_FOREIGN)}
    wrong = unknown(environ, Settings, [CONFIG_FILE])
    if wrong:
        raise SettingsError(wrong)
    config_file = os.environ.get(CONFIG_FILE)
    if config_file and not Path(config_file).is_file():
        raise SettingsError(f"{CONFIG_FILE} names {config_file}, which is not a file")
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        told = [explain(problem, Settings, environ, config_file) for problem in error.errors()]
        raise SettingsError("\n".join(told)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{config_file} is no TOML: {error}") from None
    except OSError as error:
        raise SettingsError(f"{config_file}, which {CONFIG_FILE} names, cannot be read: {error.strerror}") from None
    except ValueError as error:  # a JSON value in the environment
        raise SettingsError(f"the settings cannot be read: {error}") from None
