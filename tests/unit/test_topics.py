"""The topics that are created."""

from stream.settings import Settings
from stream.topics import topics_to_create


def test_records_are_kept_as_long_as_asked_and_dead_letters_may_be_large() -> None:
    topics = {topic.topic: topic.config for topic in topics_to_create(Settings(), 3, 1, keep_days=120)}
    assert {config.get("retention.ms") for config in topics.values()} == {str(120 * 86_400_000)}
    assert topics["transactions.dlq"]["max.message.bytes"] == "2097176"


def test_how_long_records_are_kept_is_the_brokers_affair_unless_it_is_asked_for() -> None:
    assert not any("retention.ms" in topic.config for topic in topics_to_create(Settings(), 3, 1))
