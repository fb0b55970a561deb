"""Give Kafka's users their passwords, and each the least that it needs. Done again with every start."""

import json
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from stream.clients import common_config
from stream.settings import load

_SECRETS = Path("/secrets")
_CALL_S = 60.0
_ITERATIONS = 4096  # Kafka's least: the passwords are 24 random bytes, no dictionary has them

GROUP = "tenfold"
TRANSACTIONS, LABELS, SCORES, DEAD_LETTERS = "transactions", "fraud-labels", "fraud-scores", "transactions.dlq"
SHADOW_SCORES = "fraud-scores.shadow"

Right = tuple[ResourceType, str, ResourcePatternType, AclOperation]


def topic(name: str, *operations: AclOperation) -> list[Right]:
    """Return rights on a topic."""
    return [(ResourceType.TOPIC, name, ResourcePatternType.LITERAL, each) for each in operations]


def group(name: str, operation: AclOperation, pattern: ResourcePatternType = ResourcePatternType.LITERAL) -> Right:
    """Return a right on a consumer group, or on all that begin so."""
    return ResourceType.GROUP, name, pattern, operation


READ, WRITE, DESCRIBE = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE

#: By role. To read or write includes to describe.
RIGHTS: dict[str, list[Right]] = {
    "scorer": [
        *topic(TRANSACTIONS, READ),
        *topic(SCORES, WRITE),
        *topic(DEAD_LETTERS, WRITE),
        *topic(SHADOW_SCORES, WRITE),
        group(GROUP, READ),
        (ResourceType.TRANSACTIONAL_ID, f"{GROUP}~", ResourcePatternType.PREFIXED, WRITE),
    ],
    "archiver": [
        *topic(TRANSACTIONS, READ),
        *topic(LABELS, READ),
        *topic(SCORES, READ),
        group(f"{GROUP}-archive", READ),
    ],
    "profiles": [  # looks where the archiver stands
        *topic(TRANSACTIONS, READ),
        *topic(LABELS, READ),
        group(f"{GROUP}-archive", DESCRIBE),
    ],
    "monitor": [
        *topic(TRANSACTIONS, READ),
        *topic(LABELS, READ),
        *topic(SCORES, READ),
        group(f"{GROUP}-monitor", READ),
    ],
    "simulator": [*topic(TRANSACTIONS, WRITE), *topic(LABELS, WRITE)],
    "client": [
        *topic(TRANSACTIONS, WRITE),
        *topic(LABELS, WRITE),
        *topic(SCORES, READ),
        *topic(DEAD_LETTERS, READ),
        *topic(SHADOW_SCORES, READ),
        group("client-", READ, ResourcePatternType.PREFIXED),
    ],
}


def main() -> None:
    """Set users and rights."""
    admin = AdminClient(common_config(load()))
    passwords: dict[str, str] = json.loads((_SECRETS / "passwords.json").read_text())
    scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS)
    users = [UserScramCredentialUpsertion(user, scram, passwords[user].encode()) for user in RIGHTS]
    bindings = [
        AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
        for user, rights in RIGHTS.items()
        for kind, name, pattern, operation in rights
    ]
    answers = [
        *admin.alter_user_scram_credentials(users, request_timeout=_CALL_S).values(),
        *admin.create_acls(bindings, request_timeout=_CALL_S).values(),
    ]
    for answer in answers:
        answer.result()  # or what Kafka says: the job is then begun again
    print(f"{len(users)} users, {len(bindings)} rights")


if __name__ == "__main__":
    main()
