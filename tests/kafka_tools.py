"""Kafka's own command-line tools, as its download has them, out of the jars that the tests have."""

import os
from pathlib import Path

import pytest

from tests.kafka_jars import KAFKA, PartMissingError, find_java, kafka_jars

_TOOLS = {
    "kafka-console-producer.sh": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-console-consumer.sh": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-configs.sh": "kafka.admin.ConfigCommand",
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
}


def java_with_kafka() -> list[str]:
    """Return a command of Java that finds Kafka's classes; skip the test where there are none."""
    try:
        java, jars = find_java(), kafka_jars()
    except PartMissingError as missing:
        pytest.skip(f"no Kafka console tools: {missing}")
    quiet = f"-Dlog4j2.configurationFile={KAFKA / 'log4j2.properties'}"
    return [java, quiet, "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*"]


def with_kafka_tools(directory: Path) -> str:
    """Write the tools into a folder and return a PATH that begins with it."""
    java = " ".join(f"'{word}'" for word in java_with_kafka())
    for name, main in _TOOLS.items():
        (directory / name).write_text(f'#!/bin/sh\nexec {java} {main} "$@"\n')
        (directory / name).chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"
