"""The doctor as an account with rights of its own: what it may not do is named, each right by itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from deploy.secure.rights import RIGHTS, Right
from stream.doctor import examine
from stream.doctor_finding import Finding, Severity
from stream.settings import Settings
from stream.topics import create_topics
from tests.brokers import KafkaBroker
from tests.kafka_jars import PartMissingError
from tests.processes import free_port

pytestmark = pytest.mark.broker

ACCOUNT = "User:scorer"

_PROPERTIES = """
listeners=PLAINTEXT://127.0.0.1:$port,NAMED://127.0.0.1:{named},CONTROLLER://127.0.0.1:$controller_port
advertised.listeners=PLAINTEXT://127.0.0.1:$port,NAMED://127.0.0.1:{named}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,NAMED:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.named.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  user_scorer="known";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A broker that asks for rights: the administrator's address, and the scorer's."""
    named = free_port()
    try:
        broker = KafkaBroker(tmp_path_factory.mktemp("guarded"), _PROPERTIES.format(named=named))
    except PartMissingError as missing:
        pytest.skip(str(missing))
    broker.start()
    create_topics(Settings(bootstrap_servers=broker.bootstrap), 2, 1)
    yield broker.bootstrap, f"127.0.0.1:{named}"
    broker.discard()


def allow(admin: AdminClient, rights: list[Right]) -> None:
    bindings = [
        AclBinding(kind, name, pattern, ACCOUNT, "*", operation, AclPermissionType.ALLOW)
        for kind, name, pattern, operation in rights
    ]
    for answer in admin.create_acls(bindings, request_timeout=60).values():
        answer.result(60)


def forbid_all(admin: AdminClient) -> None:
    for kind, name, pattern, operation in RIGHTS["scorer"]:
        every = AclBindingFilter(kind, name, pattern, ACCOUNT, "*", operation, AclPermissionType.ALLOW)
        for answer in admin.delete_acls([every], request_timeout=60).values():
            answer.result(60)


def looked_at(address: str, redis_url: str, tmp_path: Path) -> list[Finding]:
    kafka = {
        "security.protocol": "sasl_plaintext",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "scorer",
        "sasl.password": "known",
    }
    settings = Settings(bootstrap_servers=address, redis_url=redis_url, model_store=tmp_path, kafka=kafka)
    return examine(settings, None, write=True)


def refused(findings: list[Finding]) -> list[str]:
    codes = {each.code for each in findings if each.severity >= Severity.WARNING}
    assert codes <= {"no-right", "password-in-clear"}, [each for each in findings if each.code in codes]
    return [each.fix.removesuffix(" (deploy/acls.md)") for each in findings if each.code == "no-right"]


def test_each_right_that_lacks_is_named(guarded: tuple[str, str], redis_url: str, tmp_path: Path) -> None:
    administrator, address = guarded
    admin = AdminClient({"bootstrap.servers": administrator})
    rights = RIGHTS["scorer"]
    lacking: dict[str, list[Right]] = {
        "allow Read on it": [right for right in rights if right[1] != "transactions"],
        "allow Write on it": [right for right in rights if right[1] != "fraud-scores"],
        "allow Read on the group": [right for right in rights if right[1] != "tenfold"],
        "allow Write on the prefix tenfold~": [right for right in rights if right[1] != "tenfold~"],
    }
    for fix, those in lacking.items():
        forbid_all(admin)
        allow(admin, those)
        assert refused(looked_at(address, redis_url, tmp_path)) == [fix], fix

    forbid_all(admin)
    allow(admin, rights)
    assert refused(looked_at(address, redis_url, tmp_path)) == []


def test_what_may_be_seen_and_not_written_is_found_by_trying(
    guarded: tuple[str, str], redis_url: str, tmp_path: Path
) -> None:
    """Who may describe a topic, or a group, sees it, and is refused only when it writes."""
    administrator, address = guarded
    admin = AdminClient({"bootstrap.servers": administrator})
    forbid_all(admin)
    literal, describe = ResourcePatternType.LITERAL, AclOperation.DESCRIBE
    allow(admin, [right for right in RIGHTS["scorer"] if right[1] not in {"tenfold", "fraud-scores", "transactions"}])
    allow(admin, [(ResourceType.TOPIC, "fraud-scores", literal, describe)])
    allow(admin, [(ResourceType.TOPIC, "transactions", literal, describe)])
    allow(admin, [(ResourceType.GROUP, "tenfold", literal, describe)])

    told = [each.what for each in looked_at(address, redis_url, tmp_path) if each.code == "no-right"]
    assert len(told) == 3, told
    assert any("read transactions" in each for each in told)
    assert any("write to fraud-scores" in each for each in told)
    assert any("commit for the group tenfold" in each for each in told)
