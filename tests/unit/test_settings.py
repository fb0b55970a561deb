"""Settings come from environment and file, and are refused by name when they are wrong."""

import os
from pathlib import Path

import pytest
from redis.connection import parse_url

from stream.clients import consumer_config, reader_config, transactional_config
from stream.doctor_rights import _NAME
from stream.redis_url import split_redis_url
from stream.settings import Settings, SettingsError, load


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("TENFOLD_") and not name.startswith("TENFOLD_TEST_"):
            monkeypatch.delenv(name)


def test_defaults_work_beside_a_local_broker() -> None:
    settings = load()
    assert settings.bootstrap_servers == "localhost:9092"
    assert (settings.group_id, settings.input_topic, settings.output_topic) == (
        "tenfold",
        "transactions",
        "fraud-scores",
    )
    assert (settings.dlq_topic, settings.labels_topic) == ("transactions.dlq", "fraud-labels")
    assert settings.shadow_topic == "fraud-scores.shadow"
    assert (settings.delivery, settings.partitioner) == ("exactly-once", "murmur2")


def test_the_dead_letter_topic_is_named_after_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_INPUT_TOPIC", "payments")
    assert load().dlq_topic == "payments.dlq"


def test_any_librdkafka_property_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_KAFKA__security.protocol", "SASL_SSL")
    monkeypatch.setenv("TENFOLD_KAFKA__SASL_MECHANISM", "SCRAM-SHA-512")
    monkeypatch.setenv("TENFOLD_KAFKA__session.timeout.ms", "30000")
    settings = load()
    for config in (consumer_config(settings), reader_config(settings), transactional_config(settings, "a")):
        assert config["security.protocol"] == "SASL_SSL"
        assert config["sasl.mechanism"] == "SCRAM-SHA-512"
    assert consumer_config(settings)["session.timeout.ms"] == "30000"


def test_any_redis_option_can_be_given_and_numbers_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_REDIS__socket_timeout", "2.5")
    monkeypatch.setenv("TENFOLD_REDIS__username", "scorer")
    monkeypatch.setenv("TENFOLD_REDIS_URL", "rediss://localhost")
    monkeypatch.setenv("TENFOLD_REDIS__ssl_check_hostname", "false")
    assert load().redis == {"socket_timeout": 2.5, "username": "scorer", "ssl_check_hostname": False}


