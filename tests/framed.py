"""Values as Confluent's serializers write them, made from the published format and not by the code under test."""

import struct


def framed(value: bytes, schema_id: int = 100_007) -> bytes:
    """Return a value behind its frame: magic byte 0, then the schema's id as four bytes, big-endian."""
    return struct.pack(">bI", 0, schema_id) + value
