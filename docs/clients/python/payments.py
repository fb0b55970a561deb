"""Send three payments and handle every score that comes: keyed, idempotent, read committed, each once."""

import json
import os
import sys
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

BOOTSTRAP = os.environ.get("BOOTSTRAP_SERVERS", "localhost:9092")
PAYMENTS = os.environ.get("PAYMENTS_TOPIC", "transactions")
SCORES = os.environ.get("SCORES_TOPIC", "fraud-scores")
GROUP = os.environ.get("CONSUMER_GROUP", "alerts")


def send(payments: list[dict[str, Any]]) -> None:
    """Return once the brokers have all of them; raise if one of them was not taken."""
    refused: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            refused.append(error)

    # without this partitioner librdkafka would place users elsewhere than Java's clients do
    producer = Producer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "delivery.timeout.ms": 60_000,
        }
    )
    for payment in payments:
        producer.produce(PAYMENTS, key=payment["user_id"], value=json.dumps(payment), on_delivery=delivered)
        producer.poll(0)  # serves the callbacks of what was sent before
    producer.flush()  # until each is delivered or given up
    if refused:
        raise KafkaException(refused[0])


def read_scores(wanted: set[str], deadline: float) -> bool:
    """Handle scores until there is one for each wanted transaction; say whether there was before the deadline."""
    handled: set[tuple[tuple[str, bytes], ...]] = set()  # in your system: a unique key where you keep what was done
    consumer = Consumer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": GROUP,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,  # what store_offsets() has noted is committed, every 5 s and on close
        }
    )
    consumer.subscribe([SCORES])
    try:
        while wanted and time.monotonic() < deadline:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if error := message.error():
                if error.retriable():
                    continue
                raise KafkaException(error)
            source = tuple((name, value) for name, value in message.headers() if name.startswith("source-"))
            score = json.loads(message.value())
            if source not in handled:
                handled.add(source)
                handle(score)
            consumer.store_offsets(message)  # after the work: what a crash interrupts comes again
            wanted.discard(score["transaction_id"])
    finally:
        consumer.close()
    return not wanted


def handle(score: dict[str, Any]) -> None:
    """Do what a score calls for; here it is printed."""
    print(score["transaction_id"], score["user_id"], score["fraud_probability"], score["sequence_anomaly"])


def main() -> None:
    """Return once each payment has its score."""
    payments = [
        {
            "transaction_id": str(uuid.uuid4()),
            "user_id": user,
            "amount": 19.90,
            "created_at": datetime.now(UTC).isoformat(),  # RFC 3339, with its offset
            "is_vpn": False,
        }
        for user in ("anna", "bob", "clara")
    ]
    send(payments)
    if not read_scores({payment["transaction_id"] for payment in payments}, time.monotonic() + 60):
        sys.exit("after a minute there are payments without a score")


if __name__ == "__main__":
    main()