@pytest.mark.parametrize("password", ["1e5", "true", "0123", "-0", "null"])
def test_a_password_that_looks_like_a_number_is_text(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    monkeypatch.setenv("TENFOLD_REDIS_URL", "redis+sentinel://localhost/fraud")
    monkeypatch.setenv("TENFOLD_REDIS__password", password)
    monkeypatch.setenv("TENFOLD_REDIS__USERNAME", password)
    monkeypatch.setenv("TENFOLD_REDIS__SENTINEL_USERNAME", password)
    assert load().redis == {"password": password, "username": password, "sentinel_username": password}


def test_a_file_gives_settings_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "tenfold.toml"
    file.write_text('group_id = "from-file"\ninput_topic = "payments"\n[kafka]\n"security.protocol" = "ssl"\n')
    monkeypatch.setenv("TENFOLD_CONFIG", str(file))
    monkeypatch.setenv("TENFOLD_GROUP_ID", "from-env")
    settings = load()
    assert (settings.group_id, settings.input_topic) == ("from-env", "payments")
    assert settings.kafka == {"security.protocol": "ssl"}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TENFOLD_GROUPID", "x", "TENFOLD_GROUPID is not a setting: did you mean TENFOLD_GROUP_ID?"),
        ("TENFOLD_KAFKA_SASL_MECHANISM", "x", "is not a setting: did you mean TENFOLD_KAFKA__SASL_MECHANISM?"),
        ("TENFOLD_REDIS_PASSWORD", "x", "is not a setting: did you mean TENFOLD_REDIS__PASSWORD?"),
        ("TENFOLD_REDIS_ULR", "x", "is not a setting: did you mean TENFOLD_REDIS_URL?"),
        ("TENFOLD_DELIVERY", "exactly_once", "TENFOLD_DELIVERY is 'exactly_once': give exactly-once or at-least-once"),
        ("TENFOLD_METRICS_PORT", "70000", "TENFOLD_METRICS_PORT is '70000': give a whole number, 0 to 65535"),
        ("TENFOLD_METRICS_PORT", "http", "TENFOLD_METRICS_PORT is 'http': give a whole number, 0 to 65535"),
        ("TENFOLD_WINDOW_TTL_DAYS", "0", "TENFOLD_WINDOW_TTL_DAYS is '0': give a whole number, 1 to 36500"),
        ("TENFOLD_WINDOW_TTL_DAYS", "36501", "TENFOLD_WINDOW_TTL_DAYS is '36501': give a whole number, 1 to 36500"),
        ("TENFOLD_REASONS", "-1", "TENFOLD_REASONS is '-1': give a whole number, 0 or more"),
        ("TENFOLD_MODEL_POLL_S", "soon", "TENFOLD_MODEL_POLL_S is 'soon': give a number above 0, 86400 at most"),
        ("TENFOLD_MODEL_POLL_S", "inf", "TENFOLD_MODEL_POLL_S is 'inf': give a number above 0, 86400 at most"),
        ("TENFOLD_OUTAGE_LIMIT_S", "inf", "TENFOLD_OUTAGE_LIMIT_S is 'inf': give a number above 0, 1000000000 at most"),
        ("TENFOLD_OUTAGE_LIMIT_S", "nan", "TENFOLD_OUTAGE_LIMIT_S is 'nan': give a number above 0, 1000000000 at most"),
        ("TENFOLD_OUTAGE_LIMIT_S", "0", "TENFOLD_OUTAGE_LIMIT_S is '0': give a number above 0, 1000000000 at most"),
        ("TENFOLD_ALLOW_EVICTION", "maybe", "TENFOLD_ALLOW_EVICTION is 'maybe': give true or false"),
        ("TENFOLD_BOOTSTRAP_SERVERS", "", "TENFOLD_BOOTSTRAP_SERVERS is '': give Kafka brokers, host:port,…"),
        (
            "TENFOLD_KAFKA",
            "x",
            "TENFOLD_KAFKA is no JSON object: give each of its entries as TENFOLD_KAFKA__NAME=VALUE",
        ),
        ("TENFOLD_REDIS_URL", "localhost:6379", "TENFOLD_REDIS_URL: must begin with redis://"),
        ("TENFOLD_REDIS_URL", "redis+proxy://a", "TENFOLD_REDIS_URL: must begin with redis://"),
        ("TENFOLD_REDIS_URL", "redis+sentinel://a:1,b:2", "TENFOLD_REDIS_URL: redis+sentinel:// ends with /<master>"),
        ("TENFOLD_REDIS_URL", "redis+sentinel://a/fraud/x", "TENFOLD_REDIS_URL: redis+sentinel:// ends with /<master>"),
        ("TENFOLD_REDIS_URL", "redis+cluster://a:1,b:2/1", "TENFOLD_REDIS_URL: a Redis Cluster has database 0 only"),
        ("TENFOLD_REDIS_URL", "redis+cluster://a:1,,b", "TENFOLD_REDIS_URL: has an address that is not host"),
        ("TENFOLD_REDIS_URL", "redis+cluster://a:b", "TENFOLD_REDIS_URL: has an address that is not host"),
        ("TENFOLD_OUTPUT_TOPIC", "transactions", "TENFOLD_OUTPUT_TOPIC both name the topic 'transactions'"),
        ("TENFOLD_KAFKA__group.id", "x", "TENFOLD_KAFKA__group.id cannot be set: use TENFOLD_GROUP_ID"),
        ("TENFOLD_KAFKA__GROUP_PROTOCOL", "consumer", "TENFOLD_KAFKA__group.protocol cannot be set"),
        ("TENFOLD_KAFKA__ENABLE_AUTO_COMMIT", "true", "TENFOLD_KAFKA__enable.auto.commit cannot be set"),
        ("TENFOLD_REDIS__DECODE_RESPONSES", "true", "TENFOLD_REDIS__DECODE_RESPONSES, or decode_responses behind an"),
        ("TENFOLD_REDIS__READ_FROM_REPLICAS", "true", "cannot be set: a replica may be behind, and so its marks are"),
        ("TENFOLD_REDIS__LOAD_BALANCING_STRATEGY", "x", "cannot be set: a replica may be behind, and so its marks are"),
        ("TENFOLD_REDIS__RETRY", "3", "cannot be set: the scorer tries again by itself, for TENFOLD_OUTAGE_LIMIT_S"),
        ("TENFOLD_REDIS__HOST", "redis", "cannot be set: its address is TENFOLD_REDIS_URL"),
        ("TENFOLD_REDIS__PORT", "6380", "cannot be set: its address is TENFOLD_REDIS_URL"),
        ("TENFOLD_REDIS__DB", "1", "cannot be set: its address is TENFOLD_REDIS_URL"),
        ("TENFOLD_REDIS__SSL", "false", "cannot be set: its address is TENFOLD_REDIS_URL, rediss:// the one over TLS"),
        ("TENFOLD_REDIS_URL", "redis://a?decode_responses=false", "cannot be set: windows are bytes, not text"),
        ("TENFOLD_REDIS_URL", "redis+cluster://a?read_from_replicas=1", "cannot be set: a replica may be behind"),
        (
            "TENFOLD_REDIS__SOCKET_TIMEOT",
            "5",
            "TENFOLD_REDIS__SOCKET_TIMEOT is no option of redis-py's client: did you mean socket_timeout?",
        ),
        ("TENFOLD_REDIS__SOCKET_TIMEOUT", "0", "SOCKET_TIMEOUT takes a number of seconds above 0, 1000000 at most"),
        ("TENFOLD_REDIS__SOCKET_TIMEOUT", "soon", "SOCKET_TIMEOUT takes a number of seconds above 0, 1000000 at most"),
        ("TENFOLD_REDIS__SOCKET_TIMEOUT", "Infinity", "SOCKET_TIMEOUT takes a number of seconds above 0, 1000000 at"),
        ("TENFOLD_REDIS__SOCKET_READ_SIZE", "0", "SOCKET_READ_SIZE takes a whole number, 1 to 1000000000"),
        ("TENFOLD_REDIS__MAX_CONNECTIONS", "-1", "MAX_CONNECTIONS takes a whole number, 0 to 1000000000"),
        ("TENFOLD_REDIS__SOCKET_KEEPALIVE", "on", "TENFOLD_REDIS__SOCKET_KEEPALIVE takes true or false"),
        ("TENFOLD_REDIS__PROTOCOL", "4", "TENFOLD_REDIS__PROTOCOL takes 2 or 3"),
        *(
            (f"TENFOLD_REDIS__{name}", "x", f"TENFOLD_REDIS__{name} takes an object of Python, which no setting can")
            for name in ("CONNECTION_POOL", "CREDENTIAL_PROVIDER", "CACHE_CONFIG", "SOCKET_KEEPALIVE_OPTIONS")
        ),
        ("TENFOLD_REDIS__SSL_CA_CERTS", "ca.pem", "TENFOLD_REDIS__SSL_CA_CERTS is for TLS: TENFOLD_REDIS_URL begins"),
        ("TENFOLD_REDIS__SENTINEL_PASSWORD", "x", "is for addresses that begin with redis+sentinel://"),
        ("TENFOLD_REDIS__DYNAMIC_STARTUP_NODES", "false", "is for addresses that begin with redis+cluster://"),
        ("TENFOLD_REDIS__ENCODING", "utf-16", "cannot be set: the names of windows are UTF-8"),
        ("TENFOLD_REDIS__UNIX_SOCKET_PATH", "/run/redis", "cannot be set: its address is TENFOLD_REDIS_URL"),
        ("TENFOLD_INSTANCE_ID", "a b", "TENFOLD_INSTANCE_ID is 'a b': give 0 to 64 letters, digits, dots, hyphens or"),
        ("TENFOLD_CONFIG", "/nowhere/tenfold.toml", "TENFOLD_CONFIG names /nowhere/tenfold.toml, which is not a file"),
        ("TENFOLD_CONFIG", "/proc/self/mem", "/proc/self/mem, which TENFOLD_CONFIG names, cannot be read: "),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load()
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ('groupid = "x"', "groupid, in tenfold.toml, is not a setting: did you mean group_id?"),
        ('TENFOLD_GROUP_ID = "x"', "TENFOLD_GROUP_ID, in tenfold.toml, is not a setting: in the file it is group_id"),
        ('tenfold_groupid = "x"', "tenfold_groupid, in tenfold.toml, is not a setting: did you mean group_id?"),
        (
            'TENFOLD_REDIS__PASSWORD = "x"',
            "TENFOLD_REDIS__PASSWORD, in tenfold.toml, is not a setting: in the file it is password below [redis]",
        ),
        (
            'kafka__sasl_mechanism = "x"',
            "kafka__sasl_mechanism, in tenfold.toml, is not a setting: in the file it is sasl_mechanism below [kafka]",
        ),
        (
            '[tenfold]\ngroup_id = "x"',
            "[tenfold], in tenfold.toml, is not a table of settings: they stand at its top, with no table around them",
        ),
        (
            '[tool.tenfold]\ngroup_id = "x"',
            "[tool.tenfold], in tenfold.toml, is not a table of settings: they stand at its top,",
        ),
        ('[tenfold]\nTENFOLD_GROUP_ID = "x"', "[tenfold], in tenfold.toml, is not a table of settings: they stand"),
        ('[kafak]\n"sasl.mechanism" = "x"', "kafak, in tenfold.toml, is not a setting: did you mean kafka?"),
        ("[scorer]\ndelay = 1", "scorer, in tenfold.toml, is not a setting"),
        (
            "[redis]\nsocket_timeot = 5",
            "TENFOLD_REDIS__socket_timeot, in tenfold.toml, is no option of redis-py's client: did you mean",
        ),
        ('[redis]\nsocket_timeout = "5s"', "TENFOLD_REDIS__socket_timeout, in tenfold.toml, takes a number of seconds"),
        ("[redis]\nclient_name = 7", "TENFOLD_REDIS__client_name, in tenfold.toml, takes text"),
        (
            '[redis]\nsocket_timeout = 5\ngroup_id = "x"',
            "TENFOLD_REDIS__group_id, in tenfold.toml, is a setting of its own: TENFOLD_GROUP_ID, or group_id",
        ),
        ("input_topic = 7", "TENFOLD_INPUT_TOPIC, in tenfold.toml, is 7: give text, in quotes"),
        ('batch_size = "x"', "TENFOLD_BATCH_SIZE, in tenfold.toml, is 'x': give a whole number, 1 to 65536"),
        ("reasons = 1\ngroup_id =\n", "tenfold.toml is no TOML: Invalid value (at line 2, column 11)"),
        ("group_id = '\udcff'", "tenfold.toml is no TOML: 'utf-8' codec can't decode byte 0xff in position 12"),
    ],
)
def test_what_cannot_be_in_the_file_is_refused_with_the_files_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toml: str, message: str
) -> None:
    assert_the_file_is_refused(monkeypatch, tmp_path, toml, message, not_told="Input should be")


