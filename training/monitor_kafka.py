"""What the monitor asks of Kafka beside what it reads, over a connection of its own.

A consumer's connection is busy: a question waits there until the fetch before it is answered, half a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from stream.topics import topic_id
from training.archive_kafka import Place

_CALL_S = 5.0


@dataclass(frozen=True)
class Logs:
    """The topics' logs. Methods raise ``KafkaException`` when Kafka does not answer in time."""

    admin: AdminClient

    def topic_id(self, topic: str) -> str:
        """Return the id of a topic."""
        return topic_id(self.admin, topic, _CALL_S)

    def partitions(self, topic: str) -> list[Place]:
        """Return all partitions of a topic."""
        return [(topic, each) for each in sorted(self.admin.list_topics(topic, _CALL_S).topics[topic].partitions)]

    def first_offsets(self, places: Sequence[Place]) -> list[int]:
        """Return the first offset that each log still has."""
        return self._offsets(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def ends(self, places: Sequence[Place]) -> list[int]:
        """Return the offset behind the last of each log."""
        return self._offsets(places, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def _offsets(self, places: Sequence[Place], spec: OffsetSpec) -> list[int]:
        asked = {TopicPartition(*place): spec for place in places}
        found = {
            (place.topic, place.partition): int(answer.result().offset)
            for place, answer in self.admin.list_offsets(asked, request_timeout=_CALL_S).items()
        }
        return [found[place] for place in places]
