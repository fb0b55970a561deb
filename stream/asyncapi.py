"""The AsyncAPI 3 document: which topics there are, what goes over them, and what Tenfold does with each. Pure.

https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from stream.settings import Settings

_BINDING_VERSION = "0.5.0"


def document(settings: Settings, payloads: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document.

    Args:
        settings: name the topics and the group.
        payloads: the schema of each of :data:`stream.schemas.MESSAGES`, usually a reference into ``schemas``.
        schemas: what they refer to.
    """
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tenfold",
            "version": version("tenfold"),
            "description": "Scores every payment on a Kafka topic for fraud, over its user's last ten, exactly once. "
            "Unknown fields are ignored; a breaking change gets a new topic. "
            "Programs that produce and subscribe, in Python, Java, Go and Node.js: docs/how-to/clients.md.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{bootstrapServer}",
                "protocol": "kafka",
                "variables": {
                    "bootstrapServer": {"default": "localhost:9092", "description": "one of the brokers, host:port"}
                },
            }
        },
        "channels": _channels(settings),
        "operations": _operations(settings),
        "components": {"messages": _messages(settings, payloads), "schemas": dict(schemas)},
    }


def _channels(settings: Settings) -> dict[str, Any]:
    committed = "Read it with isolation.level=read_committed."
    return {
        name: {
            "address": topic,
            "description": description,
            "messages": {message: {"$ref": f"#/components/messages/{message}"}},
            "bindings": {"kafka": {"topic": topic, "bindingVersion": _BINDING_VERSION}},
        }
        for name, topic, message, description in (
            ("transactions", settings.input_topic, "transaction", "Payments, a user's all on one partition."),
            ("scores", settings.output_topic, "fraudScore", f"A score for each payment. {committed}"),
            ("shadowScores", settings.shadow_topic, "fraudScore", f"A challenger's, without reasons. {committed}"),
            ("deadLetters", settings.dlq_topic, "deadLetter", f"What could not be scored, and why. {committed}"),
            ("labels", settings.labels_topic, "fraudLabel", "Verdicts: chargebacks and analysts', days later."),
        )
    }


def _operations(settings: Settings) -> dict[str, Any]:
    group = settings.group_id
    received = {
        "scoreTransactions": ("transactions", group, "Score each payment once."),
        "archiveLabels": ("labels", f"{group}-archive", "Keep verdicts, for training and to judge the scores by."),
    }
    sent = {
        "publishScores": ("scores", "One for each payment, in one Kafka transaction with the offsets."),
        "publishShadowScores": ("shadowScores", "Where there is a challenger; it may lack payments."),
        "publishDeadLetters": ("deadLetters", "In the same transaction as the scores."),
    }
    return {
        name: {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{channel}"},
            "summary": summary,
            "bindings": {
                "kafka": {"groupId": {"type": "string", "const": its_group}, "bindingVersion": _BINDING_VERSION}
            },
        }
        for name, (channel, its_group, summary) in received.items()
    } | {
        name: {"action": "send", "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}
        for name, (channel, summary) in sent.items()
    }


def _messages(settings: Settings, payloads: Mapping[str, Any]) -> dict[str, Any]:
    placed = {
        "murmur2": "; placed by murmur2, as Java does and librdkafka with partitioner=murmur2_random",
        "crc32": "; placed by CRC32, as librdkafka does",
        "any": "",
    }[settings.partitioner]
    user = {
        "kafka": {
            "key": {"type": "string", "description": f"the user_id, in UTF-8{placed}"},
            "bindingVersion": _BINDING_VERSION,
        }
    }
    return {
        "transaction": {"payload": payloads["transaction"], "bindings": user},
        "fraudScore": {
            "payload": payloads["fraud-score"],
            "headers": payloads["fraud-score-headers"],
            "bindings": user,
        },
        "fraudLabel": {"payload": payloads["fraud-label"], "bindings": user},
        "deadLetter": {
            "contentType": "application/octet-stream",
            "description": "Key and value are the input's bytes as they were.",
            "headers": payloads["dead-letter-headers"],
        },
    }
