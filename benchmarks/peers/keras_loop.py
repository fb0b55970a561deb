"""The plain consumer that the project began as: one message, one list in Redis, one ``model.predict``, one commit.

Runs in the peers' environment. Windows are in order of arrival; late and repeated transactions are taken as they come.
At least once.
"""

import argparse
import json
import signal
import threading

import keras
import numpy as np
import redis
from confluent_kafka import Consumer, Producer

from models.bundle import KERAS, starter
from models.features import PRESETS, step_features
from models.window import RECORD, SEQUENCE_LENGTH, VPN, Windows
from stream.contract import epoch_ms


def window_of(transactions: list[dict[str, object]]) -> Windows:
    """Return parsed transactions, oldest first, as one window."""
    windows = Windows.empty(1, SEQUENCE_LENGTH)
    windows.records[0, : len(transactions)] = np.array(
        [(epoch_ms(t["created_at"]), 0, t["amount"], 0, VPN if t["is_vpn"] else 0) for t in transactions], RECORD
    )
    windows.lengths[0] = len(transactions)
    return windows


def main() -> None:
    """Score until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--redis-url", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())

    model = keras.models.load_model(starter("default") / KERAS)
    client = redis.Redis.from_url(arguments.redis_url)
    producer = Producer({"bootstrap.servers": arguments.bootstrap})
    consumer = Consumer(
        {
            "bootstrap.servers": arguments.bootstrap,
            "group.id": arguments.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([arguments.input])
    while not stopped.is_set():
        message = consumer.poll(0.5)
        if message is None:
            continue
        if message.error() is not None:
            raise RuntimeError(f"{arguments.input} cannot be read: {message.error()}")
        transaction = json.loads(message.value())
        key = f"{arguments.group}:{transaction['user_id']}"
        client.lpush(key, json.dumps(transaction))
        client.ltrim(key, 0, SEQUENCE_LENGTH - 1)
        history = [json.loads(kept) for kept in reversed(client.lrange(key, 0, -1))]
        features = step_features(window_of(history), PRESETS["default"])
        probability = float(model.predict(features, verbose=0)[0, 0])
        score = {
            "transaction_id": transaction["transaction_id"],
            "user_id": transaction["user_id"],
            "fraud_probability": probability,
            "lstm_score": int(probability * 100),
        }
        producer.produce(arguments.output, key=message.key(), value=json.dumps(score))
        producer.poll(0)
        consumer.commit(message, asynchronous=False)
    producer.flush()
    consumer.close()


if __name__ == "__main__":
    main()
