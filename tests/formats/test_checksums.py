"""CRC-32 of arrays, of ranges, and of ranges combined."""

from __future__ import annotations

import zlib

import pytest
from isal.isal_zlib import crc32_combine

from cottoncandy.core.buffers import crc32
from tests.cases import each


@each("cut", [0, 1, 4, 7])
def test_combined_crcs_of_ranges_equal_the_crc_of_the_whole(cut):
    data = b"ranges."
    first, second = data[:cut], data[cut:]
    combined = crc32_combine(zlib.crc32(first), zlib.crc32(second), len(second))
    assert combined == zlib.crc32(data) == crc32([memoryview(data)])


@pytest.mark.parametrize("threads", [1, 3])
def test_crc32_is_the_same_for_any_number_of_threads(threads):
    data = memoryview(bytes(range(256)) * (40 * 2**20 // 256) + b"rest")
    assert crc32([data[:10], data[10:]], threads) == zlib.crc32(data)