def test_what_is_wrong_in_the_environment_is_not_the_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TENFOLD_BATCH_SIZE", "0")
    message = "TENFOLD_BATCH_SIZE is '0': give a whole number, 1 to 65536"
    assert_the_file_is_refused(monkeypatch, tmp_path, "batch_size = 7", message, not_told="tenfold.toml")


def assert_the_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, folder: Path, toml: str, message: str, *, not_told: str
) -> None:
    monkeypatch.chdir(folder)
    Path("tenfold.toml").write_text(toml, encoding="utf-8", errors="surrogateescape")
    monkeypatch.setenv("TENFOLD_CONFIG", "tenfold.toml")
    with pytest.raises(SettingsError) as refused:
        load()
    assert str(refused.value).startswith(message)
    assert not_told not in str(refused.value)


def test_the_url_of_redis_says_how_it_is_run() -> None:
    assert split_redis_url("redis://u:p@h:1/2?protocol=3").plain == "redis://u:p@h:1/2?protocol=3"
    sentinel = split_redis_url("rediss+sentinel://u:p%2C@a,b:2/fraud/3?protocol=3")
    assert (sentinel.kind, sentinel.tls, sentinel.master) == ("sentinel", True, "fraud")
    assert sentinel.addresses == (("a", 26379), ("b", 2))
    assert parse_url(sentinel.plain) == {"host": "a", "username": "u", "password": "p,", "db": 3, "protocol": 3}
    cluster = split_redis_url("redis+cluster://:p@a:7000,b")
    assert (cluster.kind, cluster.tls) == ("cluster", False)
    assert cluster.addresses == (("a", 7000), ("b", 6379))
    assert parse_url(cluster.plain) == {"host": "a", "port": 7000, "password": "p"}


