"""A broker that asks who is there: scorers have a name and rights, the tests themselves may do everything."""

from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from tests.brokers import KafkaBroker
from tests.processes import free_port

_CALL_S = 30.0
_NAME, _PASSWORD = "scorer", "of-a-test"

#: Beside the listener that asks nothing, one that asks for name and password.
_PROPERTIES = """
listeners=PLAINTEXT://127.0.0.1:$port,SASL_PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:$controller_port
advertised.listeners=PLAINTEXT://127.0.0.1:$port,SASL_PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=\\
  org.apache.kafka.common.security.plain.PlainLoginModule required user_{name}="{password}";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""

#: What a scorer needs, by resource.
RIGHTS = {
    "input": (ResourceType.TOPIC, AclOperation.READ),
    "output": (ResourceType.TOPIC, AclOperation.WRITE),
    "dlq": (ResourceType.TOPIC, AclOperation.WRITE),
    "group": (ResourceType.GROUP, AclOperation.READ),
    "transactional id": (ResourceType.TRANSACTIONAL_ID, AclOperation.WRITE),
}


class GuardedBroker(KafkaBroker):
    """A node with an authoriser; ``bootstrap`` is the tests' address, ``scorers_settings`` lead to the other one."""

    def __init__(self, directory: Path) -> None:
        self._guarded_port = free_port()
        super().__init__(directory, _PROPERTIES.format(port=self._guarded_port, name=_NAME, password=_PASSWORD))

    @property
    def scorers_settings(self) -> dict[str, str]:
        """What a scorer connects with."""
        return {
            "TENFOLD_BOOTSTRAP_SERVERS": f"127.0.0.1:{self._guarded_port}",
            "TENFOLD_KAFKA__security.protocol": "SASL_PLAINTEXT",
            "TENFOLD_KAFKA__sasl.mechanism": "PLAIN",
            "TENFOLD_KAFKA__sasl.username": _NAME,
            "TENFOLD_KAFKA__sasl.password": _PASSWORD,
        }

    def allow(self, right: str, name: str) -> None:
        """Give the scorers a right of :data:`RIGHTS` on the resource of that name, or whose name begins so."""
        self._create(right, name, AclPermissionType.ALLOW)

    def deny(self, right: str, name: str) -> None:
        """Refuse it, whatever is allowed."""
        self._create(right, name, AclPermissionType.DENY)

    def no_longer_deny(self, right: str, name: str) -> None:
        """Take the refusal back."""
        kind, operation = RIGHTS[right]
        wanted = AclBindingFilter(
            kind, name, ResourcePatternType.PREFIXED, f"User:{_NAME}", "*", operation, AclPermissionType.DENY
        )
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        [deleted] = admin.delete_acls([wanted]).values()
        if len(deleted.result(_CALL_S)) != 1:
            raise AssertionError(f"{right} {name} was not denied")

    def _create(self, right: str, name: str, permission: AclPermissionType) -> None:
        kind, operation = RIGHTS[right]
        binding = AclBinding(kind, name, ResourcePatternType.PREFIXED, f"User:{_NAME}", "*", operation, permission)
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        [created] = admin.create_acls([binding]).values()
        created.result(_CALL_S)
