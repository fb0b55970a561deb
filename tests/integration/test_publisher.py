"""The publisher's transactions on a real broker: what readers and the group see of producers that take turns."""

import random

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from stream.clients import consumer_config, open_client, transactional_config
from stream.encode import Output
from stream.publisher import NotPublishedError, TransactionalPublisher, open_publisher
from stream.settings import Settings, SettingsError
from tests.conftest import GivenKafka, OwnKafka
from tests.oracle import read_topic
from tests.topics import Topics

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(kafka: OwnKafka | GivenKafka, topics: Topics, group_id: str) -> Settings:
    return Settings(
        bootstrap_servers=kafka.bootstrap,
        group_id=group_id,
        input_topic=topics.create("transactions"),
        output_topic=topics.create("fraud-scores"),
        dlq_topic=topics.create("transactions.dlq"),
    )


def values(settings: Settings) -> list[bytes | None]:
    return [record.value() for record in read_topic(settings.bootstrap_servers, settings.output_topic)]


def test_batches_without_a_pause_are_read_in_order_and_the_last_offset_stands(settings: Settings) -> None:
    consumer = open_client(Consumer, consumer_config(settings))
    group = consumer.consumer_group_metadata()
    publisher = TransactionalPublisher(settings, "a", lambda: False)
    sent = [b"%d" % batch for batch in range(41)]
    for batch, value in enumerate(sent):
        publisher.publish([Output(b"user", value, [])], [], {0: batch + 1}, group)
    publisher.close()

    assert values(settings) == sent
    [committed] = consumer.committed([TopicPartition(settings.input_topic, 0)], 30)
    assert committed.offset == len(sent)
    consumer.close()


@pytest.mark.parametrize("left_open", [0, 1, 2])
def test_what_a_predecessor_left_open_is_never_read(settings: Settings, left_open: int) -> None:
    """It was killed after ``left_open`` batches, with the next one in an open transaction."""
    consumer = open_client(Consumer, consumer_config(settings))
    group = consumer.consumer_group_metadata()
    predecessor = TransactionalPublisher(settings, "a", lambda: False)
    for batch in range(left_open):
        predecessor.publish([Output(b"user", b"whole", [])], [], {0: batch + 1}, group)
    producer: Producer = predecessor._outboxes[0].producer
    producer.begin_transaction()
    producer.produce(settings.output_topic, b"half")
    producer.flush(30)

    successor = TransactionalPublisher(settings, "a", lambda: False)
    successor.publish([Output(b"user", b"after", [])], [], {0: left_open + 1}, group)
    assert values(settings) == [*[b"whole"] * left_open, b"after"]

    successor.close()
    predecessor.close()
    consumer.close()


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_a_challengers_scores_go_along_and_are_told_from_others_when_they_are_refused(
    settings: Settings, topics: Topics, delivery: str
) -> None:
    shadow = topics.create("fraud-scores.shadow", config={"max.message.bytes": "1000"})
    settings = settings.model_copy(update={"shadow_topic": shadow, "delivery": delivery})
    consumer = open_client(Consumer, consumer_config(settings))
    group = consumer.consumer_group_metadata()
    publisher = open_publisher(settings, "a", consumer, lambda: False)
    publisher.publish([Output(b"user", b"live", [])], [], {0: 1}, group, [Output(b"user", b"shadow", [])])
    assert values(settings) == [b"live"]
    assert [record.value() for record in read_topic(settings.bootstrap_servers, shadow)] == [b"shadow"]

    large = Output(b"user", random.Random(1).randbytes(100_000), [])  # no compression makes it small
    with pytest.raises(NotPublishedError) as refused:
        publisher.publish([], [], {0: 2}, group, [large])
    assert refused.value.shadow
    assert not refused.value.dead_letter_too_large

    with pytest.raises(NotPublishedError) as refused:
        publisher.publish([large._replace(value=random.Random(1).randbytes(2_000_000))], [], {0: 2}, group)
    assert not refused.value.shadow
    [committed] = consumer.committed([TopicPartition(settings.input_topic, 0)], 30)
    assert committed.offset == 1
    publisher.close()
    consumer.close()


def test_no_name_of_a_process_is_the_second_name_of_another() -> None:
    """Two processes may be called a and a~2 only if a setting allows it."""
    with pytest.raises(ValueError, match="instance_id"):
        Settings(instance_id="a~2")
    assert transactional_config(Settings(group_id="g"), "a~2")["transactional.id"] == "g~a~2"


def test_a_transaction_longer_than_the_brokers_allow_is_a_wrong_setting_and_no_outage(settings: Settings) -> None:
    """Waiting for it would be waiting for nothing, and Kafka does answer."""
    too_long = settings.model_copy(update={"kafka": {"transaction.timeout.ms": "2000000"}})
    with pytest.raises(SettingsError, match=r"transaction\.max\.timeout\.ms"):
        TransactionalPublisher(too_long, "long", lambda: False)
