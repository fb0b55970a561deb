"""Which partition a producer puts a key on. A user fed by two partitioners is split over two partitions.

``murmur2`` is the Java client's default and ``murmur2_random`` of librdkafka; ``crc32`` is librdkafka's default,
``consistent_random``. Vectorised over a micro-batch, because every event is looked at.
"""

from collections.abc import Sequence
from typing import Literal
from zlib import crc32

import numpy as np

from models.window import Ints

Partitioner = Literal["murmur2", "crc32", "any"]

#: librdkafka's name for the partitioner that Tenfold's own producers use, whatever the consumer expects
OWN_PARTITIONER = "murmur2_random"

_SEED, _M, _R = np.uint32(0x9747B28C), np.uint32(0x5BD1E995), np.uint32(24)


def partitions_of(keys: Sequence[bytes], count: int, partitioner: Literal["murmur2", "crc32"]) -> Ints:
    """Return ``int64 [n]``, the partition of ``count`` that each key belongs on. Keys are not empty."""
    if partitioner == "crc32":
        return np.fromiter((crc32(key) % count for key in keys), np.int64, len(keys))
    return (_murmur2(keys) & np.uint32(0x7FFFFFFF)).astype(np.int64) % count


def _murmur2(keys: Sequence[bytes]) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """Return ``uint32 [n]`` MurmurHash2 as Kafka's ``org.apache.kafka.common.utils.Utils.murmur2`` computes it."""
    lengths = np.fromiter(map(len, keys), np.int64, len(keys))
    width = -(-int(lengths.max(initial=1)) // 4) * 4
    padded = b"".join(key.ljust(width, b"\0") for key in keys)
    words = np.frombuffer(padded, "<u4").reshape(len(keys), width // 4)
    full = lengths // 4
    state = _SEED ^ lengths.astype(np.uint32)
    for column in range(int(full.max(initial=0))):
        k = words[:, column] * _M
        k = (k ^ (k >> _R)) * _M
        state = np.where(column < full, (state * _M) ^ k, state)
    # the tail's bytes are the low bytes of the next word, whose other bytes are padding
    has_tail = lengths % 4 > 0
    tail = np.where(has_tail, words[np.arange(len(keys)), np.minimum(full, words.shape[1] - 1)], np.uint32(0))
    state = np.where(has_tail, (state ^ tail) * _M, state)
    state = (state ^ (state >> np.uint32(13))) * _M
    return np.asarray(state ^ (state >> np.uint32(15)), np.uint32)
