"""``deploy/acls.md``: the rights of :mod:`deploy.secure.rights` as the commands of Kafka's own tool.

``python -m deploy.secure.acls`` writes the page anew; a test holds it to the rights.
"""

from pathlib import Path

from confluent_kafka.admin import ResourcePatternType, ResourceType

from deploy.secure.rights import DESCRIBE, GROUP, LABELS, READ, RIGHTS, SCORES, TRANSACTIONS, WRITE, Right, group, topic

PAGE = Path(__file__).parents[1] / "acls.md"

#: Who else connects, where every program has an account of its own. The compose file's ``client`` is three of these.
MORE: dict[str, list[Right]] = {
    "producer": topic(TRANSACTIONS, WRITE),
    "verdicts": topic(LABELS, WRITE),
    "reader": [*topic(SCORES, READ), group("alerts", READ)],
    "lag": [*topic(TRANSACTIONS, DESCRIBE), group(GROUP, DESCRIBE), group(f"{GROUP}-archive", DESCRIBE)],
}

_ABOUT = {
    "scorer": "`tenfold score`",
    "archiver": "`tenfold archive run`",
    "profiles": "`tenfold profiles`: it looks where the archiver stands",
    "monitor": "`tenfold monitor`",
    "simulator": "`tenfold simulate --to kafka`",
    "client": "a person who sends, reads and tries things, with groups that begin with `client-`",
    "producer": "whatever sends payments",
    "verdicts": "whatever sends verdicts: who may write these decides what the next model learns",
    "reader": "whatever acts on scores, in the group `alerts`",
    "lag": "KEDA, or another program that looks at lag",
}
_OPTIONS = {
    ResourceType.TOPIC: "--topic",
    ResourceType.GROUP: "--group",
    ResourceType.TRANSACTIONAL_ID: "--transactional-id",
}
_INTRODUCTION = """\
# Rights on Kafka

The least that each role needs, and no more: to read or write includes to describe. The names are the defaults; with a
`TENFOLD_GROUP_ID`, topics or accounts of your own, put those in their places. `admin.properties` is how you connect
yourself. `deploy/compose.secure.yml` sets the rights of the first six, out of [`rights.py`](secure/rights.py); a test
does each of these roles' work with them on a real broker, and tries what they may not do.

Topics are made by whoever may (`tenfold topics create`: `Create` on the cluster). Training, compaction and evaluation
read files and need no account. Brokers before Kafka 3.0 ask `IdempotentWrite` on the cluster of whoever writes as well.
"""


def command(role: str, right: Right) -> str:
    """Return what grants a right to ``User:<role>``."""
    kind, name, pattern, operation = right
    prefixed = " --resource-pattern-type prefixed" if pattern is ResourcePatternType.PREFIXED else ""
    return (
        "kafka-acls.sh --bootstrap-server kafka:9092 --command-config admin.properties --add "
        f"--allow-principal User:{role} --operation {operation.name.capitalize()} {_OPTIONS[kind]} {name}{prefixed}"
    )


def page() -> str:
    """Return the whole page."""
    parts = [_INTRODUCTION]
    for role, rights in (RIGHTS | MORE).items():
        commands = "\n".join(command(role, right) for right in rights)
        parts.append(f"## {role}\n\n{_ABOUT[role][0].upper()}{_ABOUT[role][1:]}.\n\n```bash\n{commands}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
