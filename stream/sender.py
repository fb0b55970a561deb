"""Sending records to Kafka: keyed as Java's producers do, idempotent, and no refusal is overlooked."""

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream.clients import open_client, producer_config
from stream.errors import TenfoldError
from stream.settings import Settings

_FLUSH_S = 30.0


class SendError(TenfoldError):
    """Kafka does not take a record; the message says why."""


class Sender:
    """An idempotent producer that sees to refusals."""

    def __init__(self, settings: Settings) -> None:
        self.producer: Producer = open_client(Producer, producer_config(settings))
        self._at = settings.bootstrap_servers
        self._refused: KafkaError | None = None

    def send(self, topic: str, key: bytes, value: bytes, timestamp_ms: int = 0) -> None:
        """Hand a record to the producer; wait where its queue is full. ``timestamp_ms`` 0 is the time of sending.

        Raises:
            SendError: Kafka has refused this record or one before.
        """
        while True:
            try:
                self.producer.produce(topic, key=key, value=value, timestamp=timestamp_ms, on_delivery=self._delivered)
            except BufferError:
                self.producer.poll(0.1)
                self._check()
            except KafkaException as error:  # larger than the producer may send
                raise SendError(f"Kafka at {self._at} cannot be sent a record: {error.args[0].str()}") from None
            else:
                break
        self.producer.poll(0)  # each time: the next record may be long in coming
        self._check()

    def flush(self) -> None:
        """Return once Kafka has everything.

        Raises:
            SendError: it has refused a record, or does not take all of them.
        """
        left = self.producer.flush(_FLUSH_S)
        self._check()
        if left:
            raise SendError(f"Kafka at {self._at} has not taken {left} records within {_FLUSH_S:.0f} s")

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        self._refused = self._refused or error

    def _check(self) -> None:
        if self._refused is not None:
            raise SendError(f"Kafka at {self._at} refused a record: {self._refused.str()}")