def test_secrets_are_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_REDIS_URL", "rediss+sentinel://scorer:hunter2@redis:6380/fraud/1")
    monkeypatch.setenv("TENFOLD_REDIS__password", "hunter2")
    monkeypatch.setenv("TENFOLD_REDIS__sentinel_password", "hunter2")
    monkeypatch.setenv("TENFOLD_KAFKA__sasl.password", "hunter2")
    monkeypatch.setenv("TENFOLD_KAFKA__ssl.key.pem", "hunter2")
    monkeypatch.setenv("TENFOLD_KAFKA__SASL_OAUTHBEARER_CLIENT_SECRET", "hunter2")
    settings = load()
    for printed in (repr(settings), str(settings), str(settings.masked())):
        assert "hunter2" not in printed
    assert settings.masked()["redis_url"] == "rediss+sentinel://****@redis:6380/fraud/1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TENFOLD_REDIS_URL", "http://scorer:hunter2@redis"),
        ("TENFOLD_PSEUDONYM_KEYS", "hunter2"),
        ("TENFOLD_KAFKA", "hunter2"),
        ("TENFOLD_REDIS", '{"password": ["hunter2"]}'),
        ("TENFOLD_REDIS__password__is", "hunter2"),
    ],
)
def test_a_wrong_secret_is_not_in_the_error(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load()
    assert name.partition("__")[0] in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ('kafka = "sasl.password=hunter2"', "TENFOLD_KAFKA, in tenfold.toml, is no table: give each of its entries as"),
        ('redis = "password=hunter2"', "TENFOLD_REDIS, in tenfold.toml, is no table: give each of its entries as"),
        ('kafka = ["hunter2"]', "TENFOLD_KAFKA, in tenfold.toml, is no table"),
        ('[kafka]\nsasl.password = "hunter2"', "TENFOLD_KAFKA, in tenfold.toml: sasl is no text: in TOML a name with"),
        ('[redis]\npassword = ["hunter2"]', "TENFOLD_REDIS__password, in tenfold.toml, takes text"),
        ('redis_url = "http://scorer:hunter2@redis"', "TENFOLD_REDIS_URL, in tenfold.toml: must begin with"),
        ('redis_url = ["hunter2"]', "TENFOLD_REDIS_URL, in tenfold.toml: "),
        ('pseudonym_keys = "hunter2"', "TENFOLD_PSEUDONYM_KEYS, in tenfold.toml: "),
        ('redis_url = "redis://:hunter2@redis', "tenfold.toml is no TOML: "),
        ('delivery = "hunter2"\nkafka = "hunter2', "tenfold.toml is no TOML: "),
    ],
)
def test_nor_is_one_of_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toml: str, message: str) -> None:
    assert_the_file_is_refused(monkeypatch, tmp_path, toml, message, not_told="hunter2")


