"""Three Kafka nodes from the jars, each broker and controller, so that leaders can change."""

import signal
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.chaos.faults import until
from tests.kafka_jars import KAFKA, find_java, kafka_jars
from tests.processes import ChildProcess, free_port

NODES = (1, 2, 3)
_CALL_S = 30.0

#: What differs from the single node of tests/kafka/server.properties; the last word in a properties file counts.
_OVERRIDES = """
node.id=$node
controller.quorum.voters=$voters
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
"""


@dataclass
class Cluster:
    """``start`` once, then ``kill`` and ``restart`` nodes; data stay in ``directory``."""

    directory: Path
    _ports: dict[int, tuple[int, int]] = field(default_factory=lambda: {n: (free_port(), free_port()) for n in NODES})
    _processes: dict[int, ChildProcess] = field(default_factory=dict)

    @property
    def bootstrap(self) -> str:
        """All three addresses."""
        return ",".join(f"127.0.0.1:{port}" for port, _ in self._ports.values())

    def start(self) -> None:
        """Format three new nodes, start them, and return when they know each other."""
        cluster_id = str(uuid.uuid4())
        for node in NODES:
            self._configure(node)
            format_storage = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._properties(node))]
            subprocess.run([*self._java(), *format_storage], check=True, stdout=subprocess.DEVNULL)
        for node in NODES:
            self.restart(node)
        self.wait_until_complete()

    def restart(self, node: int) -> None:
        """Start a node that does not run."""
        log = self.directory / f"kafka-{node}.log"
        self._processes[node] = ChildProcess([*self._java(), "kafka.Kafka", self._properties(node)], log)

    def kill(self, node: int) -> None:
        """End a node as a crash would."""
        self._processes[node].end(signal.SIGKILL)

    def wait_until_complete(self) -> None:
        """Return when all nodes are there and every partition is on all three of them."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})

        def complete() -> bool:
            try:
                found = admin.list_topics(timeout=_CALL_S)
            except KafkaException:  # none of them is up yet
                return False
            partitions = [p for topic in found.topics.values() for p in topic.partitions.values()]
            return len(found.brokers) == len(NODES) and all(len(p.isrs) == len(NODES) for p in partitions)

        until(complete, 120, "the nodes have not found each other")

    def create(self, topic: str, partitions: int) -> str:
        """Create a topic with three replicas and return its name."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        admin.create_topics([NewTopic(topic, partitions, len(NODES))])[topic].result(_CALL_S)
        self.wait_until_complete()
        return topic

    def leader(self, topic: str, partition: int) -> int:
        """Return the node that leads a partition."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        return int(admin.list_topics(topic, timeout=_CALL_S).topics[topic].partitions[partition].leader)

    def discard(self) -> None:
        """End all nodes."""
        for node in self._processes:
            self.kill(node)

    def _properties(self, node: int) -> Path:
        return self.directory / f"server-{node}.properties"

    def _configure(self, node: int) -> None:
        port, controller_port = self._ports[node]
        voters = ",".join(f"{other}@127.0.0.1:{its}" for other, (_, its) in self._ports.items())
        text = Template((KAFKA / "server.properties").read_text() + _OVERRIDES).substitute(
            port=port,
            controller_port=controller_port,
            log_dirs=self.directory / f"kafka-{node}",
            node=node,
            voters=voters,
        )
        self._properties(node).write_text(text)

    def _java(self) -> list[str]:
        options = ["-Xmx256m", f"-Dlog4j2.configurationFile={KAFKA / 'log4j2.properties'}"]
        return [find_java(), *options, "-cp", f"{kafka_jars()}/*"]
