"""Consumers that lose their brokers, as librdkafka does after metadata without any (its issue 5301).

The first consumer of a process is lost once it has taken some hundred records; those after it are not.
"""

import itertools
from typing import Any

import confluent_kafka

_SOME = 300


class _LostAfterSome(confluent_kafka.Consumer):
    _numbers = itertools.count(1)

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.first, self.taken = next(self._numbers) == 1, 0
        self.on_error = config["error_cb"]

    @property
    def lost(self) -> bool:
        return self.first and self.taken > _SOME

    def consume(self, *args: Any) -> Any:
        messages = super().consume(*args)
        self.taken += len(messages)
        return messages


class LostConsumer(_LostAfterSome):
    """It is told so, and gets no answer any more."""

    def poll(self, *args: Any) -> Any:
        return None if self._tell() else super().poll(*args)

    def consume(self, *args: Any) -> Any:
        return [] if self._tell() else super().consume(*args)

    def list_topics(self, *args: Any, **options: Any) -> Any:
        if self.lost:
            raise confluent_kafka.KafkaException(confluent_kafka.KafkaError(confluent_kafka.KafkaError._TRANSPORT))
        return super().list_topics(*args, **options)

    def _tell(self) -> bool:
        if self.lost:
            self.on_error(confluent_kafka.KafkaError(confluent_kafka.KafkaError._ALL_BROKERS_DOWN))
        return self.lost


class UnheardConsumer(_LostAfterSome):
    """It loses its partitions, too; no error tells of it, nor a question that is not answered."""

    def consume(self, *args: Any) -> Any:
        messages = super().consume(*args)
        if self.lost:
            self.unsubscribe()
        return messages

    def list_topics(self, *args: Any, **options: Any) -> Any:
        found = super().list_topics(*args, **options)
        if self.lost:
            found.brokers.clear()
        return found
