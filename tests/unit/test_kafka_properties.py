"""What librdkafka refuses is a wrong setting, and says what was meant."""

import pytest
from confluent_kafka import Consumer

from stream.clients import OFTEN_SET, open_client, reader_config
from stream.settings import Settings, SettingsError


def told(name: str) -> str:
    try:
        open_client(Consumer, reader_config(Settings(kafka={name: "x"}))).close()
    except SettingsError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("sasl.pasword", 'No such configuration property: "sasl.pasword": did you mean sasl.password?'),
        ("security.protokol", 'No such configuration property: "security.protokol": did you mean security.protocol?'),
        ("SSL_CA_LOCATIN", 'No such configuration property: "ssl.ca.locatin": did you mean ssl.ca.location?'),
        (
            "input_topic",
            "a setting of its own is meant, TENFOLD_INPUT_TOPIC, or input_topic above the file's tables",
        ),
        ("colour", 'TENFOLD_KAFKA__… is refused by librdkafka: No such configuration property: "colour"'),
    ],
)
def test_a_mistyped_property_is_told_with_what_was_meant(name: str, meant: str) -> None:
    assert told(name).endswith(meant)


def test_what_is_suggested_is_there() -> None:
    unknown = [name for name in OFTEN_SET if "No such configuration property" in told(name)]
    assert unknown == []
