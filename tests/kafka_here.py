"""The real Kafka that this machine can run; ``make kafka`` lends one out, with a Redis, until it is ended."""

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.brokers import KafkaBroker, RedisServer
from tests.kafka_docker import DockerBroker
from tests.kafka_jars import PartMissingError
from tests.processes import StartError, free_port

OwnKafka = KafkaBroker | DockerBroker


def new_kafka(directory: Path, port: int | None = None) -> OwnKafka:
    """Prepare a broker, in a container or else from its jars, on ``port`` or any free one.

    Raises:
        PartMissingError: neither is to be had here.
    """
    try:
        return DockerBroker(port)
    except PartMissingError as no_docker:
        try:
            return KafkaBroker(directory, port=port)
        except PartMissingError as no_jars:
            raise PartMissingError(f"{no_docker}; {no_jars}") from None


@contextmanager
def lent(*ports: int) -> Iterator[tuple[str, str]]:
    """Yield the addresses of a started Kafka and Redis: on these ports, else or if they are taken on any free ones.

    Raises:
        PartMissingError: this machine has not what they need.
        tests.processes.StartError: one of them does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="tenfold-lent-") as directory, ExitStack() as parts:
        kafka_port, redis_port = map(free_port, ports or (None, None))
        server, broker = RedisServer(Path(directory), redis_port), new_kafka(Path(directory), kafka_port)
        for part in (server, broker):
            parts.callback(part.discard)
            part.start()
        yield broker.bootstrap, server.url


def main(*ports: int) -> None:
    """Lend a Kafka and a Redis out, see :func:`lent`, until SIGINT, SIGTERM or the terminal's end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # SIGINT, too: a script's `make kafka &` ignores it
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means it
            signal.signal(number, signal.default_int_handler)  # at once, whatever is under way: maybe a download
    print("Starting Kafka and Redis; the first time Kafka is downloaded.", flush=True)
    try:
        with lent(*ports) as (bootstrap, redis_url):
            print(f"export TENFOLD_BOOTSTRAP_SERVERS={bootstrap}\nexport TENFOLD_REDIS_URL={redis_url}")
            print("Type these two lines in another terminal. Ctrl-C stops both and removes what they hold.", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        print("Kafka and Redis are gone.")
    except (PartMissingError, StartError) as failed:
        sys.exit(str(failed))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
