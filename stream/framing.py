"""The frame that Confluent's serializers put before a value: a zero byte, and the schema's id in four, big-endian.

As published: https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

from typing import Literal

Framing = Literal["none", "confluent"]

_MAGIC_BYTE = b"\0"  # no JSON begins with it
_FRAME_BYTES = 5


def is_framed(value: bytes) -> bool:
    """Say whether a value begins as a framed one does."""
    return value.startswith(_MAGIC_BYTE)


def unframed(value: bytes | None) -> bytes | None:
    """Return a value without its frame; one that has none stays as it is, and of half a frame nothing is left."""
    return value[_FRAME_BYTES:] if value is not None and is_framed(value) else value
