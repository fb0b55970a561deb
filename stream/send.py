"""``tenfold send``: payments or verdicts onto their topic, each seen to be one before it is sent."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from pydantic import ValidationError

from stream.contract import FRAUD_LABEL, FraudLabel, Transaction, epoch_ms, timestamp
from stream.decode import decode, explain_invalid
from stream.errors import UsageError
from stream.sender import Sender
from stream.settings import Settings
from stream.topics import require_topics

Kind = Literal["payment", "verdict"]

_FIELDS: Mapping[Kind, Sequence[str]] = {
    "payment": tuple(Transaction.__annotations__),
    "verdict": tuple(FraudLabel.__annotations__),
}
_NUMBERS, _FLAGS = {"amount"}, {"is_vpn", "is_fraud"}  # the other fields are text, whatever they look like


class Message(NamedTuple):
    """A value that is one of the contract's, and its key."""

    key: bytes
    value: bytes


class Given(NamedTuple):
    """A message made from ``FIELD=VALUE`` words."""

    value: bytes
    filled: dict[str, str]  # what was not given and has a default


@dataclass
class Sent:
    """What became of what was given."""

    topic: str
    sent: int = 0
    refused: int = 0
    filled: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return dict(vars(self))

    @property
    def line(self) -> str:
        """It in words."""
        refused = f", {self.refused:,} refused" if self.refused else ""
        return f"{self.sent:,} sent to {self.topic}{refused}"


def message_of(words: Sequence[str], kind: Kind, now_ms: int, new_id: Callable[[], str] = lambda: uuid4().hex) -> Given:
    """Return the message that ``FIELD=VALUE`` words spell. Pure, but for ``new_id``.

    A payment without an id is given a new one, and whatever has no time happens now.

    Raises:
        UsageError: a word is not of that form, names no field of the message, or one twice, has no number or truth
            value where the field is one, or is not UTF-8.
    """
    fields: dict[str, object] = {}
    for word in words:
        name, sign, text = word.partition("=")
        if word.lstrip().startswith("{"):
            raise UsageError("JSON is read from standard input, or from --file: in a word give FIELD=VALUE")
        if not sign:
            raise UsageError(f"{word!r} is not FIELD=VALUE, as amount=12.5")
        if name not in _FIELDS[kind]:
            close = get_close_matches(name, _FIELDS[kind], n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(_FIELDS[kind])}"
            raise UsageError(f"{name} is not a field of a {kind}: {hint}")
        if name in fields:
            raise UsageError(f"{name} is given twice")
        fields[name] = _read(name, text) if name in _NUMBERS | _FLAGS else text
    defaults = {"transaction_id": new_id()} if kind == "payment" else {}
    defaults |= {"created_at" if kind == "payment" else "labelled_at": timestamp(now_ms)}
    filled = {name: value for name, value in defaults.items() if name not in fields}
    try:
        return Given(json.dumps(filled | fields, ensure_ascii=False).encode(), filled)
    except UnicodeEncodeError:
        raise UsageError("a value is not UTF-8, and no message has such a one") from None


def _read(name: str, text: str) -> object:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if name in _FLAGS and not isinstance(value, bool):
        raise UsageError(f"{name} is {text!r}: give true or false")
    if name in _NUMBERS and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise UsageError(f"{name} is {text!r}: give a number, with a point, as 12.5")
    return value


def judge(value: bytes, kind: Kind, now_ms: int) -> Message | str:
    """Return the message that a value is, or what is wrong with it. Pure.

    Payments pass the scorer's own decoder, so that none is sent that would be a dead letter.
    """
    try:
        user = json.loads(value).get("user_id")
        key = user.encode() if isinstance(user, str) else b""
    except (ValueError, AttributeError, RecursionError):
        key = b""  # what is wrong is said below
    if kind == "payment":
        dead = decode([key], [value], [now_ms]).dead
        return dead[0].error if dead else Message(key, value)
    try:
        epoch_ms(FRAUD_LABEL.validate_json(value)["labelled_at"])
    except ValidationError as error:
        return explain_invalid(error)[1]
    except ValueError:
        return "labelled_at: no such date or time; send RFC 3339 with an offset"
    return Message(key, value)


def send(
    settings: Settings,
    kind: Kind,
    lines: Iterable[bytes],
    now_ms: Callable[[], int],
    complain: Callable[[int, str], None],
    progress: Callable[[int], None] = lambda _: None,
) -> Sent:
    """Send each line that is a message, as it stands; empty ones are passed over.

    Args:
        settings: where Kafka is, and the topics' names.
        kind: what the lines are.
        lines: JSON, one message each.
        now_ms: the time, milliseconds since the epoch.
        complain: is told of each line that is no message, its number and why; that quotes nothing of it.
        progress: is told how many lines more are done.

    Raises:
        stream.sender.SendError: Kafka does not take a record.
        stream.topics.TopicsError: there is no broker, or no topic.
    """
    topic = settings.input_topic if kind == "payment" else settings.labels_topic
    sender = Sender(settings)
    require_topics(sender.producer, settings, [topic])
    done = Sent(topic)
    for number, line in enumerate(lines, 1):
        value = line.strip()
        if value:
            judged = judge(value, kind, now_ms())
            if isinstance(judged, str):
                done.refused += 1
                complain(number, judged)
            else:
                sender.send(topic, judged.key, judged.value)
                done.sent += 1
        progress(1)
    sender.flush()
    return done
