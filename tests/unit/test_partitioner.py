"""Keys land where the Java client and librdkafka put them."""

from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.partitioner import _murmur2, partitions_of


@pytest.mark.parametrize(
    ("key", "signed"),
    [  # from org.apache.kafka.common.utils.UtilsTest
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_kafkas(key: bytes, signed: int) -> None:
    assert _murmur2([key, b"x" * 100, key]).astype(np.int32)[[0, 2]].tolist() == [signed] * 2


@given(keys=st.lists(st.binary(min_size=1, max_size=128), min_size=1, max_size=20))
def test_a_keys_partition_does_not_depend_on_its_batch(keys: list[bytes]) -> None:
    together = partitions_of(keys, 7, "murmur2").tolist()
    assert together == [int(partitions_of([key], 7, "murmur2")[0]) for key in keys]


def test_crc32_is_librdkafkas_default() -> None:
    assert partitions_of([b"user-1", b"user-2"], 5, "crc32").tolist() == [crc32(b"user-1") % 5, crc32(b"user-2") % 5]


def test_an_empty_batch_has_no_partitions() -> None:
    assert partitions_of([], 5, "murmur2").tolist() == partitions_of([], 5, "crc32").tolist() == []