def test_no_error_of_a_value_is_pydantics_own(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"kafka", "redis", "kafka_token_command", "archive", "model", "model_store", "metrics_host"}
    own = {"redis_url", "pseudonym_keys", "bootstrap_servers"}
    checked = Settings.model_fields.keys() - free - own
    for name in checked:
        monkeypatch.setenv(f"TENFOLD_{name.upper()}", " ")
    with pytest.raises(SettingsError) as refused:
        load()
    lines = str(refused.value).splitlines()
    assert {line.partition(" is ' ': give ")[0] for line in lines} == {f"TENFOLD_{name.upper()}" for name in checked}
    assert [line for line in lines if "should" in line or "valid" in line] == []


def test_an_address_may_name_its_database_as_redis_py_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_REDIS_URL", "redis://a?db=3")
    assert parse_url(load().redis_url.get_secret_value())["db"] == 3


def test_no_two_processes_of_any_groups_have_a_transactional_id_in_common() -> None:
    names = ["0", "blue-0", "doctor", "blue", "blue-0-doctor", _NAME]
    ids = [
        transactional_config(Settings(group_id=group), each)["transactional.id"]
        for group in ("tenfold", "tenfold-blue", "tenfold-blue-0")
        for name in names
        for each in (name, f"{name}~2")
    ]
    assert len(set(ids)) == len(ids)
    with pytest.raises(ValueError, match="instance_id"):
        Settings(instance_id=_NAME)
    with pytest.raises(ValueError, match="group_id"):
        Settings(group_id="tenfold~blue")


def test_groups_of_archiver_and_monitor_are_no_scorers(monkeypatch: pytest.MonkeyPatch) -> None:
    fraud = Settings(group_id="fraud")
    groups = {fraud.archive_group: "ends in -archive, as the group of fraud's archiver does"}
    groups[fraud.monitor_group] = "ends in -monitor, as the group of fraud's monitor does"
    for group, why in groups.items():
        monkeypatch.setenv("TENFOLD_GROUP_ID", group)
        with pytest.raises(SettingsError, match=f"TENFOLD_GROUP_ID: {why}"):
            load()


def test_an_empty_model_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_MODEL", "")
    assert load().model is None
